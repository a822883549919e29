"""HO-3D: both versions are read as they were written, and what is missing or damaged is named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handsim.errors import HandsimError, NotThereError
from handsim.skeleton import JOINT_COUNT
from handsim.synthetic.camera import project
from tests.training.datasets.builders import Joints
from tests.training.datasets.conftest import Copier
from tests.training.datasets.official_layouts import (
    HANDS,
    HO3D_CAPTURES,
    HO3D_EVALUATION,
    HO3D_K,
    HO3D_SIZE_PX,
    ho3d_frame,
    ho3d_joints,
    python2_pickle,
    shows_its_joint,
    write_ho3d,
)
from training.datasets.check import check_dataset
from training.datasets.ho3d import HO3D, SPLITS
from training.datasets.open_dataset import open_dataset

ROWS = {ho3d_frame(row): row for row in range(len(HANDS))}


@pytest.mark.parametrize("version", [2, 3])
def test_hands_are_read_as_they_were_written(ho3d_root: Path, tmp_path: Path, version: int) -> None:
    root = ho3d_root if version == 2 else tmp_path
    if version == 3:
        write_ho3d(root, version)
    seen: dict[str, set[str]] = {}
    for split in SPLITS:
        dataset = HO3D(root, split)
        for index in range(len(dataset)):
            hand = dataset[index]
            truth = HANDS[ROWS[hand.sample_id]]
            np.testing.assert_allclose(hand.joints_3d_mm, truth, atol=1e-3)
            np.testing.assert_allclose(hand.keypoints_2d_px, project(truth, HO3D_K) + 0.5, atol=1e-3)
            np.testing.assert_allclose(hand.intrinsics - HO3D_K, np.outer([0.5, 0.5, 0], [0, 0, 1]))
            assert hand.valid.all()
            assert (hand.side, hand.size_px) == ("right", HO3D_SIZE_PX)
            assert shows_its_joint(hand.image, hand.keypoints_2d_px)
            seen.setdefault(split, set()).add(hand.subject)
    assert seen["evaluation"] == set(HO3D_EVALUATION)
    assert seen["val"] == {HO3D_CAPTURES[0]}  # all its cameras
    assert seen["train"] == set(HO3D_CAPTURES) - seen["val"] - seen["evaluation"]


def test_evaluation_without_its_joints_opens_and_has_none(ho3d_root: Path, copy_of: Copier) -> None:
    copy = copy_of(ho3d_root)
    file = copy / "evaluation_xyz.json"
    shutil.move(file, copy / "evaluation")
    assert HO3D(copy, "evaluation").label(0).valid.all()
    (copy / "evaluation" / file.name).unlink()
    hand = HO3D(copy, "evaluation")[0]
    assert not hand.valid.any()
    assert np.isnan(hand.joints_3d_mm).all()
    report = check_dataset("ho3d", copy)
    assert not report.failed


def test_joints_that_are_not_numbers_are_not_valid(ho3d_root: Path, copy_of: Copier) -> None:
    copy = copy_of(ho3d_root)
    dataset = HO3D(copy, "train")
    joints = ho3d_joints(HANDS[ROWS[dataset.label(0).sample_id]])
    joints[0, 1] = np.nan  # the wrist
    dataset.files(0)[1].write_bytes(python2_pickle({"camMat": HO3D_K, "handJoints3D": joints}))
    label = dataset.label(0)
    assert np.flatnonzero(~label.valid).tolist() == [0]
    assert np.isnan(label.joints_3d_mm[0]).all()


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (lambda joints: joints * [1, -1, -1], "distance"),  # not OpenGL's frame
        (lambda joints: joints * 1000, "units"),
        (lambda joints: joints[np.r_[0, 2, 1, 3:21]], "joint order"),
        (lambda joints: joints * [-1, 1, 1], "left and right"),
    ],
)
def test_the_check_names_wrong_conventions(
    ho3d_root: Path, copy_of: Copier, change: Callable[[Joints], Joints], check: str
) -> None:
    copy = copy_of(ho3d_root)
    for frame, row in ROWS.items():
        if not frame.startswith(HO3D_EVALUATION):
            sequence, number = frame.split("/")
            meta = {"camMat": HO3D_K, "handJoints3D": change(ho3d_joints(HANDS[row]))}
            (copy / "train" / sequence / "meta" / f"{number}.pkl").write_bytes(python2_pickle(meta))
    assert check in {finding.check for finding in check_dataset("ho3d", copy, ["train"]).failed}


def meta(**values: Any) -> bytes:
    return python2_pickle({"camMat": HO3D_K, "handJoints3D": ho3d_joints(HANDS[0]), **values})


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "cannot be read .*empty file"),
        (meta()[:300], "cannot be read .*damaged pickle"),
        (b"cos\nsystem\n(S'true'\ntR.", "cannot be read .*not plain data: the pickle names 'os.system'"),
        (meta(handJoints3D=None), "has no handJoints3D: the frame is not annotated"),
        (python2_pickle({"handJoints3D": HANDS[0]}), "has no camMat"),
        (meta(handJoints3D=np.zeros(3)), r"handJoints3D .* is \[3\]; expected \[21, 3\]"),
        (meta(handJoints3D="none"), r"handJoints3D .* is str; expected \[21, 3\]"),
        (meta(camMat=np.zeros((3, 3))), "is no camera matrix"),
    ],
)
def test_damaged_annotations_are_named(
    ho3d_root: Path, copy_of: Copier, content: bytes, problem: str
) -> None:
    dataset = HO3D(copy_of(ho3d_root), "train")
    path = dataset.files(1)[1]
    path.write_bytes(content)
    with pytest.raises(HandsimError, match=rf"{problem}.*; download and extract HO-3D again") as error:
        dataset.label(1)
    assert path.name in str(error.value)
    assert "\n" not in str(error.value)
    path.unlink()
    with pytest.raises(NotThereError, match=rf"{path.name} is missing"):
        dataset.label(1)


@pytest.mark.parametrize(
    ("file", "content", "split", "problem"),
    [
        ("train.txt", None, "val", "train.txt is missing; give the folder that HO-3D was extracted in"),
        ("train.txt", "", "train", "train.txt is empty; download"),
        ("train.txt", "AF10/0000\n../x/1\n", "train", r"lists '../x/1', not frames as ABF10/0000"),
        ("train.txt", "AF10/0000\nAF11/0001\n", "train", "lists the capture AF alone"),
        ("evaluation.txt", None, "evaluation", "evaluation.txt is missing"),
        ("evaluation_xyz.json", "[[1, 2", "evaluation", "evaluation_xyz.json cannot be read"),
        ("evaluation_xyz.json", "{}", "evaluation", "evaluation_xyz.json cannot be read"),
        (
            *("evaluation_xyz.json", json.dumps([[[0.0] * 3] * JOINT_COUNT] * 7), "evaluation"),
            r"holds \[7, 21, 3\] numbers; the 15 frames of evaluation.txt have \[15, 21, 3\]",
        ),
    ],
)
def test_damaged_lists_are_named(
    ho3d_root: Path, copy_of: Copier, file: str, content: str | None, split: str, problem: str
) -> None:
    copy = copy_of(ho3d_root)
    if content is None:
        (copy / file).unlink()
    else:
        (copy / file).write_text(content)
    with pytest.raises(HandsimError, match=problem) as error:
        HO3D(copy, split)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("given", ["..", "train"])
def test_a_folder_above_or_below_is_told(ho3d_root: Path, given: str) -> None:
    folder = (ho3d_root / given).resolve()
    with pytest.raises(NotThereError, match=r"is not the folder of ho3d, but .* is: give that") as error:
        open_dataset("ho3d", folder, "train")
    assert str(ho3d_root) in str(error.value)

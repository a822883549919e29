"""InterHand2.6M: single hands of both sides are read as they were written, and faults are named."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handsim.errors import HandsimError, NotThereError
from handsim.skeleton import JOINT_ORDERS
from handsim.synthetic.camera import project
from tests.training.datasets.builders import change_json
from tests.training.datasets.conftest import Copier
from tests.training.datasets.official_layouts import INTERHAND_SIZE_PX, interhand_hand, shows_its_joint
from training.datasets.check import CheckOptions, check_dataset
from training.datasets.interhand import KINDS, SPLITS, InterHand
from training.datasets.open_dataset import open_dataset

ORDER = np.array(JOINT_ORDERS["interhand"])


def test_single_hands_are_read_as_right_hands(interhand_root: Path) -> None:
    sides = set()
    for split in SPLITS:
        dataset = InterHand(interhand_root, split)
        assert (len(dataset), dataset.skipped, dataset.interacting) == (16, 1, 3)
        for index in range(len(dataset)):
            hand = dataset[index]
            row = (int(re.findall(r"\d+", hand.sample_id)[-1]) - 1000) // 6
            truth, side = interhand_hand(row)
            truth[:, 0] *= -1 if side == "left" else 1
            valid = np.ones(21, dtype=bool)
            valid[{0: 3, 1: 4}.get(index, -1) == ORDER] = False
            np.testing.assert_array_equal(hand.valid, valid)
            np.testing.assert_allclose(hand.joints_3d_mm[valid], truth[valid], atol=1e-2)
            assert np.isnan(hand.joints_3d_mm[~valid]).all()
            assert np.isnan(hand.keypoints_2d_px[~valid]).all()
            projected = project(truth, hand.intrinsics)
            np.testing.assert_allclose(hand.keypoints_2d_px[valid], projected[valid], atol=0.02)
            assert (hand.side, hand.size_px) == (side, INTERHAND_SIZE_PX)
            assert shows_its_joint(hand.image, hand.keypoints_2d_px)
            assert hand.sample_id.startswith(f"{split}/Capture")
            assert hand.subject == str(row // 5 % 9)
            sides.add(side)
    assert sides == {"left", "right"}


def without_camera(content: Any) -> None:
    for capture in content.values():
        capture["camrot"].clear()


def of_two_hands(content: Any) -> None:
    for annotation in content["annotations"]:
        annotation["hand_type"] = "interacting"


def without_valid_joints(content: Any) -> None:
    for annotation in content["annotations"]:
        annotation["joint_valid"] = [0] * 42  # also without the inner lists


@pytest.mark.parametrize(
    ("kind", "damage", "problem"),
    [
        (
            "data",
            lambda content: content["images"][1].update(frame_idx=1001),
            "frame_idx 1001 the picture Cap",
        ),
        ("data", lambda content: content["images"].pop(0), r"lacks 'images\[\] of id 0'"),
        ("data", lambda content: content.update(images=[]), "lacks 'images'"),
        ("data", lambda content: content["annotations"][0].pop("joint_valid"), "lacks 'joint_valid'"),
        ("data", lambda content: content["annotations"][0].update(hand_type="both"), "lacks 'both'"),
        (
            "data",
            lambda content: content["annotations"][0].update(joint_valid=[1] * 21),
            "is not as in version",
        ),
        ("data", lambda content: content["images"].insert(0, 5), "is not as in version 1.0"),
        ("data", of_two_hands, "has 0 pictures of single hands and 20 of two"),
        (
            "data",
            without_valid_joints,
            "has 17 pictures of single hands .* none of the single hands has a valid",
        ),
        ("camera", without_camera, "camera.json lacks '4"),
        ("camera", lambda content: content.pop("0"), "camera.json lacks '0'"),
        ("joint_3d", lambda content: content.pop("0"), "joint_3d.json lacks 'capture 0'"),
        ("joint_3d", lambda content: content["0"].pop("1000"), "joint_3d.json lacks '1000'"),
        (
            "joint_3d",
            lambda content: content["0"]["1000"].update(world_coord=[[0, 0, 0]]),
            "is not as in version",
        ),
    ],
)
def test_faults_are_named(
    interhand_root: Path, copy_of: Copier, kind: str, damage: Callable[[Any], None], problem: str
) -> None:
    copy = copy_of(interhand_root)
    change_json(copy / "annotations" / "train" / f"InterHand2.6M_train_{kind}.json", damage)
    with pytest.raises(HandsimError, match=f"{problem}.*; download the annotations of version 1.0") as error:
        InterHand(copy, "train")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", KINDS)
def test_files_that_are_cut_or_missing_are_named(interhand_root: Path, copy_of: Copier, kind: str) -> None:
    copy = copy_of(interhand_root)
    path = copy / "annotations" / "val" / f"InterHand2.6M_val_{kind}.json"
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"\xff" * 9):
        path.write_bytes(content)
        with pytest.raises(HandsimError, match=rf"{path.name} is not whole JSON"):
            InterHand(copy, "val")
    path.unlink()
    with pytest.raises(NotThereError, match=rf"{path.name} is missing; download"):
        InterHand(copy, "val")
    (copy / "annotations" / "val").rename(copy / "annotations" / "all")
    with pytest.raises(NotThereError, match=r"has all/, as version 0.0 did"):
        InterHand(copy, "val")


def test_joints_that_are_not_finite_are_not_valid(interhand_root: Path, copy_of: Copier) -> None:
    copy = copy_of(interhand_root)
    before = InterHand(copy, "test").label(3).valid

    def without_a_depth(content: Any) -> None:
        for frames in content.values():
            for pose in frames.values():
                for joint in (20, 41):  # the wrists
                    pose["world_coord"][joint][2] = None

    change_json(copy / "annotations" / "test" / "InterHand2.6M_test_joint_3d.json", without_a_depth)
    after = InterHand(copy, "test").label(3)
    assert np.flatnonzero(before & ~after.valid).tolist() == [0]
    assert np.isnan(after.joints_3d_mm[0]).all()


def test_the_check_finds_cameras_that_look_elsewhere(interhand_root: Path, copy_of: Copier) -> None:
    copy = copy_of(interhand_root)

    def turn(content: Any) -> None:
        for capture in content.values():
            for rotation in capture["camrot"].values():
                rotation[:] = np.linalg.inv(rotation).tolist()

    for split in SPLITS:
        change_json(copy / "annotations" / split / f"InterHand2.6M_{split}_camera.json", turn)
    failed = {finding.check for finding in check_dataset("interhand", copy).failed}
    assert failed & {"distance", "in the picture"}


def test_the_check_counts_the_pictures_of_two_hands(interhand_root: Path) -> None:
    report = check_dataset("interhand", interhand_root, ["val"], CheckOptions(labels=1, pictures=1))
    assert report.findings[0].detail == "val can be opened; without 3 pictures of two hands"


def test_the_folder_of_the_annotations_is_one_level_too_low(interhand_root: Path) -> None:
    with pytest.raises(NotThereError, match=r"annotations is not the folder of interhand, but .* is: give"):
        open_dataset("interhand", interhand_root / "annotations", "train")

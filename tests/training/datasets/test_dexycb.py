"""DexYCB: its splits, what is written in its layout is read, and damage is refused.

The rules of the splits are written again here, in words of the paper (`oracle`).
"""

import io
import shutil
from dataclasses import replace
from itertools import product
from operator import contains
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from handsim.errors import HandsimError, NotThereError
from handsim.skeleton import JOINT_COUNT
from tests.training.datasets.builders import DEXYCB, damaged, true_labels
from training.datasets.dexycb import SERIALS, SPLITS, SUBJECTS, DexYCB
from training.datasets.layouts import (
    LEAST_TAKES,
    MOST_TAKES,
    UNANNOTATED_FRAME_EVERY,
    focal_of_camera,
    place_of_take,
    sequence_folder,
    video_of_take,
)

SETUPS = ("s0", "s1", "s2", "s3")


def oracle(setup: str, subject: int, camera: int, sequence: int) -> str:
    """The part of a setup that a frame belongs to; all numbers count from 0."""
    if setup == "s0":
        if sequence % 5 != 4:
            return "train"
        return "val" if subject in (0, 1) else "test"
    if setup == "s1":
        return {6: "val", 7: "test", 8: "test"}.get(subject, "train")
    if setup == "s2":
        return {6: "val", 7: "test"}.get(camera, "train")
    return {3: "val", 19: "val", 7: "test", 11: "test", 15: "test"}.get(sequence // 5, "train")


@pytest.mark.parametrize("setup", SETUPS)
def test_every_frame_is_in_exactly_the_split_of_the_rules(setup: str) -> None:
    for place in product(range(10), range(8), range(100)):
        in_splits = [
            split
            for split, rule in SPLITS.items()
            if split.startswith(setup) and all(map(contains, vars(rule).values(), place))
        ]
        assert in_splits == [f"{setup}_{oracle(setup, *place)}"]


@pytest.mark.parametrize(
    ("split", "subjects", "objects", "cameras", "sequences"),
    [
        ("s0_train", 10, 20, 8, 800),
        ("s0_val", 2, 20, 8, 40),
        ("s0_test", 8, 20, 8, 160),
        ("s1_train", 7, 20, 8, 700),
        ("s1_val", 1, 20, 8, 100),
        ("s1_test", 2, 20, 8, 200),
        ("s2_train", 10, 20, 6, 1000),  # table 9 says 750; the authors have corrected that
        ("s2_val", 10, 20, 1, 1000),
        ("s2_test", 10, 20, 1, 1000),
        ("s3_train", 10, 15, 8, 750),
        ("s3_val", 10, 2, 8, 100),
        ("s3_test", 10, 3, 8, 150),
    ],
)
def test_numbers_of_the_papers_table_9(
    split: str, subjects: int, objects: int, cameras: int, sequences: int
) -> None:
    rule = SPLITS[split]
    assert (len(rule.subjects), len(rule.cameras)) == (subjects, cameras)
    assert len({sequence // 5 for sequence in rule.sequences}) == objects
    assert len(rule.subjects) * len(rule.sequences) == sequences


def test_folders_of_subjects_and_cameras_are_in_the_official_order() -> None:
    """Splits count them."""
    assert [*SUBJECTS] == sorted(SUBJECTS)
    assert [subject[-2:] for subject in SUBJECTS] == [f"{number:02}" for number in range(1, 11)]
    assert [*SERIALS] == sorted(SERIALS)


WORLD = replace(DEXYCB, people=replace(DEXYCB.people, count=len(SUBJECTS)))


def annotated_frames(root: Path, split: str) -> dict[str, tuple[int, int, int]]:
    """Take, camera and frame of every annotated picture of a split, by sample id."""
    setup, part = split.split("_")
    expected = {}
    for take, (camera, serial) in product(range(DEXYCB.videos), enumerate(SERIALS)):
        subject, sequence = place_of_take(take)
        folder = sequence_folder(root, subject, sequence).relative_to(root)
        for frame in range(DEXYCB.hands_per_video):
            annotated = (take * DEXYCB.hands_per_video + frame + 1) % UNANNOTATED_FRAME_EVERY
            if annotated and oracle(setup, subject, camera, sequence) == part:
                expected[f"{folder}/{serial}/{frame:06d}"] = take, camera, frame
    return expected


@pytest.mark.parametrize("split", ["s0_train", "s0_val", "s0_test"])
def test_labels_are_those_of_the_world_that_was_rendered(dexycb_root: Path, split: str) -> None:
    """In every annotated picture, each of which is in one of these splits."""
    dataset = DexYCB(dexycb_root, split)
    expected = annotated_frames(dexycb_root, split)
    assert len(dataset) == len(expected) > 0
    for index in range(len(dataset)):
        label = dataset.label(index)
        take, camera, frame = expected[label.sample_id]
        focal = focal_of_camera(DEXYCB, camera, len(SERIALS))
        assert label.side == ("left", "right")[take % 2]
        joints, points, intrinsics = true_labels(WORLD, video_of_take(take, camera), label.side, focal)
        np.testing.assert_allclose(label.joints_3d_mm, joints[frame], atol=0.01)
        np.testing.assert_allclose(label.keypoints_2d_px, points[frame], atol=0.01)
        np.testing.assert_allclose(label.intrinsics, intrinsics, atol=1e-6)
        assert label.subject == SUBJECTS[place_of_take(take)[0]]
        assert label.size_px == (80, 64)
        assert label.valid.all()


def test_each_split_has_the_annotated_pictures_of_the_rules(dexycb_root: Path) -> None:
    """Camera after camera in each sequence; pictures without a valid joint are skipped and counted."""
    skipped = dict.fromkeys(SETUPS, 0)
    for split in SPLITS:
        dataset = DexYCB(dexycb_root, split)
        pictures = [dataset.files(index)[0] for index in range(len(dataset))]
        ids = [str(path.relative_to(dexycb_root)).replace("color_", "")[:-4] for path in pictures]
        assert ids == sorted(annotated_frames(dexycb_root, split))
        skipped[split.split("_")[0]] += dataset.skipped
    unannotated = DEXYCB.videos * DEXYCB.hands_per_video // UNANNOTATED_FRAME_EVERY * len(SERIALS)
    assert set(skipped.values()) == {unannotated}


def test_left_hands_pictures_are_mirrored_and_right_ones_are_not(dexycb_root: Path) -> None:
    dataset = DexYCB(dexycb_root, "s1_test")
    sides = {dataset.label(index).side: index for index in range(len(dataset))}
    assert set(sides) == {"left", "right"}
    for side, index in sides.items():
        stored = np.asarray(Image.open(dataset.files(index)[0]))
        hand = dataset[index]
        assert hand.image.shape == (64, 80, 3)
        np.testing.assert_array_equal(hand.image, stored[:, ::-1] if side == "left" else stored)
        assert hand.sample_id == dataset.label(index).sample_id


def test_what_is_stored_is_official(dexycb_root: Path) -> None:
    """Metres, pixels that are centred at whole numbers, left hands as the camera saw them."""
    dataset = DexYCB(dexycb_root, "s1_test")
    left = next(index for index in range(len(dataset)) if dataset.label(index).side == "left")
    label = dataset.label(left)
    with np.load(dataset.files(left)[1]) as stored:
        assert stored["joint_3d"].shape == (1, JOINT_COUNT, 3)
        assert stored["joint_3d"].dtype == stored["joint_2d"].dtype == np.float32
        np.testing.assert_allclose(stored["joint_3d"][0] * 1000, label.joints_3d_mm * [-1, 1, 1], atol=0.01)
        np.testing.assert_allclose(
            80 - (stored["joint_2d"][0, :, 0] + 0.5), label.keypoints_2d_px[:, 0], atol=0.01
        )


SPLIT = "s1_val"
SUBJECT = 6
"""Of that split, and its only take."""
AGAIN = "extract its archive again"


def refused(root: Path, problem: str) -> None:
    with pytest.raises(HandsimError, match=problem) as error:
        DexYCB(root, SPLIT)
    assert "\n" not in str(error.value)


def test_a_wrong_root_is_refused(tmp_path: Path, dexycb_root: Path) -> None:
    for wrong in (tmp_path, tmp_path / "nowhere", dexycb_root / SUBJECTS[0], dexycb_root / SUBJECTS[0] / "x"):
        with pytest.raises(NotThereError, match=r"none of DexYCB's subjects .*; give the folder that"):
            DexYCB(wrong, SPLIT)


def test_missing_folders_are_refused(dexycb_root: Path, tmp_path: Path) -> None:
    """A missing sequence must not make a smaller split."""
    root = tmp_path
    name = SUBJECTS[SUBJECT]
    shutil.copytree(dexycb_root / name, root / name)
    refused(root, f"836212060125_640x480.yml is missing; .*{AGAIN}")
    (root / SUBJECTS[0]).mkdir()
    (root / name).rename(root / "elsewhere")
    refused(root, rf"{name} is missing and the split needs it; download {name}.tar.gz")
    (root / "elsewhere").rename(root / name)
    shutil.rmtree(sequence_folder(root, SUBJECT, 99))
    refused(root, f"has 99 sequences and not 100; splits need all of them in order; .*{AGAIN}")


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("meta.yml", None, "meta.yml is missing"),
        ("meta.yml", "num_frames: [", "meta.yml is not YAML"),
        ("meta.yml", "mano_sides: [left]\n", "meta.yml lacks num_frames and mano_sides"),
        ("meta.yml", "mano_sides: [up]\nnum_frames: 2\n", r"has mano_sides \['up'\]; it is one of"),
        ("meta.yml", "mano_sides: [left, right]\nnum_frames: 2\n", "has mano_sides"),
        ("meta.yml", "mano_sides: !!python/object/apply:os.getcwd []\n", "meta.yml is not YAML"),
        ("meta.yml", "mano_sides: [left]\nnum_frames: 3\n", "pose_m of .* meta.yml says 3 frames"),
        ("pose.npz", None, "pose.npz is missing"),
        ("pose.npz", "no archive", "pose.npz has more than plain arrays"),
        ("calibration", "color:\n  fx: 1.0\n", f"_80x64.yml lacks color: fx, fy, ppx, ppy; .*{AGAIN}"),
    ],
)
def test_damaged_sequences_and_cameras_are_refused(
    dexycb_root: Path, file: str, content: str | None, problem: str
) -> None:
    path = sequence_folder(dexycb_root, *place_of_take(SUBJECT)) / file
    if file == "calibration":
        path = next((dexycb_root / "calibration" / "intrinsics").glob("836212060125_*.yml"))
    with damaged(path):
        if content is None:
            path.unlink()
        else:
            path.write_text(content)
        refused(dexycb_root, problem)


def arrays(**by_name: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **by_name)
    return file.getvalue()


def labels(hands: int) -> bytes:
    """Without an annotated joint."""
    return arrays(joint_3d=np.full((hands, 21, 3), -1.0), joint_2d=np.full((hands, 21, 2), -1.0))


def single_array() -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros((1, 21, 3)))
    return file.getvalue()


UNREADABLE = f"cannot be read .*{AGAIN}"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, f"labels_00000[01].npz is missing; .*{AGAIN}"),
        (arrays(joint_3d=np.array([{"a": 1}])), rf"more than plain arrays \(pickled objects .*{AGAIN}"),
        (arrays(joint_3d=np.zeros((1, 21, 3))), f"has no joint_2d.*{AGAIN}"),
        (labels(2), r"joint_3d \[2, 21, 3\] and joint_2d \[2, 21, 2\]; expected are \[1, 21, 3\]"),
        (labels(1), f"has no valid joint, though pose.npz has the pose of the hand; .*{AGAIN}"),
        (single_array(), UNREADABLE),
        (arrays(joint_3d=np.zeros((1, 21, 3)))[:300], UNREADABLE),
        (b"", UNREADABLE),
    ],
)
def test_damaged_labels_are_named(dexycb_root: Path, content: bytes | None, problem: str) -> None:
    dataset = DexYCB(dexycb_root, SPLIT)
    path = dataset.files(4)[1]
    with damaged(path):
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        for read in (dataset.label, dataset.__getitem__):
            with pytest.raises(HandsimError, match=problem) as error:
                read(4)
            assert "\n" not in str(error.value)
        assert dataset[3].valid.all()


def test_single_joints_without_annotation_are_not_valid(dexycb_root: Path) -> None:
    dataset = DexYCB(dexycb_root, SPLIT)
    before, path = dataset.label(4), dataset.files(4)[1]
    with np.load(path) as stored:
        joint_3d, joint_2d = stored["joint_3d"], stored["joint_2d"]
    joint_3d[0, [3, 17]] = joint_2d[0, [3, 17]] = -1
    with damaged(path):
        path.write_bytes(arrays(joint_3d=joint_3d, joint_2d=joint_2d))
        after = dataset.label(4)
    assert np.flatnonzero(~after.valid).tolist() == [3, 17]
    assert np.isnan(after.joints_3d_mm[[3, 17]]).all()
    assert np.isnan(after.keypoints_2d_px[[3, 17]]).all()
    np.testing.assert_array_equal(after.joints_3d_mm[after.valid], before.joints_3d_mm[after.valid])


def test_no_two_takes_have_the_same_place() -> None:
    assert len({place_of_take(take) for take in range(MOST_TAKES)}) == MOST_TAKES


@pytest.mark.parametrize("setup", SETUPS)
def test_the_fewest_takes_reach_every_split(setup: str) -> None:
    places = [place_of_take(take) for take in range(LEAST_TAKES)]
    reached = {oracle(setup, place[0], camera, place[1]) for place, camera in product(places, range(8))}
    assert reached == {"train", "val", "test"}


def test_each_camera_has_its_own_focal_length(dexycb_root: Path) -> None:
    dataset = DexYCB(dexycb_root, SPLIT)
    labels = [dataset.label(index) for index in range(len(dataset))]
    focal = {label.sample_id.split("/")[2]: label.intrinsics[0, 0] for label in labels}
    assert len(set(focal.values())) == 8

"""AssemblyHands: what is written in its layout is read, for both sides, and damage is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from handsim.errors import HandsimError, NotThereError
from handsim.hand import SIDES
from handsim.skeleton import JOINT_COUNT
from tests.training.datasets.builders import ASSEMBLYHANDS, change_json, damaged, true_labels
from training.datasets.assemblyhands import SPLITS, AssemblyHands
from training.datasets.layouts import (
    CAMERAS,
    FRAME_STEP,
    focal_of_camera,
    split_of_sequence,
)

WORLD = replace(ASSEMBLYHANDS, people=replace(ASSEMBLYHANDS.people, count=ASSEMBLYHANDS.videos))

# The official README's picture: each finger's tip comes first, the wrist last; the left hand's are 21 on.
THEIRS = [20, *(3, 2, 1, 0), *(7, 6, 5, 4), *(11, 10, 9, 8), *(15, 14, 13, 12), *(19, 18, 17, 16)]


@cache
def stored(root: Path, split: str, kind: str) -> Any:
    return json.loads((root / f"annotations/{split}/assemblyhands_{split}_{kind}_v1-1.json").read_text())


def boxes(root: Path, split: str) -> dict[str, tuple[Any, Any]]:
    """Image and annotation of every hand with a box, by sample id."""
    data = stored(root, split, "ego_data")
    images = {image["id"]: image for image in data["images"]}
    found = {}
    for annotation in data["annotations"]:
        image = images[annotation["image_id"]]
        for side in ("right", "left"):
            if annotation["bbox"][side] is not None:
                sample_id = f"{image['seq_name']}/{image['camera']}/{image['frame_idx']:06d}/{side}"
                found[sample_id] = image, annotation
    return found


def valid_joints(root: Path, split: str, sample_id: str) -> list[bool]:
    sequence, _, frame, side = sample_id.split("/")
    _, annotation = boxes(root, split)[sample_id]
    pose = stored(root, split, "joint_3d")["annotations"][sequence][frame]
    first = 0 if side == "right" else 21
    return [
        bool(annotation["joint_valid"][first + joint]) and bool(pose["joint_valid"][first + joint])
        for joint in THEIRS
    ]


@pytest.mark.parametrize("split", SPLITS)
def test_labels_are_those_of_the_world_that_was_rendered(assemblyhands_root: Path, split: str) -> None:
    dataset = AssemblyHands(assemblyhands_root, split)
    sides = set()
    for index in range(len(dataset)):
        label = dataset.label(index)
        sequence, camera_name, frame, side = label.sample_id.split("/")
        number, camera = int(label.subject) - 9001, CAMERAS.index(camera_name)
        assert f"_{9001 + number}_user_id_" in sequence
        assert split_of_sequence(number) == split
        turn = (camera - number) % len(CAMERAS)
        video = number + WORLD.videos * (2 * turn + SIDES.index(label.side))
        focal = focal_of_camera(WORLD, camera, len(CAMERAS))
        joints, points, intrinsics = true_labels(WORLD, video, label.side, focal)
        source = int(frame) // FRAME_STEP - 1 - turn * WORLD.hands_per_video
        if label.side == "left":  # beside a right hand any of its frames may stand
            source = int(np.nanargmin(np.nanmean(abs(joints - label.joints_3d_mm), axis=(1, 2))))
        assert label.side == side
        np.testing.assert_allclose(label.joints_3d_mm[label.valid], joints[source, label.valid], atol=0.01)
        np.testing.assert_allclose(label.keypoints_2d_px[label.valid], points[source, label.valid], atol=0.01)
        np.testing.assert_allclose(label.intrinsics, intrinsics, atol=1e-6)
        assert label.size_px == (80, 64)
        sides.add(label.side)
    assert sides == {"left", "right"}


@pytest.mark.parametrize("split", SPLITS)
def test_each_hand_with_a_box_and_a_valid_joint_is_a_sample(assemblyhands_root: Path, split: str) -> None:
    dataset = AssemblyHands(assemblyhands_root, split)
    labels = {label.sample_id: label for label in map(dataset.label, range(len(dataset)))}
    expected = {
        name: valid_joints(assemblyhands_root, split, name) for name in boxes(assemblyhands_root, split)
    }
    assert list(labels) == [name for name, valid in expected.items() if any(valid)]
    assert dataset.skipped == sum(not any(valid) for valid in expected.values()) > 0
    for name, label in labels.items():
        assert label.valid.tolist() == expected[name]
        assert np.isnan(label.joints_3d_mm[~label.valid]).all()
        assert np.isnan(label.keypoints_2d_px[~label.valid]).all()
        assert np.isfinite(label.joints_3d_mm[label.valid]).all()


def test_the_synthetic_set_has_every_case(assemblyhands_root: Path) -> None:
    """Pictures of one hand and of two, joints without annotation, cameras that move and turn."""
    annotations = stored(assemblyhands_root, "train", "ego_data")["annotations"]
    visible = {tuple(annotation["bbox"][side] is not None for side in SIDES) for annotation in annotations}
    assert visible == {(True, True), (True, False), (False, True)}
    dataset = AssemblyHands(assemblyhands_root, "train")
    assert 0.02 < np.mean([~dataset.label(index).valid for index in range(len(dataset))]) < 0.3
    for sequence in stored(assemblyhands_root, "train", "ego_calib")["calibration"].values():
        cameras = [camera for frame in sequence["extrinsics"].values() for camera in frame.values()]
        assert len(np.unique(np.round(cameras, 6), axis=0)) == len(cameras)
        turns, places = np.split(np.array(cameras), [3], axis=2)
        np.testing.assert_allclose(turns @ turns.transpose(0, 2, 1), [np.eye(3)] * len(turns), atol=1e-12)
        np.testing.assert_allclose(np.linalg.det(turns), 1)
        assert np.linalg.norm(places, axis=1).min() > 10


def test_joints_by_hand(assemblyhands_root: Path) -> None:
    """One left and one right hand, joint by joint as in the official README."""
    dataset = AssemblyHands(assemblyhands_root, "val")
    labels = {label.side: label for label in map(dataset.label, range(len(dataset)))}
    for side, label in labels.items():
        sequence, camera, frame, _ = label.sample_id.split("/")
        calibration = stored(assemblyhands_root, "val", "ego_calib")["calibration"][sequence]
        extrinsics = calibration["extrinsics"][frame][f"{camera}_mono10bit"]
        k = calibration["intrinsics"][f"{camera}_mono10bit"]
        world = stored(assemblyhands_root, "val", "joint_3d")["annotations"][sequence][frame]["world_coord"]
        for joint in np.flatnonzero(label.valid):
            x, y, z = world[THEIRS[joint] + (21 if side == "left" else 0)]
            seen = [row[0] * x + row[1] * y + row[2] * z + row[3] for row in extrinsics]
            across = k[0][0] * seen[0] / seen[2] + k[0][2] + 0.5
            down = k[1][1] * seen[1] / seen[2] + k[1][2] + 0.5
            sign, across = (-1, 80 - across) if side == "left" else (1, across)
            assert label.joints_3d_mm[joint] == pytest.approx([sign * seen[0], seen[1], seen[2]], abs=0.01)
            assert label.keypoints_2d_px[joint] == pytest.approx([across, down], abs=0.01)


def test_pictures_are_grey_rgb_and_left_hands_ones_mirrored(assemblyhands_root: Path) -> None:
    dataset = AssemblyHands(assemblyhands_root, "val")
    for index in range(len(dataset)):
        hand = dataset[index]
        with Image.open(dataset.files(index)[0]) as file:
            assert file.mode == "L"
            grey = np.asarray(file)
        expected = grey[:, ::-1] if hand.side == "left" else grey
        np.testing.assert_array_equal(hand.image, np.repeat(expected[..., None], 3, axis=2))


def test_both_hands_of_a_picture_share_it(assemblyhands_root: Path) -> None:
    dataset = AssemblyHands(assemblyhands_root, "train")
    files = [dataset.files(index)[0] for index in range(len(dataset))]
    pair = next(index for index in range(1, len(files)) if files[index] == files[index - 1])
    right, left = dataset[pair - 1], dataset[pair]
    assert (right.side, left.side) == ("right", "left")
    np.testing.assert_array_equal(right.image, left.image[:, ::-1])
    # In the picture the one is wholly beside the other.
    across, others = right.keypoints_2d_px[:, 0], 80 - left.keypoints_2d_px[:, 0]
    assert np.nanmax(across) < np.nanmin(others) or np.nanmax(others) < np.nanmin(across)


def test_annotated_2d_joints_are_the_projections(assemblyhands_root: Path) -> None:
    dataset = AssemblyHands(assemblyhands_root, "train")
    indices = list(range(len(dataset)))[::-3]
    annotated = dataset.annotated_keypoints_px(indices)
    assert annotated.shape == (len(indices), JOINT_COUNT, 2)
    for row, index in enumerate(indices):
        label = dataset.label(index)
        np.testing.assert_allclose(annotated[row, label.valid], label.keypoints_2d_px[label.valid], atol=0.01)


AGAIN = "download all three files of annotations v1-1 of the split again"
OTHER = rf"is not as in v1-1 \(.*\); {AGAIN}"
NO_SEQUENCE = f"lacks 1 of 2 sequences, such as nusar-.*; {AGAIN}"
NO_FRAME = f"lacks '000004', so it is not v1-1; {AGAIN}"


def path_of(root: Path, kind: str) -> Path:
    return root / "annotations" / "val" / f"assemblyhands_val_{kind}_v1-1.json"


def refused(root: Path, problem: str) -> None:
    with pytest.raises(HandsimError, match=problem) as error:
        AssemblyHands(root, "val")
    assert "\n" not in str(error.value)


def test_a_wrong_root_is_refused(tmp_path: Path, assemblyhands_root: Path) -> None:
    for wrong in (tmp_path, tmp_path / "nowhere", assemblyhands_root / "annotations"):
        with pytest.raises(NotThereError, match=r"no annotations/.*; give the folder that has annotations/"):
            AssemblyHands(wrong, "val")


@pytest.mark.parametrize("kind", ["ego_data", "ego_calib", "joint_3d"])
def test_files_that_are_missing_truncated_or_of_another_version_are_refused(
    assemblyhands_root: Path, kind: str
) -> None:
    root, path = assemblyhands_root, path_of(assemblyhands_root, kind)
    with damaged(path):
        path.unlink()
        refused(root, f"{path.name} is missing; {AGAIN}")
        assert len(AssemblyHands(root, "train")) > 0
        other = path.with_name(path.name.replace("v1-1", "v2-0"))
        other.touch()
        refused(root, f"has {other.name}, but handsim reads version v1-1; download that")
        other.unlink()
    with damaged(path):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        refused(root, rf"{path.name} is not whole JSON \(.*\); {AGAIN}")
        for content in ("", "<html>404</html>", "[1, 2]", "{}", '{"annotations": []}'):
            path.write_text(content)
            refused(root, AGAIN)


def setting(**values: Any) -> Callable[[Any], None]:
    """Change all annotations."""

    def change(data: Any) -> None:
        for annotation in data["annotations"]:
            annotation.update(values)

    return change


def first(mapping: dict[str, Any]) -> Any:
    return next(iter(mapping.values()))


@pytest.mark.parametrize(
    ("kind", "damage", "problem"),
    [
        ("ego_data", setting(bbox=dict.fromkeys(SIDES)), rf"no annotations\[\] with a box in bbox; {AGAIN}"),
        ("ego_data", lambda data: data["annotations"][2].update(bbox=[1.0, 2.0, 3.0, 4.0]), OTHER),
        ("ego_data", setting(joint_valid=[0] * 42), rf"none of the \d+ hands .* another split, else {AGAIN}"),
        ("joint_3d", lambda data: data["annotations"].popitem(), NO_SEQUENCE),
        ("joint_3d", lambda data: first(data["annotations"]).pop("000004"), NO_FRAME),
        ("ego_calib", lambda data: data["calibration"].popitem(), NO_SEQUENCE),
        ("ego_calib", lambda data: first(data["calibration"])["extrinsics"].pop("000004"), NO_FRAME),
    ],
)
def test_damaged_annotations_are_refused(
    assemblyhands_root: Path, kind: str, damage: Callable[[Any], None], problem: str
) -> None:
    path = path_of(assemblyhands_root, kind)
    with damaged(path):
        change_json(path, damage)
        refused(assemblyhands_root, problem)


def without_keypoints(data: Any) -> None:
    for annotation in data["annotations"]:
        del annotation["keypoints"]


def test_2d_joints_may_be_missing(assemblyhands_root: Path) -> None:
    path = path_of(assemblyhands_root, "ego_data")
    with damaged(path):
        change_json(path, without_keypoints)
        dataset = AssemblyHands(assemblyhands_root, "val")
        assert dataset.label(0).valid.any()
        assert np.isnan(dataset.annotated_keypoints_px([0, 1])).all()


def test_pictures_of_other_frames_are_refused(assemblyhands_root: Path) -> None:
    def shift(data: Any) -> None:
        names = [image["file_name"] for image in data["images"]]
        for image, name in zip(data["images"], [*names[1:], names[0]], strict=True):
            image["file_name"] = name

    with damaged(assemblyhands_root / "annotations/val/assemblyhands_val_ego_data_v1-1.json") as path:
        change_json(path, shift)
        with pytest.raises(HandsimError, match=r"the picture \d+\.jpg, which is of another frame"):
            AssemblyHands(assemblyhands_root, "val")

"""Projection, distance and picture size: each check fires on just what it is for."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from handsim.skeleton import JOINT_COUNT
from handsim.synthetic.camera import project
from tests.training.datasets.check.hands import whole_hands
from training.datasets.record import HandLabel
from training.datasets.sanity import check_depth, check_inside, check_projection

K = np.array([[600.0, 0, 320], [0, 600, 240], [0, 0, 1]])


def label_of(joints_mm: NDArray[np.float64]) -> HandLabel:
    return HandLabel(
        sample_id="s",
        subject="1",
        side="right",
        size_px=(640, 480),
        keypoints_2d_px=project(joints_mm, K).astype(np.float32),
        joints_3d_mm=joints_mm.astype(np.float32),
        intrinsics=K,
        valid=np.ones(JOINT_COUNT, dtype=np.bool_),
    )


LABELS = [label_of(hand) for hand in whole_hands(8)]
POINTS = np.stack([label.keypoints_2d_px for label in LABELS])


def test_right_labels_pass() -> None:
    finding = check_projection(LABELS, POINTS)
    assert finding.verdict == "passed"
    assert finding.numbers["max_px"] < 0.01
    assert check_depth(LABELS).verdict == "passed"
    assert check_inside(LABELS).verdict == "passed"


def test_2d_joints_of_another_picture_fail() -> None:
    finding = check_projection(LABELS, POINTS[::-1])
    assert finding.verdict == "failed"
    assert "joints or cameras are of other pictures" in finding.detail


def test_a_camera_of_another_picture_size_fails() -> None:
    other = [replace(label, intrinsics=np.diag([0.5, 0.5, 1]) @ K) for label in LABELS]
    assert check_projection(other, POINTS).verdict == "failed"


def test_half_a_pixel_and_a_few_bad_joints_pass() -> None:
    points = POINTS + 0.5
    points[0, :10] += 100
    finding = check_projection(LABELS, points)
    assert finding.verdict == "passed"
    assert finding.numbers["max_px"] > 100


def test_without_2d_joints_there_is_nothing_to_compare() -> None:
    assert check_projection(LABELS, None).verdict == "skipped"
    assert check_projection(LABELS, np.full_like(POINTS, np.nan)).verdict == "skipped"


def test_world_coordinates_fail() -> None:
    world = [
        replace(label, joints_3d_mm=label.joints_3d_mm - np.array([0, 0, 2000], dtype=np.float32))
        for label in LABELS
    ]
    finding = check_depth(world)
    assert finding.verdict == "failed"
    assert "they are not in the camera frame" in finding.detail


def test_pictures_of_another_size_fail() -> None:
    halved = [replace(label, size_px=(160, 120)) for label in LABELS]
    finding = check_inside(halved)
    assert finding.verdict == "failed"
    assert "pictures or cameras are of another size" in finding.detail


def test_joints_that_are_not_annotated_count_nowhere() -> None:
    valid = np.arange(JOINT_COUNT) < 15
    broken = [
        replace(
            label,
            valid=valid,
            joints_3d_mm=np.where(valid[:, None], label.joints_3d_mm, np.nan),
            keypoints_2d_px=np.where(valid[:, None], label.keypoints_2d_px, np.nan),
        )
        for label in LABELS
    ]
    assert check_projection(broken, POINTS).verdict == "passed"
    assert check_depth(broken).numbers["implausible_share"] == 0
    assert check_inside(broken).verdict == "passed"

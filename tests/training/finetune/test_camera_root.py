"""Where a hand is in its camera, from its joints and where they are seen."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.finetune.drawn_hands import DrawnHands
from training.finetune.predictor import camera_root_mm

EVEN = np.ones((1, 21))


@given(index=st.integers(0, 1000))
def test_exact_keypoints_tell_the_place_exactly(index: int) -> None:
    label = DrawnHands(1001).label(index)
    joints = label.joints_3d_mm.astype(np.float64)
    seen = joints @ label.intrinsics.T
    keypoints = seen[:, :2] / seen[:, 2:]
    root = camera_root_mm((joints - joints[0])[None], keypoints[None], label.intrinsics[None], EVEN)
    assert root[0] == pytest.approx(joints[0], abs=1e-6)


def test_noisy_keypoints_beside_a_general_solver() -> None:
    random = np.random.default_rng(0)
    labels = [DrawnHands(4, scale=4).label(index) for index in range(4)]
    joints = np.stack([label.joints_3d_mm - label.joints_3d_mm[0] for label in labels]).astype(np.float64)
    keypoints = np.stack([label.keypoints_2d_px for label in labels]) + random.normal(0, 2, (4, 21, 2))
    intrinsics = np.stack([label.intrinsics for label in labels])
    weights = random.uniform(0.1, 1, (4, 21))
    found = camera_root_mm(joints, keypoints, intrinsics, weights)
    for row in range(4):
        focal, middle = np.diag(intrinsics[row])[:2], intrinsics[row][:2, 2]
        rays = (keypoints[row] - middle) / focal

        rows, wanted = [], []
        for joint in range(21):
            for axis in range(2):
                share = np.sqrt(weights[row, joint])
                equation = np.zeros(3)
                equation[axis], equation[2] = 1, -rays[joint, axis]
                rows.append(share * equation)
                placed = joints[row, joint]
                wanted.append(share * (rays[joint, axis] * placed[2] - placed[axis]))
        solved = np.linalg.lstsq(np.array(rows), np.array(wanted), rcond=None)[0]
        assert found[row] == pytest.approx(solved, rel=1e-9)
        assert np.linalg.norm(found[row] - labels[row].joints_3d_mm[0]) < 30


def test_a_joint_that_is_not_trusted_does_not_count() -> None:
    label = DrawnHands(1).label(0)
    joints = label.joints_3d_mm.astype(np.float64)[None]
    seen = joints @ label.intrinsics.T
    keypoints = seen[..., :2] / seen[..., 2:]
    keypoints[0, 8] += 40
    weights = EVEN.copy()
    weights[0, 8] = 0
    root = camera_root_mm(joints - joints[:, :1], keypoints, label.intrinsics[None], weights)
    assert root[0] == pytest.approx(joints[0, 0], abs=1e-6)


@given(seed=st.integers(0, 500))
def test_nonsense_lies_before_the_camera(seed: int) -> None:
    """What an untrained network says: keypoints that have nothing to do with the joints."""
    random = np.random.default_rng(seed)
    joints = random.normal(0, 50, (1, 21, 3))
    keypoints = random.uniform(0, 96, (1, 21, 2))
    intrinsics = DrawnHands(1).label(0).intrinsics[None]
    placed = joints + camera_root_mm(joints, keypoints, intrinsics, EVEN)[:, None]
    assert np.isfinite(placed).all()
    assert placed[..., 2].mean() > 0


def test_keypoints_in_one_spot_tell_a_direction() -> None:
    intrinsics = DrawnHands(1).label(0).intrinsics[None]
    root = camera_root_mm(np.zeros((1, 21, 3)), np.full((1, 21, 2), 48.0), intrinsics, EVEN)
    assert np.isfinite(root).all()

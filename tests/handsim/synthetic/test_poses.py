"""Poses without pictures."""

import subprocess
import sys

import numpy as np
import pytest

from handsim.geometry import CROP_ENLARGEMENT, square_around
from handsim.skeleton import WRIST
from handsim.synthetic import SyntheticConfig, synthesise_poses
from handsim.synthetic.camera import project, squares_around
from handsim.synthetic.video import sample_video, see


def test_poses_need_no_torch() -> None:
    program = (
        "import sys; from handsim.synthetic import synthesise_poses;"
        "assert synthesise_poses(3, 4, seed=0).keypoints.shape == (12, 21, 3);"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_same_seed_same_bytes_whatever_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    poses = synthesise_poses(12, 10, seed=4)
    monkeypatch.setattr("handsim.synthetic.generate.CHUNK_HANDS", 30)
    again = synthesise_poses(12, 10, seed=4)
    assert again.keypoints.tobytes() == poses.keypoints.tobytes()
    assert poses.video.tolist() == sorted([*range(12)] * 10)
    assert poses.frame[:3].tolist() == [0, 30, 60]
    assert not np.array_equal(synthesise_poses(12, 10, seed=5).keypoints, poses.keypoints)


def test_keypoints_fill_the_crop_up_to_its_margin() -> None:
    keypoints = synthesise_poses(40, 5, seed=1).keypoints
    margin = (1 - 1 / CROP_ENLARGEMENT) / 2
    low, high = keypoints[..., :2].min(axis=1), keypoints[..., :2].max(axis=1)
    assert low.min() > margin - 1e-4
    assert high.max() < 1 - margin + 1e-4
    np.testing.assert_allclose((high - low).max(axis=1), 1 / CROP_ENLARGEMENT, atol=1e-4)
    assert (keypoints[:, WRIST, 2] == 0).all()
    assert np.abs(keypoints[..., 2]).max() < 1.5


def test_squares_are_those_of_geometry() -> None:
    points = np.random.default_rng(0).uniform(0, 100, (5, 21, 2))
    boxes = np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1)
    np.testing.assert_allclose(squares_around(points), [square_around(box) for box in boxes])


def test_neighbours_in_time_are_near_and_other_videos_are_far() -> None:
    hands = 30
    poses = synthesise_poses(40, hands, seed=2).keypoints[..., :2].reshape(40, hands, 42)
    step = np.linalg.norm(np.diff(poses, axis=1), axis=-1) / np.sqrt(21)
    across = np.linalg.norm(poses[:-1] - poses[1:], axis=-1) / np.sqrt(21)
    assert np.median(step) < 0.05
    assert np.median(across) > 5 * np.median(step)


def test_depth_is_measured_as_x_and_y_are() -> None:
    """A hand's 3D shape in the crop's unit is that of its joints, but for the perspective."""
    config = SyntheticConfig(videos=1, hands_per_video=4, seed=3)
    video = sample_video(config, 0)
    sight = see([video])
    keypoints = synthesise_poses(1, 4, seed=3).keypoints
    side = sight.squares_px[:, 2] - sight.squares_px[:, 0]
    crop_mm = side * sight.joints_mm[:, WRIST, 2] / video.view.intrinsics[0, 0]
    depth = (sight.joints_mm[..., 2] - sight.joints_mm[:, WRIST, None, 2]) / crop_mm[:, None]
    np.testing.assert_allclose(keypoints[..., 2], depth, atol=1e-5)
    pixels = project(sight.joints_mm, video.view.intrinsics)
    unit = (pixels - sight.squares_px[:, None, :2]) / side[:, None, None]
    np.testing.assert_allclose(keypoints[..., :2], unit, atol=1e-5)

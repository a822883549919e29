"""Poses without pictures, whole labelled pictures, and pools: all show the hands of the same world."""

import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from handsim.errors import HandsimError
from handsim.geometry import CROP_ENLARGEMENT, crop_affine, cut_crop, square_around
from handsim.pool import Pool
from handsim.skeleton import WRIST
from handsim.synthetic import (
    LabelledPicture,
    MotionConfig,
    PeopleConfig,
    SyntheticConfig,
    ViewConfig,
    synthesise,
    synthesise_labelled,
    synthesise_pool,
    synthesise_poses,
)
from handsim.synthetic.camera import project, squares_around
from handsim.synthetic.generate import HIDDEN_FACTOR, add_keypoint_noise
from handsim.synthetic.video import compute_geometry, sample_video
from tests.handsim.synthetic.test_video import side_signs

FISTS = SyntheticConfig(
    videos=4,
    hands_per_video=3,
    seed=9,
    size_px=64,
    people=PeopleConfig(count=3),
    motion=MotionConfig(prototypes=("fist",)),
    view=ViewConfig(picture_px=(156, 120), focal_px=(120.0, 220.0)),
)
SMALL = SyntheticConfig(videos=3, hands_per_video=2, size_px=32, seed=5)


@pytest.fixture(scope="module")
def whole() -> list[LabelledPicture]:
    return list(synthesise_labelled(FISTS))


@pytest.fixture(scope="module")
def crops() -> list[LabelledPicture]:
    return list(synthesise_labelled(FISTS, crop_enlargement=1.3))


def test_poses_need_no_torch() -> None:
    program = (
        "import sys; from handsim.synthetic import synthesise_poses;"
        "assert synthesise_poses(3, 4, seed=0).keypoints.shape == (12, 21, 3);"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_poses_are_those_of_the_pictures() -> None:
    (samples,) = synthesise(SMALL, batch_size=100)
    poses = synthesise_poses(3, 2, seed=5)
    np.testing.assert_array_equal(poses.keypoints, samples.keypoints)
    np.testing.assert_array_equal(poses.video, samples.video)
    np.testing.assert_array_equal(poses.frame, samples.frame)


def test_the_same_seed_gives_the_same_poses_whatever_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    poses = synthesise_poses(12, 10, seed=4)
    monkeypatch.setattr("handsim.synthetic.generate._CHUNK_HANDS", 30)
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
    video = sample_video(SyntheticConfig(videos=1, hands_per_video=4, seed=3), 0)
    geometry = compute_geometry([video])
    keypoints = synthesise_poses(1, 4, seed=3).keypoints
    side = geometry.squares_px[:, 2] - geometry.squares_px[:, 0]
    crop_mm = side * geometry.joints_mm[:, WRIST, 2] / video.view.intrinsics[0, 0]
    depth = (geometry.joints_mm[..., 2] - geometry.joints_mm[:, WRIST, None, 2]) / crop_mm[:, None]
    np.testing.assert_allclose(keypoints[..., 2], depth, atol=1e-5)
    pixels = project(geometry.joints_mm, video.view.intrinsics)
    unit = (pixels - geometry.squares_px[:, None, :2]) / side[:, None, None]
    np.testing.assert_allclose(keypoints[..., :2], unit, atol=1e-5)


def test_labelled_pictures_come_video_by_video(
    whole: list[LabelledPicture], crops: list[LabelledPicture]
) -> None:
    for pictures, shape in ((whole, (120, 156, 3)), (crops, (64, 64, 3))):
        assert [picture.image.shape for picture in pictures] == [shape] * 12
        assert [(picture.video, picture.frame) for picture in pictures[2:5]] == [(0, 60), (1, 0), (1, 30)]
        assert [picture.person for picture in pictures[::3]] == [0, 1, 2, 0]


def test_2d_is_the_projection_of_3d(whole: list[LabelledPicture], crops: list[LabelledPicture]) -> None:
    for picture in [*whole, *crops]:
        places = np.array([picture.intrinsics @ joint for joint in picture.joints_3d_mm.astype(np.float64)])
        np.testing.assert_allclose(places[:, :2] / places[:, 2:], picture.keypoints_2d_px, atol=1e-3)
        points = picture.keypoints_2d_px
        np.testing.assert_allclose(picture.box_px, [*points.min(axis=0), *points.max(axis=0)], atol=1e-3)


def test_left_hands_are_left(whole: list[LabelledPicture]) -> None:
    signs = side_signs(np.array([picture.joints_3d_mm for picture in whole]))
    assert [{"right": 1, "left": -1}[picture.side] for picture in whole] == signs.tolist()
    assert set(signs.tolist()) == {1, -1}


def test_crops_show_the_hands_of_the_pool(crops: list[LabelledPicture]) -> None:
    (samples,) = synthesise(FISTS, batch_size=100)
    hands = samples.unmirror()
    for row, picture in enumerate(crops):
        np.testing.assert_array_equal(picture.image, hands.images[row])
        np.testing.assert_allclose(picture.keypoints_2d_px, hands.keypoints_px[row], atol=1e-4)
        np.testing.assert_array_equal(picture.joints_3d_mm, hands.joints_mm[row])
        np.testing.assert_allclose(picture.intrinsics, hands.intrinsics[row])


def test_whole_pictures_show_the_same_hands(
    whole: list[LabelledPicture], crops: list[LabelledPicture]
) -> None:
    """Cut out of the whole picture, the hand lies on its crop; backgrounds and sharpness differ."""
    differences = []
    for picture, crop in zip(whole, crops, strict=True):
        if picture.box_px.min() <= 4 or not (picture.box_px[2:] < [152, 116]).all():
            continue
        square = square_around(picture.box_px)
        affine = crop_affine(square, 64)
        np.testing.assert_allclose(
            picture.keypoints_2d_px * affine[[0, 1], [0, 1]] + affine[:, 2], crop.keypoints_2d_px, atol=1e-2
        )
        there = cut_crop(picture.image, square, 64)
        columns, rows = crop.keypoints_2d_px[crop.visible].astype(int).T
        close = there[rows, columns].astype(float) - crop.image[rows, columns]
        far = there[rows, 63 - columns].astype(float) - crop.image[rows, columns]
        differences.append((np.abs(close).mean(), np.abs(far).mean()))
    assert len(differences) >= 4
    ours, mirrored = np.mean(differences, axis=0)
    assert ours < 20 < mirrored


def test_joints_outside_the_picture_are_not_visible() -> None:
    near = replace(FISTS, view=replace(FISTS.view, distance_mm=(250.0, 260.0), focal_px=(400.0, 400.0)))
    outside = np.zeros(21, dtype=int)
    for picture in synthesise_labelled(near):
        beyond = ((picture.keypoints_2d_px < 0) | (picture.keypoints_2d_px > [156, 120])).any(axis=1)
        assert not picture.visible[beyond].any()
        outside += beyond
    assert outside.any()


def test_labelled_bytes_do_not_depend_on_other_videos(whole: list[LabelledPicture]) -> None:
    again = list(synthesise_labelled(FISTS, videos=[3, 1]))
    for one, other in zip(again, [*whole[9:12], *whole[3:6]], strict=True):
        for field in fields(LabelledPicture):
            np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))


def test_a_crop_that_cuts_the_hand_is_refused() -> None:
    with pytest.raises(HandsimError, match=r"crop_enlargement is 0\.9"):
        next(synthesise_labelled(FISTS, crop_enlargement=0.9))


def make_pool(path: Path, noise: float, world: SyntheticConfig = SMALL) -> Pool:
    synthesise_pool(path, world, keypoint_noise=noise)
    return Pool.open(path)


def test_a_pool_holds_the_world_once(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    synthesise_pool(tmp_path / "pool", SMALL, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(2, 6), (4, 6), (6, 6)]
    pool = make_pool(tmp_path / "pool", 0.0)
    np.testing.assert_array_equal(pool.keypoints, synthesise_poses(3, 2, seed=5).keypoints)
    with pytest.raises(HandsimError, match="32 px"):
        synthesise_pool(tmp_path / "pool", replace(SMALL, size_px=96))


def test_more_videos_are_added_to_those_of_a_pool(tmp_path: Path) -> None:
    first = make_pool(tmp_path / "pool", 0.03, replace(SMALL, videos=2))
    before = dict(zip(first.hand_ids.tolist(), first.keypoints, strict=True))
    after = make_pool(tmp_path / "pool", 0.03)
    assert len(after) == 6
    rows = [row for row, hand in enumerate(after.hand_ids.tolist()) if hand in before]
    assert len(rows) == 4
    assert all(np.array_equal(after.keypoints[row], before[int(after.hand_ids[row])]) for row in rows)


def test_keypoint_noise_has_the_size_that_was_set() -> None:
    """In sizes of the box; the crop is `CROP_ENLARGEMENT` times as long as that."""
    visible = np.arange(20_000 * 21).reshape(-1, 21) % 2 == 0
    exact = np.full((20_000, 21, 3), 0.5, dtype=np.float32)
    moved = add_keypoint_noise(np.random.default_rng(1), exact, visible, 0.02)
    assert moved.dtype == np.float32
    errors = (moved - exact) * CROP_ENLARGEMENT
    assert np.allclose(errors[visible].std(axis=0), 0.02, rtol=0.02)
    assert np.allclose(errors[~visible].std(axis=0), 0.02 * HIDDEN_FACTOR, rtol=0.02)
    assert np.abs(errors.mean(axis=(0, 1))).max() < 1e-3


def test_a_pool_with_noise_is_that_world_with_other_keypoints(tmp_path: Path) -> None:
    exact, noisy = make_pool(tmp_path / "exact", 0.0), make_pool(tmp_path / "noisy", 0.03)
    again, more = make_pool(tmp_path / "again", 0.03), make_pool(tmp_path / "more", 0.06)
    assert np.array_equal(noisy.keypoints, again.keypoints)
    assert np.array_equal(noisy.hand_ids, again.hand_ids)
    errors, larger = noisy.keypoints - exact.keypoints, more.keypoints - exact.keypoints
    assert 0.01 < errors.std() < 0.1
    assert np.allclose(larger, 2 * errors, atol=1e-5)
    assert not np.allclose(errors[0], errors[1])
    for mine, theirs in zip(noisy.hand_ids.tolist(), exact.hand_ids.tolist(), strict=True):
        assert np.array_equal(noisy.crop(mine), exact.crop(theirs))
    assert not set(noisy.hand_ids.tolist()) & set(exact.hand_ids.tolist())


@pytest.mark.parametrize("noise", [-0.01, 0.6, float("nan")])
def test_impossible_noise_is_refused(tmp_path: Path, noise: float) -> None:
    with pytest.raises(HandsimError, match=r"keypoint_noise is .*from 0 \(exact\) to 0.5"):
        synthesise_pool(tmp_path / "pool", SMALL, keypoint_noise=noise)
    assert not (tmp_path / "pool").exists()

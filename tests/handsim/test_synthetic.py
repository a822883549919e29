"""Synthetic worlds: how hands bend, and crops, labelled pictures and pools of them with their truth."""

import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from handsim.errors import HandsimError
from handsim.geometry import CROP_ENLARGEMENT, crop_affine, cut_crop, square_around
from handsim.pool import Pool
from handsim.skeleton import BONES, FINGER_JOINTS, FINGERTIPS, WRIST
from handsim.synthetic import (
    LabelledPicture,
    MotionConfig,
    PeopleConfig,
    Samples,
    SceneConfig,
    SyntheticConfig,
    ViewConfig,
    synthesise,
    synthesise_labelled,
    synthesise_pool,
    synthesise_poses,
)
from handsim.synthetic.camera import project, squares_around
from handsim.synthetic.generate import HIDDEN_FACTOR, add_keypoint_noise
from handsim.synthetic.hand_model import (
    ANGLE_INDEX,
    HIGHEST_DEG,
    LOWEST_DEG,
    clip_to_limits,
    forward_kinematics,
    sample_person,
)
from handsim.synthetic.motion import PROTOTYPE_ANGLES, nearest_labels, sample_motion
from handsim.synthetic.render import render
from handsim.synthetic.video import compute_geometry, sample_surroundings, sample_video

SEEDS = st.integers(0, 2**32)
INDEX_MCP, LITTLE_MCP = FINGER_JOINTS["index"][0], FINGER_JOINTS["little"][0]
CONFIG = SyntheticConfig(videos=6, hands_per_video=3, seed=9, size_px=64)
SMALL = SyntheticConfig(videos=3, hands_per_video=2, size_px=32, seed=5)
ONE = replace(SMALL, videos=1)
FISTS = SyntheticConfig(
    videos=4,
    hands_per_video=3,
    seed=9,
    size_px=64,
    people=PeopleConfig(count=3),
    motion=MotionConfig(prototypes=("fist",)),
    view=ViewConfig(picture_px=(156, 120), focal_px=(120.0, 220.0)),
)


def join(videos: Iterable[Samples]) -> Samples:
    """The hands of all videos, one after the other."""
    parts = [vars(video) for video in videos]
    return Samples(**{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


@pytest.fixture(scope="module")
def samples() -> Samples:
    return join(synthesise(CONFIG))


@pytest.fixture(scope="module")
def whole() -> list[LabelledPicture]:
    return list(synthesise_labelled(FISTS))


@pytest.fixture(scope="module")
def crops() -> list[LabelledPicture]:
    return list(synthesise_labelled(FISTS, crop_enlargement=1.3))


@given(SEEDS)
def test_bone_lengths_do_not_depend_on_the_pose(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = sample_person(rng, PeopleConfig()).shape
    joints = forward_kinematics(shape, rng.uniform(LOWEST_DEG, HIGHEST_DEG, (8, len(LOWEST_DEG)))).joints_mm
    start, end = np.array(BONES).T
    lengths = np.linalg.norm(joints[:, end] - joints[:, start], axis=-1)
    np.testing.assert_allclose(lengths, np.broadcast_to(lengths[0], lengths.shape), atol=1e-9)


@given(SEEDS, st.booleans())
def test_joint_limits_hold_along_a_video(seed: int, holding: bool) -> None:
    motion = MotionConfig(jitter_deg=40, wobble_deg=20)
    angles = sample_motion(np.random.default_rng(seed), motion, 40, holding=holding)
    assert (angles >= LOWEST_DEG).all()
    assert (angles <= HIGHEST_DEG).all()
    assert angles.std(axis=0).max() > 5
    assert (clip_to_limits(angles + 999) == HIGHEST_DEG).all()


@given(SEEDS)
def test_the_palm_normal_of_a_right_hand(seed: int) -> None:
    """Index knuckle x little knuckle, seen from the wrist, points out of the palm; fists close towards it."""
    shape = sample_person(np.random.default_rng(seed), PeopleConfig()).shape
    joints = forward_kinematics(shape, PROTOTYPE_ANGLES["fist"][None]).joints_mm[0]
    wrist = joints[WRIST]
    normal = np.cross(joints[INDEX_MCP] - wrist, joints[LITTLE_MCP] - wrist)
    for tip in FINGERTIPS:
        assert (joints[tip] - joints[INDEX_MCP]) @ normal > 0
    flat = forward_kinematics(shape, PROTOTYPE_ANGLES["flat"][None]).joints_mm[0]
    thumb_tip, little_tip = flat[FINGERTIPS[0]], flat[FINGERTIPS[-1]]
    assert thumb_tip[0] > flat[INDEX_MCP][0] > flat[LITTLE_MCP][0]
    assert little_tip[1] > flat[LITTLE_MCP][1] > 0


def test_flexing_a_single_joint_moves_the_tip_towards_the_palm() -> None:
    shape = sample_person(np.random.default_rng(0), PeopleConfig()).shape
    straight = np.zeros((1, len(LOWEST_DEG)))
    tips = forward_kinematics(shape, straight).joints_mm[0, list(FINGERTIPS)]
    for finger, name in enumerate(("index", "middle", "ring", "little"), start=1):
        for joint in ("mcp", "pip", "dip"):
            bent = straight.copy()
            bent[0, ANGLE_INDEX[f"{name}_{joint}"]] = 30
            tip = forward_kinematics(shape, bent).joints_mm[0, FINGERTIPS[finger]]
            assert tip[2] > tips[finger, 2] + 3
            assert tip[1] < tips[finger, 1]


@pytest.mark.parametrize("touching", ["ok", "pinch"])
def test_thumb_and_index_meet(touching: str) -> None:
    people = PeopleConfig(hand_length_mm=(186, 0), child_share=0)
    shape = sample_person(np.random.default_rng(1), people).shape
    joints = forward_kinematics(shape, PROTOTYPE_ANGLES[touching][None]).joints_mm[0]
    assert np.linalg.norm(joints[FINGERTIPS[0]] - joints[FINGERTIPS[1]]) < 28


def test_a_prototype_is_labelled_with_its_own_name() -> None:
    assert nearest_labels(np.array(list(PROTOTYPE_ANGLES.values()))) == list(PROTOTYPE_ANGLES)
    odd = PROTOTYPE_ANGLES["flat"].copy()
    odd[4:8], odd[12:16] = PROTOTYPE_ANGLES["fist"][4:8], PROTOTYPE_ANGLES["fist"][12:16]
    assert nearest_labels(odd[None]) == [None]


def side_signs(joints_mm: NDArray[np.floating]) -> NDArray[np.floating]:
    """1 for right fists [N, 21, 3], -1 for left: the triple product of wrist, knuckles and curled fingers."""
    index, little = FINGER_JOINTS["index"], FINGER_JOINTS["little"]
    knuckles = joints_mm[:, [index[0], little[0]]] - joints_mm[:, [WRIST]]
    curl = joints_mm[:, index[1]] - joints_mm[:, index[0]]
    signs: NDArray[np.floating] = np.sign((np.cross(knuckles[:, 0], knuckles[:, 1]) * curl).sum(-1))
    return signs


def test_2d_is_the_projection_of_3d_of_right_hands(samples: Samples) -> None:
    assert samples.images.shape == (18, 64, 64, 3)
    assert samples.images.dtype == np.uint8
    assert samples.keypoints.dtype == samples.joints_mm.dtype == np.float32
    assert set(samples.side) == {"left", "right"}
    pixels = project(samples.joints_mm.astype(np.float64), samples.intrinsics)
    np.testing.assert_allclose(pixels, samples.keypoints_px, atol=1e-3)
    np.testing.assert_allclose(samples.keypoints[..., :2] * 64, samples.keypoints_px, atol=1e-3)


@pytest.mark.parametrize(("palm_share", "sign"), [(1, 1), (0, -1)])
def test_a_right_palm_with_fingers_up_has_its_thumb_on_the_right(palm_share: int, sign: int) -> None:
    still = ViewConfig(turn_deg=0, tilt_deg=0, roll_deg=0, drift_deg=0)
    view = replace(still, palm_share=palm_share, back_share=1 - palm_share)
    world = replace(CONFIG, view=view, motion=MotionConfig(prototypes=("spread",)))
    points = synthesise_poses(6, 3, 9, world).keypoints
    thumb, little, middle = (FINGER_JOINTS[name][3] for name in ("thumb", "little", "middle"))
    assert (points[:, middle, 1] < points[:, WRIST, 1]).all()
    assert (np.sign(points[:, thumb, 0] - points[:, little, 0]) == sign).all()


def test_visible_joints_lie_on_skin() -> None:
    scene = SceneConfig(sleeve_share=0, passing_share=0)
    config = replace(CONFIG, scene=scene, motion=MotionConfig(holding_share=0))
    on_skin = []
    for index in range(config.videos):
        video = sample_video(config, index)
        geometry = compute_geometry([video])
        intrinsics = geometry.unit_intrinsics * np.array([64, 64, 1])[:, None]
        with torch.no_grad():
            scene_of_video = sample_surroundings(config, video)
            pictures = render(video, scene_of_video, geometry.posture, intrinsics, slice(0, 3), 64, (0,))
        columns, rows = np.moveaxis(project(geometry.joints_mm, intrinsics).astype(int), -1, 0)
        frames = np.arange(3)[:, None]
        on_skin.append(pictures.skin[frames, rows, columns] > 0.5)
        behind = pictures.depth_mm[frames, rows, columns] - geometry.joints_mm[..., 2]
        assert np.median(behind) < 0  # the surface is before the joint
    assert np.mean(on_skin) > 0.985


def test_objects_hide_joints() -> None:
    bare = replace(CONFIG, motion=MotionConfig(holding_share=0), scene=SceneConfig(passing_share=0))
    passing = replace(bare, scene=SceneConfig(passing_share=1))
    free, covered = (join(synthesise(config, videos=range(3))).visible for config in (bare, passing))
    assert 0.5 < free.mean() <= 1
    assert covered.mean() < free.mean()
    assert (covered & ~free).mean() < 0.01


def test_the_bytes_do_not_depend_on_threads_and_other_videos(samples: Samples) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        some = join(synthesise(CONFIG, videos=[4, 1]))
    finally:
        torch.set_num_threads(threads)
    for name, values in vars(some).items():
        np.testing.assert_array_equal(values, getattr(samples, name)[[12, 13, 14, 3, 4, 5]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size_px": 100}, "multiple of 8"),
        ({"hands_per_video": 0}, "at least 1"),
        ({"seed": -1}, "at least 0"),
        ({"motion": MotionConfig(prototypes=("spock",))}, "'spock' is not a prototype"),
        ({"scene": SceneConfig(backgrounds=())}, "none at all"),
        ({"scene": SceneConfig(noise=(0.2, 0.1))}, "low <= high"),
        ({"view": ViewConfig(palm_share=0.7, back_share=0.7)}, "between 0 and 1"),
        ({"view": ViewConfig(distance_mm=(100.0, 300.0))}, "250 mm"),
    ],
)
def test_settings_out_of_bounds_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(HandsimError, match=message):
        replace(CONFIG, **change)  # type: ignore[arg-type]  # each case changes another field


def test_an_impossible_crop_and_impossible_noise_are_refused(tmp_path: Path) -> None:
    with pytest.raises(HandsimError, match=r"crop_enlargement is 0\.9"):
        next(synthesise_labelled(FISTS, crop_enlargement=0.9))
    for noise in (-0.01, 0.6, float("nan")):
        with pytest.raises(HandsimError, match=r"keypoint_noise is .*from 0 \(exact\) to 0.5"):
            synthesise_pool(tmp_path / "pool", SMALL, keypoint_noise=noise)
    assert not (tmp_path / "pool").exists()


def test_poses_need_no_torch() -> None:
    program = (
        "import sys; from handsim.synthetic import synthesise_poses;"
        "assert synthesise_poses(3, 4, seed=0).keypoints.shape == (12, 21, 3);"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_poses_are_those_of_the_pictures(samples: Samples) -> None:
    poses = synthesise_poses(6, 3, seed=9)
    for field in ("keypoints", "video", "frame"):
        np.testing.assert_array_equal(getattr(poses, field), getattr(samples, field))


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
    np.testing.assert_allclose([low.min(), 1 - high.max()], margin, atol=1e-4)
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


def test_labelled_pictures_come_video_by_video_and_their_2d_is_the_projection_of_their_3d(
    whole: list[LabelledPicture], crops: list[LabelledPicture]
) -> None:
    for pictures, shape in ((whole, (120, 156, 3)), (crops, (64, 64, 3))):
        assert [picture.image.shape for picture in pictures] == [shape] * 12
        assert [(picture.video, picture.frame) for picture in pictures[2:5]] == [(0, 60), (1, 0), (1, 30)]
        assert [picture.person for picture in pictures[::3]] == [0, 1, 2, 0]

    for picture in [*whole, *crops]:
        places = np.array([picture.intrinsics @ joint for joint in picture.joints_3d_mm.astype(np.float64)])
        np.testing.assert_allclose(places[:, :2] / places[:, 2:], picture.keypoints_2d_px, atol=1e-3)
        points = picture.keypoints_2d_px
        np.testing.assert_allclose(picture.box_px, [*points.min(axis=0), *points.max(axis=0)], atol=1e-3)


def test_left_hands_of_labelled_pictures_are_left(whole: list[LabelledPicture]) -> None:
    signs = side_signs(np.array([picture.joints_3d_mm for picture in whole]))
    assert [{"right": 1, "left": -1}[picture.side] for picture in whole] == signs.tolist()
    assert set(signs.tolist()) == {1, -1}


def test_crops_show_the_hands_of_the_pool(crops: list[LabelledPicture]) -> None:
    """As the camera saw them: left hands mirrored back."""
    hands = join(synthesise(FISTS))
    assert (side_signs(hands.joints_mm) == 1).all()
    for row, picture in enumerate(crops):
        image, points, joints = hands.images[row], hands.keypoints_px[row], hands.joints_mm[row]
        if picture.side == "left":
            image, points, joints = image[:, ::-1], points * [-1, 1] + [64, 0], joints * [-1, 1, 1]
        assert picture.side == hands.side[row]
        np.testing.assert_array_equal(picture.image, image)
        np.testing.assert_allclose(picture.keypoints_2d_px, points, atol=1e-4)
        np.testing.assert_array_equal(picture.joints_3d_mm, joints)


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
    for picture in synthesise_labelled(near, videos=[0, 1]):
        beyond = ((picture.keypoints_2d_px < 0) | (picture.keypoints_2d_px > [156, 120])).any(axis=1)
        assert not picture.visible[beyond].any()
        outside += beyond
    assert outside.any()


def test_labelled_bytes_do_not_depend_on_other_videos(whole: list[LabelledPicture]) -> None:
    again = list(synthesise_labelled(FISTS, videos=[3, 1]))
    for one, other in zip(again, [*whole[9:12], *whole[3:6]], strict=True):
        np.testing.assert_equal(vars(one), vars(other))


def make_pool(path: Path, noise: float, world: SyntheticConfig = SMALL) -> Pool:
    synthesise_pool(path, world, keypoint_noise=noise)
    return Pool.open(path)


def test_a_pool_holds_the_world_once_and_more_videos_are_added(tmp_path: Path) -> None:
    first = make_pool(tmp_path / "pool", 0.03, ONE)
    steps: list[tuple[int, int]] = []
    for _ in range(2):
        synthesise_pool(first.path, SMALL, keypoint_noise=0.03, progress=lambda *step: steps.append(step))
    assert steps == [(4, 6), (6, 6)]
    after = Pool.open(tmp_path / "pool")
    assert len(after) == 6
    np.testing.assert_array_equal(after.keypoints[after.rows(first.hand_ids)], first.keypoints)
    with pytest.raises(HandsimError, match="32 px"):
        synthesise_pool(tmp_path / "pool", replace(SMALL, size_px=96))


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
    poses = synthesise_poses(3, 2, seed=5)
    np.testing.assert_array_equal(exact.keypoints, poses.keypoints)
    np.testing.assert_array_equal(exact.read_joints_mm(), poses.joints_mm)
    np.testing.assert_array_equal(noisy.read_joints_mm(), poses.joints_mm)
    visible, is_known = noisy.read_visible()
    assert is_known.all()
    assert 0.2 < visible.mean() < 1
    again, more = make_pool(tmp_path / "again", 0.03, ONE), make_pool(tmp_path / "more", 0.06)
    assert np.array_equal(noisy.keypoints[noisy.rows(again.hand_ids)], again.keypoints)
    errors, larger = noisy.keypoints - exact.keypoints, more.keypoints - exact.keypoints
    assert 0.01 < errors.std() < 0.1
    assert np.allclose(larger, 2 * errors, atol=1e-5)
    assert not np.allclose(errors[0], errors[1])
    for mine, theirs in zip(noisy.hand_ids.tolist(), exact.hand_ids.tolist(), strict=True):
        assert np.array_equal(noisy.crop(mine), exact.crop(theirs))
    assert not set(noisy.hand_ids.tolist()) & set(exact.hand_ids.tolist())

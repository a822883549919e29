"""Pictures and their truth."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from handsim.errors import HandsimError
from handsim.pool import Pool
from handsim.skeleton import FINGER_JOINTS, WRIST
from handsim.synthetic import (
    MotionConfig,
    PeopleConfig,
    Samples,
    SceneConfig,
    SyntheticConfig,
    ViewConfig,
    synthesise,
    synthesise_pool,
    synthesise_poses,
    synthesise_video,
)
from handsim.synthetic.render import render
from handsim.synthetic.video import sample_surroundings, sample_video, see

CONFIG = SyntheticConfig(videos=6, hands_per_video=3, seed=9, size_px=64)


@pytest.fixture(scope="module")
def samples() -> Samples:
    (batch,) = synthesise(CONFIG, batch_size=100)
    return batch


def test_shapes_and_types(samples: Samples) -> None:
    assert samples.images.shape == (18, 64, 64, 3)
    assert samples.images.dtype == np.uint8
    assert samples.keypoints.dtype == samples.joints_mm.dtype == np.float32
    assert set(samples.side) == {"left", "right"}


def test_poses_are_those_of_the_pictures(samples: Samples) -> None:
    poses = synthesise_poses(6, 3, seed=9)
    np.testing.assert_array_equal(poses.keypoints, samples.keypoints)
    np.testing.assert_array_equal(poses.video, samples.video)
    np.testing.assert_array_equal(poses.frame, samples.frame)


@pytest.mark.parametrize("mirrored_back", [False, True])
def test_2d_is_the_projection_of_3d(samples: Samples, mirrored_back: bool) -> None:
    hands = samples.as_seen() if mirrored_back else samples
    seen = np.einsum("nij,nkj->nki", hands.intrinsics, hands.joints_mm.astype(np.float64))
    np.testing.assert_allclose(seen[..., :2] / seen[..., 2:], hands.keypoints_px, atol=1e-3)
    np.testing.assert_allclose(hands.keypoints[..., :2] * 64, hands.keypoints_px, atol=1e-3)


def test_sides_are_told_by_the_joints() -> None:
    """The triple product of wrist, knuckles and curled fingers has the sign of the hand the camera saw."""
    fists = replace(CONFIG, motion=MotionConfig(prototypes=("fist",)))
    (hands,) = synthesise(fists, batch_size=100)
    for batch, expected in (
        (hands, np.full(len(hands), 1.0)),
        (hands.as_seen(), np.where(hands.side == "right", 1.0, -1.0)),
    ):
        joints = batch.joints_mm
        index, little = FINGER_JOINTS["index"], FINGER_JOINTS["little"]
        normal = np.cross(joints[:, index[0]] - joints[:, WRIST], joints[:, little[0]] - joints[:, WRIST])
        curl = joints[:, index[1]] - joints[:, index[0]]
        np.testing.assert_array_equal(np.sign((normal * curl).sum(-1)), expected)


def test_a_right_palm_with_fingers_up_has_its_thumb_on_the_right() -> None:
    palm = ViewConfig(palm_share=1, back_share=0, turn_deg=0, tilt_deg=0, roll_deg=0, drift_deg=0)
    for view, sign in ((palm, 1), (replace(palm, palm_share=0, back_share=1), -1)):
        config = replace(CONFIG, view=view, motion=MotionConfig(prototypes=("spread",)))
        (hands,) = synthesise(config, batch_size=100)
        right, seen = hands.keypoints_px, hands.as_seen().keypoints_px
        thumb, little, middle = (FINGER_JOINTS[name][3] for name in ("thumb", "little", "middle"))
        assert (right[:, middle, 1] < right[:, WRIST, 1]).all()
        assert (np.sign(right[:, thumb, 0] - right[:, little, 0]) == sign).all()
        expected = np.where(hands.side == "right", sign, -sign)
        np.testing.assert_array_equal(np.sign(seen[:, thumb, 0] - seen[:, little, 0]), expected)


def test_mirroring_back_twice_changes_nothing(samples: Samples) -> None:
    again = samples.as_seen().as_seen()
    np.testing.assert_array_equal(again.images, samples.images)
    np.testing.assert_allclose(again.keypoints, samples.keypoints, atol=1e-6)


def test_visible_joints_lie_on_skin() -> None:
    config = replace(
        CONFIG,
        scene=SceneConfig(sleeve_share=0, passing_share=0),
        motion=MotionConfig(holding_share=0),
    )
    on_skin = []
    for index in range(config.videos):
        video = sample_video(config, index)
        sight = see([video])
        intrinsics = sight.unit_intrinsics * np.array([64, 64, 1])[:, None]
        with torch.no_grad():
            scene = sample_surroundings(config, video)
            pictures = render(video, scene, sight.posture, intrinsics, slice(0, 3), 64, (0,))
        pixels = synthesise_video(config, index).keypoints_px.astype(int)
        rows = np.arange(3)[:, None]
        on_skin.append(pictures.skin[rows, pixels[..., 1], pixels[..., 0]] > 0.5)
        behind = pictures.depth_mm[rows, pixels[..., 1], pixels[..., 0]] - sight.joints_mm[..., 2]
        assert np.median(behind) < 0  # the surface is before the joint
    assert np.mean(on_skin) > 0.985


def test_things_hide_joints() -> None:
    bare = replace(CONFIG, motion=MotionConfig(holding_share=0), scene=SceneConfig(passing_share=0))
    hidden = replace(bare, scene=SceneConfig(passing_share=1))
    free = np.concatenate([batch.visible for batch in synthesise(bare)])
    covered = np.concatenate([batch.visible for batch in synthesise(hidden)])
    assert 0.5 < free.mean() <= 1
    assert covered.mean() < free.mean()
    assert (covered & ~free).mean() < 0.01


def test_same_bytes_whatever_batches_and_threads(samples: Samples) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        small = list(synthesise(CONFIG, batch_size=4))
    finally:
        torch.set_num_threads(threads)
    assert [len(batch) for batch in small] == [4, 4, 4, 4, 2]
    for field in fields(Samples):
        joined = np.concatenate([getattr(batch, field.name) for batch in small])
        np.testing.assert_array_equal(joined, getattr(samples, field.name))


def test_some_videos_are_those_of_all(samples: Samples) -> None:
    (some,) = synthesise(CONFIG, videos=[4, 1])
    np.testing.assert_array_equal(some.images[:3], samples.images[12:15])
    np.testing.assert_array_equal(some.images[3:], samples.images[3:6])


def test_people_return() -> None:
    config = replace(CONFIG, people=PeopleConfig(count=2))
    first, third = sample_video(config, 0), sample_video(config, 2)
    assert first.person_index == third.person_index == 0
    np.testing.assert_array_equal(first.person.shape.phalanges_mm, third.person.shape.phalanges_mm)
    assert not np.array_equal(first.angles_deg, third.angles_deg)


def test_pool_holds_the_world_once(tmp_path: Path, samples: Samples) -> None:
    steps: list[tuple[int, int]] = []
    synthesise_pool(tmp_path / "pool", CONFIG, progress=lambda done, total: steps.append((done, total)))
    assert steps[-1] == (18, 18)
    synthesise_pool(tmp_path / "pool", CONFIG)
    pool = Pool.open(tmp_path / "pool")
    assert len(pool) == 18
    np.testing.assert_array_equal(pool.keypoints, samples.keypoints)
    with pytest.raises(HandsimError, match="64 px"):
        synthesise_pool(tmp_path / "pool", replace(CONFIG, size_px=96))


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
def test_wrong_settings_are_told(change: dict[str, object], message: str) -> None:
    with pytest.raises(HandsimError, match=message):
        replace(CONFIG, **change)  # type: ignore[arg-type]  # each case changes another field


def test_batch_size_is_checked() -> None:
    with pytest.raises(HandsimError, match="batch_size is 0"):
        next(synthesise(CONFIG, batch_size=0))

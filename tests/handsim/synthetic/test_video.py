"""Crops and their truth: what `synthesise` and `synthesise_video` make of a world."""

from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from handsim.errors import HandsimError
from handsim.skeleton import FINGER_JOINTS, WRIST
from handsim.synthetic import (
    MotionConfig,
    PeopleConfig,
    Samples,
    SceneConfig,
    SyntheticConfig,
    ViewConfig,
    synthesise,
    synthesise_video,
)
from handsim.synthetic.render import render
from handsim.synthetic.video import compute_geometry, sample_surroundings, sample_video

CONFIG = SyntheticConfig(videos=6, hands_per_video=3, seed=9, size_px=64)


@pytest.fixture(scope="module")
def samples() -> Samples:
    (batch,) = synthesise(CONFIG, batch_size=100)
    return batch


def side_signs(joints_mm: NDArray[np.floating]) -> NDArray[np.floating]:
    """1 for right fists [N, 21, 3], -1 for left: the triple product of wrist, knuckles and curled fingers."""
    index, little = FINGER_JOINTS["index"], FINGER_JOINTS["little"]
    knuckles = joints_mm[:, [index[0], little[0]]] - joints_mm[:, [WRIST]]
    curl = joints_mm[:, index[1]] - joints_mm[:, index[0]]
    signs: NDArray[np.floating] = np.sign((np.cross(knuckles[:, 0], knuckles[:, 1]) * curl).sum(-1))
    return signs


def test_shapes_and_types(samples: Samples) -> None:
    assert samples.images.shape == (18, 64, 64, 3)
    assert samples.images.dtype == np.uint8
    assert samples.keypoints.dtype == samples.joints_mm.dtype == np.float32
    assert set(samples.side) == {"left", "right"}


@pytest.mark.parametrize("unmirrored", [False, True])
def test_2d_is_the_projection_of_3d(samples: Samples, unmirrored: bool) -> None:
    hands = samples.unmirror() if unmirrored else samples
    projected = np.einsum("nij,nkj->nki", hands.intrinsics, hands.joints_mm.astype(np.float64))
    np.testing.assert_allclose(projected[..., :2] / projected[..., 2:], hands.keypoints_px, atol=1e-3)
    np.testing.assert_allclose(hands.keypoints[..., :2] * 64, hands.keypoints_px, atol=1e-3)


def test_hands_are_right_ones_until_they_are_unmirrored(samples: Samples) -> None:
    fists = replace(CONFIG, motion=MotionConfig(prototypes=("fist",)))
    (hands,) = synthesise(fists, batch_size=100)
    assert (side_signs(hands.joints_mm) == 1).all()
    unmirrored = hands.unmirror()
    np.testing.assert_array_equal(side_signs(unmirrored.joints_mm), np.where(hands.side == "right", 1, -1))
    again = samples.unmirror().unmirror()
    np.testing.assert_array_equal(again.images, samples.images)
    np.testing.assert_allclose(again.keypoints, samples.keypoints, atol=1e-6)


@pytest.mark.parametrize(("palm_share", "sign"), [(1, 1), (0, -1)])
def test_a_right_palm_with_fingers_up_has_its_thumb_on_the_right(palm_share: int, sign: int) -> None:
    view = ViewConfig(
        palm_share=palm_share, back_share=1 - palm_share, turn_deg=0, tilt_deg=0, roll_deg=0, drift_deg=0
    )
    (hands,) = synthesise(
        replace(CONFIG, view=view, motion=MotionConfig(prototypes=("spread",))), batch_size=100
    )
    thumb, little, middle = (FINGER_JOINTS[name][3] for name in ("thumb", "little", "middle"))
    right, unmirrored = hands.keypoints_px, hands.unmirror().keypoints_px
    assert (right[:, middle, 1] < right[:, WRIST, 1]).all()
    assert (np.sign(right[:, thumb, 0] - right[:, little, 0]) == sign).all()
    expected = np.where(hands.side == "right", sign, -sign)
    np.testing.assert_array_equal(np.sign(unmirrored[:, thumb, 0] - unmirrored[:, little, 0]), expected)


def test_visible_joints_lie_on_skin() -> None:
    config = replace(
        CONFIG,
        scene=SceneConfig(sleeve_share=0, passing_share=0),
        motion=MotionConfig(holding_share=0),
    )
    on_skin = []
    for index in range(config.videos):
        video = sample_video(config, index)
        geometry = compute_geometry([video])
        intrinsics = geometry.unit_intrinsics * np.array([64, 64, 1])[:, None]
        with torch.no_grad():
            scene = sample_surroundings(config, video)
            pictures = render(video, scene, geometry.posture, intrinsics, slice(0, 3), 64, (0,))
        pixels = synthesise_video(config, index).keypoints_px.astype(int)
        rows = np.arange(3)[:, None]
        on_skin.append(pictures.skin[rows, pixels[..., 1], pixels[..., 0]] > 0.5)
        behind = pictures.depth_mm[rows, pixels[..., 1], pixels[..., 0]] - geometry.joints_mm[..., 2]
        assert np.median(behind) < 0  # the surface is before the joint
    assert np.mean(on_skin) > 0.985


def test_objects_hide_joints() -> None:
    bare = replace(CONFIG, motion=MotionConfig(holding_share=0), scene=SceneConfig(passing_share=0))
    passing = replace(bare, scene=SceneConfig(passing_share=1))
    free, covered = (
        np.concatenate([batch.visible for batch in synthesise(config)]) for config in (bare, passing)
    )
    assert 0.5 < free.mean() <= 1
    assert covered.mean() < free.mean()
    assert (covered & ~free).mean() < 0.01


def joined(batches: Sequence[Samples]) -> dict[str, NDArray[np.generic]]:
    names = [field.name for field in fields(Samples)]
    return {name: np.concatenate([getattr(batch, name) for batch in batches]) for name in names}


def test_the_bytes_do_not_depend_on_batches_threads_and_other_videos(samples: Samples) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        small = list(synthesise(CONFIG, batch_size=4))
    finally:
        torch.set_num_threads(threads)
    assert [len(batch) for batch in small] == [4, 4, 4, 4, 2]
    for name, values in joined(small).items():
        np.testing.assert_array_equal(values, getattr(samples, name))
    (some,) = synthesise(CONFIG, videos=[4, 1])
    for name, values in joined([samples[12:15], samples[3:6]]).items():
        np.testing.assert_array_equal(values, getattr(some, name))


def test_people_return() -> None:
    config = replace(CONFIG, people=PeopleConfig(count=2))
    first, third = sample_video(config, 0), sample_video(config, 2)
    assert first.person_index == third.person_index == 0
    np.testing.assert_array_equal(first.person.shape.phalanges_mm, third.person.shape.phalanges_mm)
    assert not np.array_equal(first.angles_deg, third.angles_deg)


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


def test_a_batch_size_below_1_is_refused() -> None:
    with pytest.raises(HandsimError, match="batch_size is 0"):
        next(synthesise(CONFIG, batch_size=0))

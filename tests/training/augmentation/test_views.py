"""Views: their settings, their random numbers, their geometry, and what augment makes of all."""

import math
import re
from dataclasses import replace
from functools import partial
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from handsim.errors import HandsimError
from tests.training.augmentation.builders import (
    COLOURS_UNCHANGED,
    UNCHANGED,
    motion_of,
    random_keypoints,
    seeded,
    smooth_crops,
)
from training.augmentation import AugmentationSettings, AugmentedViews, augment
from training.augmentation.pixels import CUT_OUT_COLOUR
from training.augmentation.settings import Extent
from training.augmentation.views import ViewGeometry, draw_parameters, place_views

OCCASIONAL = AugmentationSettings(grey_probability=0.3, blur_probability=0.5, cut_out_probability=0.7)
TURNED = AugmentationSettings(rotation_deg=180, jitter_px=(-15, 15))
EVERYTHING = AugmentationSettings(
    size_px=37, grey_probability=0.5, blur_probability=0.5, cut_out_probability=0.5, blur_sigma_px=(0.1, 2.0)
)


def equal(one: AugmentedViews, other: AugmentedViews) -> bool:
    return all(map(torch.equal, vars(one).values(), vars(other).values()))


def test_random_numbers_fill_their_ranges() -> None:
    parameters = draw_parameters(OCCASIONAL, 4000, seeded())
    for numbers, (low, high) in (
        (parameters.angle_deg, (-45, 45)),
        (parameters.margin, OCCASIONAL.margin or (0, 0)),
        (parameters.jitter_px, OCCASIONAL.jitter_px),
        (parameters.colour[:, 0], OCCASIONAL.hue),
        (parameters.colour[:, 1], OCCASIONAL.saturation),
        (parameters.colour[:, 2], OCCASIONAL.value),
        (parameters.colour[:, 3], OCCASIONAL.brightness),
        (parameters.blur_sigma_px, OCCASIONAL.blur_sigma_px),
        (parameters.cut_out_side, OCCASIONAL.cut_out_side),
        (parameters.cut_out_centre, (0, 1)),
    ):
        spread = high - low
        assert low <= numbers.min() < low + 0.01 * spread
        assert high - 0.01 * spread < numbers.max() <= high
        assert float(numbers.mean()) == pytest.approx((low + high) / 2, abs=0.03 * spread)
    for mask, probability in (
        (parameters.is_grey, 0.3),
        (parameters.is_blurred, 0.5),
        (parameters.is_cut_out, 0.7),
    ):
        assert float(mask.double().mean()) == pytest.approx(probability, abs=0.03)


def test_random_numbers_of_a_view_do_not_correlate() -> None:
    parameters = vars(draw_parameters(OCCASIONAL, 4000, seeded()))
    table = torch.cat([column.double().reshape(4000, -1) for column in parameters.values()], 1)
    correlation = torch.corrcoef(table.T) - torch.eye(table.shape[1])
    assert float(correlation.abs().max()) < 0.08


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        ({"rotation_deg": 0.0}, {"angle_deg"}),
        ({"margin": None}, {"margin"}),
        ({"jitter_px": (0.0, 0.0)}, {"jitter_px"}),
        ({"hue": (1.0, 1.0)}, {"colour"}),
        ({"value": (1.0, 1.0), "brightness": (-5.0, 0.0)}, {"colour"}),
        ({"grey_probability": 0.0}, {"is_grey"}),
        ({"blur_probability": 1.0}, {"is_blurred"}),
        ({"cut_out_probability": 0.0, "cut_out_side": (0.2, 0.2)}, {"is_cut_out", "cut_out_side"}),
    ],
)
def test_switching_a_step_changes_the_numbers_of_no_other(changed: dict[str, Any], names: set[str]) -> None:
    with_it, without = (
        vars(draw_parameters(settings, 50, seeded(3)))
        for settings in (OCCASIONAL, replace(OCCASIONAL, **changed))
    )
    assert {name for name in with_it if not torch.equal(with_it[name], without[name])} == names


def test_a_views_numbers_do_not_depend_on_the_views_after_it() -> None:
    few, many = (vars(draw_parameters(OCCASIONAL, count, seeded(5))) for count in (3, 30))
    for name in few:
        assert torch.equal(few[name], many[name][:3])


def test_the_generator_continues_from_batch_to_batch() -> None:
    generator = seeded(6)
    first, second = draw_parameters(OCCASIONAL, 8, generator), draw_parameters(OCCASIONAL, 8, generator)
    assert not torch.equal(first.angle_deg, second.angle_deg)
    assert torch.equal(second.angle_deg, draw_parameters(OCCASIONAL, 16, seeded(6)).angle_deg[8:])


def placed(seed: int, count: int = 6, extent: Extent | None = "radius") -> ViewGeometry:
    parameters = draw_parameters(TURNED, count, seeded(seed))
    return place_views(random_keypoints(count, seed).double(), parameters, extent)


def step_by_step(
    keypoints: NDArray[np.float64],
    angle_deg: float,
    margin: float,
    jitter_px: NDArray[np.float64],
    extent: Extent,
) -> NDArray[np.float64]:
    """Keypoints [21, 2] of a hand in its view, step by step: turn, measure, enlarge, move, resize."""
    joints = keypoints * 224
    matrix = cv2.getRotationMatrix2D(joints.mean(axis=0).tolist(), angle_deg, 1.0)
    turned = joints @ matrix[:, :2].T + matrix[:, 2]
    if extent == "radius":
        side = margin * 2 * max(math.dist(joint, joints.mean(axis=0)) for joint in joints)
        jitter_px = jitter_px * 1.3 * np.ptp(joints, axis=0).max() / 224
    else:
        side = margin * np.ptp(turned, axis=0).max()
    corner = turned.mean(axis=0) - side / 2 - jitter_px  # the box goes one way, the hand in it the other
    mapped: NDArray[np.float64] = (turned - corner) / side
    return mapped


@given(st.integers(0, 2**31), st.sampled_from(["radius", "box"]))
def test_views_lie_where_the_steps_one_by_one_put_them(seed: int, extent: Extent) -> None:
    keypoints, parameters = random_keypoints(3, seed).double(), draw_parameters(TURNED, 3, seeded(seed))
    geometry = place_views(keypoints, parameters, extent)
    numbers = (parameters.angle_deg.tolist(), parameters.margin.tolist(), parameters.jitter_px.numpy())
    expected = [*map(partial(step_by_step, extent=extent), keypoints.numpy(), *numbers)]
    np.testing.assert_allclose(geometry.keypoints.numpy(), expected, atol=1e-9)


def test_a_view_shows_the_same_of_a_hand_however_much_its_crop_shows() -> None:
    hands, parameters = random_keypoints(5).double(), draw_parameters(TURNED, 5, seeded(3))
    narrow = (hands - hands.amin(1, keepdim=True)) / hands.max() / 1.3
    wide = 0.5 + (narrow - 0.5) / 2
    views = [place_views(keypoints, parameters, "radius").keypoints for keypoints in (narrow, wide)]
    torch.testing.assert_close(*views)


@given(st.integers(0, 2**31), st.sampled_from(["radius", "box", None]))
def test_keypoints_translation_and_angle_are_those_of_the_affine(seed: int, extent: Extent | None) -> None:
    keypoints = random_keypoints(6, seed).double()
    geometry = placed(seed, extent=extent)
    mapped = (
        torch.einsum("bij,bkj->bki", geometry.affine[:, :, :2], keypoints) + geometry.affine[:, None, :, 2]
    )
    torch.testing.assert_close(geometry.keypoints, mapped)
    translation, angle_deg = motion_of(geometry.affine, keypoints.mean(1))
    torch.testing.assert_close(geometry.translation, translation)
    torch.testing.assert_close(angle_deg, draw_parameters(TURNED, 6, seeded(seed)).angle_deg)
    torch.testing.assert_close(geometry.translation, geometry.keypoints.mean(1) - 0.5)


@pytest.mark.parametrize(
    ("joints", "value"),
    [((4, 0), torch.nan), ((), torch.nan), ((0,), torch.inf), ((), 0.25)],
    ids=["one joint", "all joints", "infinite", "in one spot"],
)
@pytest.mark.parametrize("extent", ["radius", "box", None])
def test_a_hand_with_bad_keypoints_is_treated_as_one_that_fills_its_crop(
    joints: tuple[int, ...], value: float, extent: Extent | None
) -> None:
    keypoints, parameters = random_keypoints(3).double(), draw_parameters(TURNED, 3, seeded(2))
    usable = place_views(keypoints, parameters, extent)
    keypoints = keypoints.clone()
    keypoints[(1, *joints)] = value
    geometry = place_views(keypoints, parameters, extent)
    for name in ("affine", "side", "keypoints", "translation"):  # the others are as they were
        assert torch.equal(getattr(geometry, name)[::2], getattr(usable, name)[::2])
    assert float(geometry.side[1]) == pytest.approx(float(parameters.margin[1]) / 1.3 if extent else 1)
    translation, angle_deg = motion_of(geometry.affine[1:2], torch.full((1, 2), 0.5, dtype=torch.float64))
    torch.testing.assert_close(geometry.translation[1:2], translation)
    torch.testing.assert_close(angle_deg, parameters.angle_deg[1:2])
    # Of a joint with one bad coordinate, both are lost.
    assert torch.equal(geometry.keypoints[1].isfinite().all(1), keypoints[1].isfinite().all(1))


@pytest.mark.parametrize(
    ("crop_px", "view_px", "side", "halvings"),
    [
        (224, 128, 0.5, 0),  # enlarged
        (224, 128, 1.0, 0),  # 1.75 times smaller
        (224, 112, 1.0, 1),
        (224, 64, 1.0, 1),
        (224, 56, 1.0, 2),
        (224, 8, 4.0, 5),  # 112 times, but 224 can be halved five times
        (225, 64, 1.0, 0),
    ],
)
def test_crops_are_halved_while_more_than_half_of_the_reduction_is_left(
    crop_px: int, view_px: int, side: float, halvings: int
) -> None:
    geometry = placed(0, count=1)
    geometry.side.fill_(side)
    assert geometry.halvings(crop_px, view_px).tolist() == [halvings]


def test_views_are_what_their_docstrings_say() -> None:
    crops, keypoints = smooth_crops(5, 64), random_keypoints(5)
    views = augment(crops, keypoints, AugmentationSettings(size_px=48), seeded())
    assert views.images.shape == (5, 3, 48, 48)
    assert 0 <= float(views.images.min()) < float(views.images.max()) <= 1
    assert {tensor.dtype for tensor in vars(views).values()} == {torch.float32}
    mapped = torch.einsum("bij,bkj->bki", views.affine[:, :, :2], keypoints) + views.affine[:, None, :, 2]
    torch.testing.assert_close(views.keypoints, mapped)
    translation, angle_deg = motion_of(views.affine, keypoints.mean(1))
    torch.testing.assert_close(views.translation, translation, atol=1e-5, rtol=0)
    torch.testing.assert_close(views.angle_deg, angle_deg, atol=1e-3, rtol=0)


def test_with_every_step_off_the_view_is_the_crop() -> None:
    crops, keypoints = smooth_crops(3, 40), random_keypoints(3)
    views = augment(crops, keypoints, replace(UNCHANGED, size_px=40), seeded())
    torch.testing.assert_close(views.images * 255, crops.permute(0, 3, 1, 2).float(), atol=0.01, rtol=0)
    torch.testing.assert_close(views.keypoints, keypoints)
    assert not views.angle_deg.any()


@pytest.mark.usefixtures("one_thread")  # sets their number back
@pytest.mark.parametrize(("count", "crop_px", "size_px"), [(23, 61, 37), (601, 8, 8)])
def test_the_same_seed_gives_the_same_bits_on_any_number_of_threads(
    count: int, crop_px: int, size_px: int
) -> None:
    settings = replace(EVERYTHING, size_px=size_px)
    crops, keypoints = smooth_crops(1, crop_px).expand(count, -1, -1, -1), random_keypoints(count)
    results = []
    for number in (1, 2, 3):
        torch.set_num_threads(number)
        results.append(augment(crops, keypoints, settings, seeded(7)))
    assert equal(results[0], results[1])
    assert equal(results[0], results[2])
    assert not equal(results[0], augment(crops, keypoints, settings, seeded(8)))


def test_a_view_does_not_depend_on_the_rest_of_the_batch() -> None:
    crops, keypoints = smooth_crops(9, 224), random_keypoints(9)
    many, few = (augment(crops[:n], keypoints[:n], EVERYTHING, seeded(2)) for n in (9, 4))
    torch.testing.assert_close(many.images[:4], few.images, atol=1e-6, rtol=0)
    assert torch.equal(many.affine[:4], few.affine)


def test_occasional_steps_change_some_views_and_no_others() -> None:
    crops, keypoints = smooth_crops(40, 32), random_keypoints(40)
    plain = augment(crops, keypoints, AugmentationSettings(size_px=32), seeded(3))
    for name in ("grey_probability", "blur_probability", "cut_out_probability"):
        changed: dict[str, Any] = {name: 0.4}
        some = augment(crops, keypoints, AugmentationSettings(size_px=32, **changed), seeded(3))
        changed_views = (some.images != plain.images).flatten(1).any(1)
        assert 8 <= int(changed_views.sum()) <= 24
        assert torch.equal(some.affine, plain.affine)
    settings = AugmentationSettings(size_px=32, grey_probability=1)
    all_grey = augment(crops, keypoints, settings, seeded(3)).images
    assert torch.equal(all_grey[:, 0], all_grey[:, 2])


def test_the_square_is_cut_last_with_clean_edges() -> None:
    settings = replace(
        UNCHANGED, size_px=40, blur_probability=1, cut_out_probability=1, cut_out_side=(0.5, 0.5)
    )
    images = augment(smooth_crops(10, 40), random_keypoints(10), settings, seeded()).images
    filled = (images == torch.tensor(CUT_OUT_COLOUR)[:, None, None]).all(1)
    assert filled.flatten(1).any(1).all()


def test_a_hand_with_a_bad_keypoint_still_has_a_finite_view() -> None:
    crops, keypoints = smooth_crops(2, 64), random_keypoints(2)
    keypoints[1, 3] = torch.nan
    views = augment(crops, keypoints, AugmentationSettings(), seeded())
    assert views.images.isfinite().all()
    assert views.translation.isfinite().all()
    assert views.keypoints[1].isnan().any(1).nonzero().tolist() == [[3]]


def test_autocast_changes_nothing() -> None:
    crops, keypoints = smooth_crops(6, 64), random_keypoints(6).half()
    plain = augment(crops, keypoints, EVERYTHING, seeded())
    with torch.autocast("cpu", torch.bfloat16):
        assert equal(augment(crops, keypoints, EVERYTHING, seeded()), plain)


def test_views_can_be_trained_on() -> None:
    keypoints = random_keypoints(2).requires_grad_()
    views = augment(smooth_crops(2, 32), keypoints, AugmentationSettings(size_px=32), seeded())
    assert not views.keypoints.requires_grad
    layer = torch.nn.Conv2d(3, 1, 3)
    layer(views.images).sum().backward()
    assert layer.weight.grad is not None


def zeros(*shape: int, dtype: torch.dtype = torch.uint8) -> Tensor:
    return torch.zeros(shape, dtype=dtype)


@pytest.mark.parametrize(
    ("crops", "keypoints", "named"),
    [
        (torch.zeros(2, 32, 32, 3), torch.zeros(2, 21, 2), "crops are float32 [2, 32, 32, 3]"),
        (zeros(2, 3, 32, 32), torch.zeros(2, 21, 2), "crops are uint8 [2, 3, 32, 32]"),
        (zeros(2, 32, 30, 3), torch.zeros(2, 21, 2), "crops are uint8 [2, 32, 30, 3]"),
        (zeros(32, 32, 3), torch.zeros(1, 21, 2), "crops are uint8 [32, 32, 3]"),
        (zeros(0, 32, 32, 3), torch.zeros(0, 21, 2), "a batch holds at least one"),
        (zeros(2, 0, 0, 3), torch.zeros(2, 21, 2), "of at least one pixel"),
        (zeros(2, 32, 32, 3), torch.zeros(3, 21, 2), "keypoints are float32 [3, 21, 2]"),
        (zeros(2, 32, 32, 3), torch.zeros(2, 21, 3), "keypoints are float32 [2, 21, 3]"),
        (zeros(2, 32, 32, 3), torch.zeros(2, 21, 2).int(), "keypoints are int32"),
    ],
)
def test_arguments_that_are_no_batch_are_named(crops: Tensor, keypoints: Tensor, named: str) -> None:
    with pytest.raises(HandsimError, match=re.escape(named)):
        augment(crops, keypoints, AugmentationSettings(), seeded())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="compares a GPU with the CPU, and there is no GPU")
def test_a_gpu_makes_the_same_views() -> None:
    crops, keypoints = smooth_crops(20, 224), random_keypoints(20)
    settings = replace(EVERYTHING, size_px=128)
    on_cpu = augment(crops, keypoints, settings, seeded())
    on_gpu = augment(crops.cuda(), keypoints.cuda(), settings, seeded())
    assert on_gpu.images.is_cuda
    torch.testing.assert_close(on_gpu.affine.cpu(), on_cpu.affine)
    apart = (on_gpu.images.cpu() - on_cpu.images).abs()
    assert float((apart > 2e-3).double().mean()) < 1e-3
    with pytest.raises(HandsimError, match="draws from one of the CPU"):
        augment(crops.cuda(), keypoints, settings, torch.Generator("cuda"))


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"size_px": 7}, "size_px is 7"),
        ({"rotation_deg": -1.0}, "rotation_deg is -1.0"),
        ({"rotation_deg": float("nan")}, "rotation_deg is nan"),
        ({"margin": (1.5, 0.9)}, "margin is (1.5, 0.9)"),
        ({"margin": (0.0, 1.0)}, "margin is (0.0, 1.0)"),
        ({"extent": "diameter"}, "extent is 'diameter'; it is one of radius, box"),
        ({"jitter_px": (0.0, float("inf"))}, "jitter_px is (0.0, inf)"),
        ({"hue": (0.5, 1.1)}, "hue is (0.5, 1.1)"),
        ({"saturation": (-0.1, 1.0)}, "saturation is (-0.1, 1.0)"),
        ({"value": (1.0, 0.5)}, "value is (1.0, 0.5)"),
        ({"brightness": (0.0, 256.0)}, "brightness is (0.0, 256.0)"),
        ({"grey_probability": 1.1}, "grey_probability is 1.1"),
        ({"blur_probability": -0.1}, "blur_probability is -0.1"),
        ({"cut_out_probability": float("nan")}, "cut_out_probability is nan"),
        ({"blur_sigma_px": (0.0, 1.0)}, "blur_sigma_px is (0.0, 1.0)"),
        ({"blur_sigma_px": (1.0, 40.0)}, "both within 0.05 to 32"),
        ({"cut_out_side": (0.5, 1.5)}, "cut_out_side is (0.5, 1.5)"),
    ],
)
def test_bad_settings_are_named_with_their_value_and_bound(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(HandsimError, match=re.escape(named)):
        AugmentationSettings(**changed)


@pytest.mark.parametrize("name", ["hue", "saturation", "value", "brightness"])
def test_colours_change_as_soon_as_one_of_their_numbers_can(name: str) -> None:
    assert not COLOURS_UNCHANGED.changes_colour
    changed: dict[str, Any] = {name: (0.5, 1.0)}
    assert replace(COLOURS_UNCHANGED, **changed).changes_colour

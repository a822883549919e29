"""Views that were turned and moved, and their projections turned and moved back."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from handsim.errors import HandsimError
from tests.training.augmentation.builders import random_keypoints
from training.augmentation import AugmentationSettings, augment
from training.losses.equivariance import undo_motion

SEEDS = st.integers(0, 2**31)


def turned(points: Tensor, angle_deg: Tensor) -> Tensor:
    """Points [N, P, 2] turned about their mean: counter-clockwise where y points down."""
    cosine, sine = angle_deg.deg2rad().cos()[:, None], angle_deg.deg2rad().sin()[:, None]
    centre = points.mean(1, keepdim=True)
    x, y = (points - centre).unbind(2)
    return centre + torch.stack([cosine * x + sine * y, cosine * y - sine * x], 2)


def moved(points: Tensor, translation: Tensor) -> Tensor:
    """Points [N, P, 2] moved by a share of their extent."""
    return points + translation[:, None] * (points.amax(1) - points.amin(1))[:, None]


def draw_motion(seed: int, hands: int = 4, pairs: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    points = torch.randn(hands, pairs, 2, generator=random, dtype=torch.float64)
    translation = torch.rand(hands, 2, generator=random, dtype=torch.float64) - 0.5
    return points, translation, 360 * torch.rand(hands, generator=random, dtype=torch.float64) - 180


def test_translation_and_rotation_are_undone_as_by_the_reference(golden: dict[str, Tensor]) -> None:
    projections = 3 * golden["encoding"].flatten(1)  # of another length
    translation = torch.stack([golden["translate_x"], golden["translate_y"]], dim=1)
    unturned = undo_motion(projections, translation, torch.zeros(24, dtype=torch.float64))
    expected = normalize(golden["encoding_translated_back"].flatten(1))
    torch.testing.assert_close(unturned, expected, rtol=0, atol=1e-9)
    undone = undo_motion(projections, translation, golden["angle_deg"])
    expected = normalize(golden["encoding_translated_rotated_back"].flatten(1))
    torch.testing.assert_close(undone, expected, rtol=0, atol=1e-9)


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_points_that_were_turned_and_moved_come_back(seed: int) -> None:
    points, translation, angle_deg = draw_motion(seed)
    projections = moved(turned(points, angle_deg), translation).flatten(1)
    undone = undo_motion(projections, translation, angle_deg)
    torch.testing.assert_close(undone, normalize(points.flatten(1)), rtol=0, atol=1e-12)


@given(SEEDS, st.floats(0.01, 100))
@settings(max_examples=25, deadline=None)
def test_the_length_of_a_projection_does_not_matter(seed: int, scale: float) -> None:
    points, translation, angle_deg = draw_motion(seed)
    undone = undo_motion(points.flatten(1), translation, angle_deg)
    scaled = undo_motion(scale * points.flatten(1), translation, angle_deg)
    torch.testing.assert_close(scaled, undone, rtol=0, atol=1e-12)
    torch.testing.assert_close(undone.norm(dim=1), torch.ones(4, dtype=torch.float64))


def test_extent_and_mean_are_constants_to_the_gradient() -> None:
    points, translation, angle_deg = draw_motion(3)
    projections = points.flatten(1).requires_grad_()
    weights = torch.linspace(-1, 1, 10, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(
        (undo_motion(projections, translation, angle_deg) @ weights).sum(), projections
    )

    unit = normalize(projections).view(4, 5, 2)
    fixed = unit.detach()
    shift = (translation * (fixed.amax(1) - fixed.amin(1)))[:, None]
    mean = (fixed - shift).mean(1, keepdim=True)
    radians = angle_deg.deg2rad()
    back = torch.stack(
        [torch.stack([radians.cos(), -radians.sin()], 1), torch.stack([radians.sin(), radians.cos()], 1)], 1
    )
    undone = normalize(((unit - shift - mean) @ back.mT + mean).flatten(1))
    (expected,) = torch.autograd.grad((undone @ weights).sum(), projections)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_becomes_float32(dtype: torch.dtype) -> None:
    points, translation, angle_deg = draw_motion(1)
    projections = points.flatten(1).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        undone = undo_motion(projections, translation.float(), angle_deg.float())
    assert undone.dtype == torch.float32
    expected = undo_motion(projections.double(), translation, angle_deg)
    torch.testing.assert_close(undone.double(), expected, rtol=0, atol=1e-6)


def test_a_projection_of_nothing_stays_finite() -> None:
    projections = torch.zeros(2, 8, requires_grad=True)
    undone = undo_motion(projections, torch.full((2, 2), 0.1), torch.full((2,), 30.0))
    torch.autograd.backward(undone.sum())
    assert (undone == 0).all()
    assert projections.grad is not None
    assert projections.grad.isfinite().all()


def test_shapes_that_do_not_fit_are_named() -> None:
    good = torch.zeros(3, 8), torch.zeros(3, 2), torch.zeros(3)
    for shape in ((3, 7), (3, 0), (8,), (3, 4, 2)):
        with pytest.raises(HandsimError, match=r"they are \[N, M\] with an even M"):
            undo_motion(torch.zeros(shape), *good[1:])
    with pytest.raises(HandsimError, match=r"translation is \[2, 2\] and angle_deg \[3\]; for 3 projections"):
        undo_motion(good[0], torch.zeros(2, 2), good[2])
    with pytest.raises(HandsimError, match=r"is \[3, 2\] and angle_deg \[3, 1\]; for 3 projections"):
        undo_motion(good[0], good[1], torch.zeros(3, 1))


def test_a_view_that_was_moved_is_undone_by_its_own_affine() -> None:
    """The translation and the angle that `augment` reports are those that `undo_motion` undoes."""
    keypoints = random_keypoints(6).double()
    settings = AugmentationSettings(margin=None, jitter_px=(-15, 15))
    crops = torch.zeros(6, 8, 8, 3, dtype=torch.uint8)
    views = augment(crops, keypoints, settings, torch.Generator().manual_seed(3))
    # Points that move about the middle of the view as the view's affine says, by shares of their extent.
    points = torch.randn(6, 5, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    points = points - points.mean(1, keepdim=True)
    linear = views.affine[:, :, :2].double()
    turned_points = points @ linear.mT
    projections = moved(turned_points, views.translation.double()).flatten(1)
    undone = undo_motion(projections, views.translation.double(), views.angle_deg.double())
    torch.testing.assert_close(undone, normalize(points.flatten(1)), rtol=0, atol=1e-6)

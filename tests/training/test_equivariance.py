import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from handsim.errors import HandsimError
from tests.training.golden import read_golden
from training.losses.equivariance import motion_of, undo_motion

SEEDS = st.integers(0, 2**31)


def turned(points: Tensor, angle_deg: Tensor) -> Tensor:
    """Points [N, P, 2] turned about their mean, one by one: counter-clockwise where y points down."""
    out = torch.empty_like(points)
    for n, hand in enumerate(points):
        x0, y0 = hand.mean(0).tolist()
        cosine, sine = math.cos(math.radians(angle_deg[n])), math.sin(math.radians(angle_deg[n]))
        for p, (x, y) in enumerate(hand.tolist()):
            out[n, p, 0] = x0 + cosine * (x - x0) + sine * (y - y0)
            out[n, p, 1] = y0 - sine * (x - x0) + cosine * (y - y0)
    return out


def moved(points: Tensor, translation: Tensor) -> Tensor:
    """Points [N, P, 2] moved by a share of their extent."""
    return points + translation[:, None] * (points.amax(1) - points.amin(1))[:, None]


def drawn(seed: int, hands: int = 4, pairs: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    points = torch.randn(hands, pairs, 2, generator=random, dtype=torch.float64)
    translation = torch.rand(hands, 2, generator=random, dtype=torch.float64) - 0.5
    return points, translation, 360 * torch.rand(hands, generator=random, dtype=torch.float64) - 180


def test_the_references_translation_and_rotation(shared_data: Path) -> None:
    golden = read_golden(shared_data)
    projections = 3 * golden["encoding"].flatten(1)  # told of length 1
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
    points, translation, angle_deg = drawn(seed)
    projections = moved(turned(points, angle_deg), translation).flatten(1)
    undone = undo_motion(projections, translation, angle_deg)
    torch.testing.assert_close(undone, normalize(points.flatten(1)), rtol=0, atol=1e-12)


@given(SEEDS, st.floats(0.01, 100))
@settings(max_examples=25, deadline=None)
def test_the_length_of_a_projection_has_no_say(seed: int, scale: float) -> None:
    points, translation, angle_deg = drawn(seed)
    undone = undo_motion(points.flatten(1), translation, angle_deg)
    scaled = undo_motion(scale * points.flatten(1), translation, angle_deg)
    torch.testing.assert_close(scaled, undone, rtol=0, atol=1e-12)
    torch.testing.assert_close(undone.norm(dim=1), torch.ones(4, dtype=torch.float64))


def test_extent_and_mean_are_constants_to_the_gradient() -> None:
    points, translation, angle_deg = drawn(3)
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
def test_half_precision_is_lifted(dtype: torch.dtype) -> None:
    points, translation, angle_deg = drawn(1)
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


def test_shapes_that_cannot_be_undone() -> None:
    good = torch.zeros(3, 8), torch.zeros(3, 2), torch.zeros(3)
    for shape in ((3, 7), (3, 0), (8,), (3, 4, 2)):
        with pytest.raises(HandsimError, match=r"they are \[N, M\] with an even M"):
            undo_motion(torch.zeros(shape), *good[1:])
    with pytest.raises(HandsimError, match=r"translation is \[2, 2\] and angle_deg \[3\]; for 3 projections"):
        undo_motion(good[0], torch.zeros(2, 2), good[2])
    with pytest.raises(
        HandsimError, match=r"translation is \[3, 2\] and angle_deg \[3, 1\]; for 3 projections"
    ):
        undo_motion(good[0], good[1], torch.zeros(3, 1))


@given(SEEDS)
@settings(max_examples=25, deadline=None)
def test_motion_is_read_off_an_affine(seed: int) -> None:
    random = np.random.default_rng(seed)
    angle, scale = random.uniform(-179, 179), random.uniform(0.3, 3)
    centre, translation = random.uniform(0, 1, (2, 2))
    cosine, sine = scale * math.cos(math.radians(angle)), scale * math.sin(math.radians(angle))
    # A point left of the centre, as displayed: turned counter-clockwise it goes down, where y grows.
    linear = np.array([[cosine, sine], [-sine, cosine]])
    offset = 0.5 + translation - linear @ centre
    affine = torch.from_numpy(np.concatenate([linear, offset[:, None]], axis=1))[None]
    read, read_angle = motion_of(affine, torch.from_numpy(centre)[None])
    np.testing.assert_allclose(read[0], translation, atol=1e-12)
    assert read_angle.item() == pytest.approx(angle, abs=1e-9)


def test_counter_clockwise_is_as_displayed() -> None:
    # What lies right of the middle is sent above it: a quarter turn against the clock.
    affine = torch.tensor([[[0.0, 1.0, 0.0], [-1.0, 0.0, 1.0]]])
    assert (affine[0] @ torch.tensor([1.0, 0.5, 1.0])).tolist() == [0.5, 0.0]
    translation, angle_deg = motion_of(affine, torch.full((1, 2), 0.5))
    assert angle_deg.item() == pytest.approx(90)
    assert translation.tolist() == [[0, 0]]


def test_a_view_that_was_moved_is_undone_by_its_own_affine() -> None:
    points, translation, angle_deg = drawn(7)
    radians = angle_deg.deg2rad()
    linear = torch.stack(
        [torch.stack([radians.cos(), radians.sin()], 1), torch.stack([-radians.sin(), radians.cos()], 1)], 1
    )
    centre = torch.full((4, 2), 0.5, dtype=torch.float64)
    offset = centre + translation - (linear @ centre[:, :, None]).squeeze(2)
    read = motion_of(torch.cat([linear, offset[:, :, None]], dim=2), centre)
    projections = moved(turned(points, angle_deg), translation).flatten(1)
    torch.testing.assert_close(
        undo_motion(projections, *read), normalize(points.flatten(1)), rtol=0, atol=1e-12
    )


def test_affines_of_another_shape() -> None:
    with pytest.raises(HandsimError, match=r"affine is \[4, 3, 3\] and centre \[4, 2\]"):
        motion_of(torch.zeros(4, 3, 3), torch.zeros(4, 2))
    with pytest.raises(HandsimError, match=r"affine is \[4, 2, 3\] and centre \[2\]"):
        motion_of(torch.zeros(4, 2, 3), torch.zeros(2))

"""Weights pair by pair, against the reference and loops over numbers."""

import math
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from handsim.errors import HandsimError
from tests.training.losses.oracle import Batch, slow_denominator_weights, slow_positive_weights
from training.losses import Weighting, positive_weights, weigh_distances
from training.losses.simhand_weights import DenominatorWeights, KeypointDistance, WeightForm

DISTANCES: list[KeypointDistance] = ["mpjpe", "w_abs", "w_o_abs"]
FORMS: list[WeightForm] = ["linear", "sigmoid"]
SEEDS = st.integers(0, 2**31)
ALL = pytest.mark.parametrize(("form", "distance"), list(product(FORMS, DISTANCES)))


def weights_of(batch: Batch, weighting: Weighting) -> tuple[Tensor, Tensor]:
    """Weights [N] of positives and [2N, 2N + R] of the denominator."""
    parts = [batch.keypoints1, batch.keypoints2, batch.negative_keypoints]
    points = torch.cat([part for part in parts if part is not None])
    rows = 2 * len(batch.keypoints1)
    denominator = DenominatorWeights(points, rows, weighting)
    # In blocks of three rows, whatever the tiles are.
    weights = torch.empty(rows, len(points), dtype=points.dtype)
    for first in range(0, rows, 3):
        denominator.fill(weights[first : first + 3], first)
    return positive_weights(batch.keypoints1, batch.keypoints2, weighting), weights


def both(form: WeightForm, distance: KeypointDistance) -> Weighting:
    return Weighting("both", form, distance, lambda_positive=9.0, lambda_negative=5.0)


@pytest.mark.parametrize(
    ("form", "distance"),
    [("linear", "mpjpe"), ("linear", "w_abs"), ("linear", "w_o_abs"), ("sigmoid", "mpjpe")],
)
def test_weights_are_those_of_the_reference(
    golden: dict[str, Tensor], form: WeightForm, distance: KeypointDistance
) -> None:
    batch = Batch(golden["z1"], golden["z2"], golden["joints1"], golden["joints2"])
    weighting = Weighting("both", form, distance, *golden["sigmoid_lambda"].tolist())
    for name, weights in zip(("wpos", "wneg"), weights_of(batch, weighting), strict=True):
        torch.testing.assert_close(weights, golden[f"{form}_{distance}_{name}"], rtol=0, atol=1e-9)


@ALL
@pytest.mark.parametrize("negatives", [0, 4])
@pytest.mark.usefixtures("small_blocks")
def test_weights_are_those_of_loops_over_pairs(
    form: WeightForm, distance: KeypointDistance, negatives: int
) -> None:
    batch, weighting = Batch.draw(7, negatives), both(form, distance)
    positive, negative = weights_of(batch, weighting)
    np.testing.assert_allclose(positive, slow_positive_weights(batch, weighting), atol=1e-12)
    np.testing.assert_allclose(negative, slow_denominator_weights(batch, weighting), atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.usefixtures("small_blocks")
def test_weights_of_vectors_are_those_of_loops_over_pairs(form: WeightForm, normalised: bool) -> None:
    random = torch.Generator().manual_seed(3)
    vectors = torch.rand(3, 7, 5, generator=random, dtype=torch.float64)
    vectors[1, 2], vectors[2, 6, 1] = torch.nan, torch.nan  # hands that the index lacks
    batch = replace(
        Batch.draw(7, 7), keypoints1=vectors[0], keypoints2=vectors[1], negative_keypoints=vectors[2]
    )
    weighting = replace(both(form, "mpjpe"), source="embedding", normalised=normalised)
    positive, negative = weights_of(batch, weighting)
    np.testing.assert_allclose(positive, slow_positive_weights(batch, weighting), atol=1e-12)
    np.testing.assert_allclose(negative, slow_denominator_weights(batch, weighting), atol=1e-12)
    with pytest.raises(
        HandsimError, match=r"keypoints2 is \[7, 21, 2\]; it is \[7, D\], a vector of each hand"
    ):
        positive_weights(vectors[0], Batch.draw(7).keypoints2, weighting)


@pytest.mark.parametrize("form", FORMS)
@given(seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_normalised_weights_have_a_mean_of_1_among_those_that_count(form: WeightForm, seed: int) -> None:
    batch, weighting = Batch.draw(5, 2, seed=seed), replace(both(form, "mpjpe"), normalised=True)
    positive, negative = weights_of(batch, weighting)
    counted = negative[~torch.eye(*negative.shape, dtype=torch.bool)]
    assert positive.mean().item() == pytest.approx(1, abs=1e-12)
    assert counted.mean().item() == pytest.approx(1, abs=1e-12)


@ALL
@given(pairs=st.integers(1, 6), negatives=st.integers(0, 3), seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_weights_lie_between_0_and_1(
    form: WeightForm, distance: KeypointDistance, pairs: int, negatives: int, seed: int
) -> None:
    batch = Batch.draw(pairs, negatives, seed=seed, dtype=torch.float32)
    positive, negative = weights_of(batch, both(form, distance))
    for weights in (positive, negative):
        assert weights.amin() >= 0
        assert weights.amax() <= 1
    if form == "linear" and pairs > 1:
        assert positive.amin() == 0
        assert positive.amax() == 1


@pytest.mark.parametrize("distance", DISTANCES)
@given(seed=SEEDS, scale=st.floats(0.01, 100), shift=st.floats(-5, 5))
@settings(max_examples=10, deadline=None)
def test_linear_weights_depend_neither_on_unit_nor_on_position(
    distance: KeypointDistance, seed: int, scale: float, shift: float
) -> None:
    batch, weighting = Batch.draw(5, 2, seed=seed), Weighting("both", distance=distance)
    names = ("keypoints1", "keypoints2", "negative_keypoints")
    moved = replace(batch, **{name: getattr(batch, name) * scale + shift for name in names})
    for weights, expected in zip(weights_of(moved, weighting), weights_of(batch, weighting), strict=True):
        torch.testing.assert_close(weights, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("distance", DISTANCES)
def test_pairs_at_equal_distances_weigh_1(distance: KeypointDistance) -> None:
    batch = Batch.draw(6, dtype=torch.float32)
    shifted = batch.keypoints1 + torch.tensor([0.3, 0.4])  # as far but for rounding
    weights = positive_weights(batch.keypoints1, shifted, Weighting("both", distance=distance))
    assert weights.tolist() == [1.0] * 6
    equal = batch.keypoints1[:1].expand(6, -1, -1).contiguous()
    same = replace(batch, keypoints1=equal, keypoints2=equal)
    assert (weights_of(same, Weighting("both", distance=distance))[1] == 1).all()


@ALL
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.usefixtures("small_blocks")
def test_pairs_of_a_hand_with_a_bad_keypoint_weigh_1_and_change_no_other(
    form: WeightForm, distance: KeypointDistance, bad: float
) -> None:
    batch, weighting = Batch.draw(5, 3), both(form, distance)
    assert batch.negative_keypoints is not None
    batch.keypoints2[1, 20, 1] = bad
    batch.keypoints1[3] = bad
    batch.negative_keypoints[2, 0, 0] = bad
    positive, negative = weights_of(batch, weighting)
    assert positive[[1, 3]].tolist() == [1, 1]
    assert (negative[[3, 5 + 1]] == 1).all()
    assert (negative[:, [3, 5 + 1, 10 + 2]] == 1).all()
    np.testing.assert_allclose(positive, slow_positive_weights(batch, weighting), atol=1e-12)
    np.testing.assert_allclose(negative, slow_denominator_weights(batch, weighting), atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_without_a_single_finite_hand_all_weigh_1(form: WeightForm) -> None:
    batch = Batch.draw(3)
    batch.keypoints1[:], batch.keypoints2[:] = torch.nan, torch.nan
    assert all((weights == 1).all() for weights in weights_of(batch, Weighting("both", form)))


def test_positives_that_are_not_weighted_weigh_1() -> None:
    batch = Batch.draw(4, dtype=torch.float16)
    for weighting in (Weighting(), Weighting("negatives")):
        weights = positive_weights(batch.keypoints1, batch.keypoints2, weighting)
        assert weights.tolist() == [1.0] * 4
        assert weights.dtype == torch.float32
    assert positive_weights(torch.empty(0, 21, 2), torch.empty(0, 21, 2), Weighting("both")).shape == (0,)


def test_distances_alone_can_be_weighed() -> None:
    distances = torch.tensor([0.1, torch.nan, 0.3, 0.2], dtype=torch.float64)
    weights = weigh_distances(distances, Weighting("positives"))
    torch.testing.assert_close(weights, torch.tensor([1, 1, 0, 0.5], dtype=torch.float64))
    sigmoid = Weighting("both", "sigmoid", lambda_positive=12.8)
    expected = [1 / (1 + math.exp(12.8 * apart)) for apart in (-0.1, 0.1, 0.0)]
    assert weigh_distances(distances, sigmoid)[[0, 2, 3]].tolist() == pytest.approx(expected)
    assert weigh_distances(distances, Weighting("negatives")).tolist() == [1.0] * 4


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"pairs": "all"}, "pairs is 'all'; it is one of none, positives, negatives, both"),
        ({"form": "cubic"}, "form is 'cubic'; it is one of linear, sigmoid"),
        ({"source": "pool"}, "source is 'pool'; it is one of views, crops, embedding"),
        ({"distance": "l2"}, "distance is 'l2'; it is one of mpjpe, w_abs, w_o_abs"),
        ({"lambda_positive": -1.0}, "lambda_positive is -1.0; it is a number of at least 0"),
        ({"lambda_negative": math.nan}, "lambda_negative is nan; it is a number of at least 0"),
    ],
)
def test_settings_out_of_bounds_are_named(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(HandsimError, match=message):
        Weighting(**setting)

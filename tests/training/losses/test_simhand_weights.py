"""Weights pair by pair, against the reference and loops over numbers."""

import math
from dataclasses import replace
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
from training.losses.simhand_weights import DenominatorWeights, KeypointDistance, WeightedPairs, WeightForm

DISTANCES: list[KeypointDistance] = ["mpjpe", "w_abs", "w_o_abs"]
FORMS: list[WeightForm] = ["linear", "sigmoid"]
DRAWN = st.tuples(
    st.integers(1, 6),
    st.integers(0, 3),
    st.sampled_from(FORMS),
    st.sampled_from(DISTANCES),
    st.integers(0, 2**31),
)


def denominator_weights(batch: Batch, weighting: Weighting) -> Tensor:
    parts = [batch.keypoints1, batch.keypoints2, batch.negative_keypoints]
    points = torch.cat([part for part in parts if part is not None])
    rows = 2 * len(batch.keypoints1)
    made = DenominatorWeights(points, rows, weighting)
    # As blocks of three rows, whatever the tiles are.
    blocks = [
        torch.empty(min(3, rows - first), len(points), dtype=points.dtype) for first in range(0, rows, 3)
    ]
    return torch.cat([made.fill(block, 3 * number) for number, block in enumerate(blocks)])


@pytest.mark.parametrize(
    ("form", "distance"),
    [("linear", "mpjpe"), ("linear", "w_abs"), ("linear", "w_o_abs"), ("sigmoid", "mpjpe")],
)
def test_weights_are_those_of_the_reference(
    golden: dict[str, Tensor], form: WeightForm, distance: KeypointDistance
) -> None:
    batch = Batch(golden["z1"], golden["z2"], golden["joints1"], golden["joints2"])
    weighting = Weighting("both", form, distance, *golden["sigmoid_lambda"].tolist())
    positive = positive_weights(batch.keypoints1, batch.keypoints2, weighting)
    negative = denominator_weights(batch, weighting)
    torch.testing.assert_close(positive, golden[f"{form}_{distance}_wpos"], rtol=0, atol=1e-9)
    torch.testing.assert_close(negative, golden[f"{form}_{distance}_wneg"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("negatives", [0, 4])
@pytest.mark.usefixtures("small_blocks")
def test_weights_are_those_of_loops_over_pairs(
    form: WeightForm, distance: KeypointDistance, negatives: int
) -> None:
    batch = Batch.draw(7, negatives)
    weighting = Weighting("both", form, distance, lambda_positive=9.0, lambda_negative=5.0)
    positive = positive_weights(batch.keypoints1, batch.keypoints2, weighting)
    np.testing.assert_allclose(positive, slow_positive_weights(batch, weighting), atol=1e-12)
    np.testing.assert_allclose(
        denominator_weights(batch, weighting), slow_denominator_weights(batch, weighting), atol=1e-12
    )


@given(DRAWN)
@settings(max_examples=40, deadline=None)
def test_weights_lie_between_0_and_1(drawn: tuple[int, int, WeightForm, KeypointDistance, int]) -> None:
    pairs, negatives, form, distance, seed = drawn
    batch = Batch.draw(pairs, negatives, seed=seed, dtype=torch.float32)
    weighting = Weighting("both", form, distance, lambda_positive=9.0, lambda_negative=5.0)
    positive = positive_weights(batch.keypoints1, batch.keypoints2, weighting)
    for weights in (positive, denominator_weights(batch, weighting)):
        assert weights.amin() >= 0
        assert weights.amax() <= 1
    if form == "linear" and pairs > 1:
        assert positive.amin() == 0
        assert positive.amax() == 1


@given(DRAWN, st.floats(0.01, 100), st.floats(-5, 5))
@settings(max_examples=25, deadline=None)
def test_linear_weights_depend_neither_on_unit_nor_on_position(
    drawn: tuple[int, int, WeightForm, KeypointDistance, int], scale: float, shift: float
) -> None:
    pairs, negatives, _, distance, seed = drawn
    batch = Batch.draw(pairs, negatives, seed=seed)
    further = batch.negative_keypoints
    moved = replace(
        batch,
        keypoints1=batch.keypoints1 * scale + shift,
        keypoints2=batch.keypoints2 * scale + shift,
        negative_keypoints=None if further is None else further * scale + shift,
    )
    weighting = Weighting("both", distance=distance)
    torch.testing.assert_close(
        positive_weights(moved.keypoints1, moved.keypoints2, weighting),
        positive_weights(batch.keypoints1, batch.keypoints2, weighting),
        rtol=0,
        atol=1e-6,
    )
    torch.testing.assert_close(
        denominator_weights(moved, weighting), denominator_weights(batch, weighting), rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("distance", DISTANCES)
def test_pairs_at_equal_distances_weigh_1(distance: KeypointDistance) -> None:
    batch = Batch.draw(6, dtype=torch.float32)
    shifted = batch.keypoints1 + torch.tensor([0.3, 0.4])  # as far but for rounding
    weights = positive_weights(batch.keypoints1, shifted, Weighting("both", distance=distance))
    assert weights.tolist() == [1.0] * 6
    same = replace(batch, keypoints1=batch.keypoints1[:1].expand(6, -1, -1).contiguous())
    same = replace(same, keypoints2=same.keypoints1)
    assert (denominator_weights(same, Weighting("both", distance=distance)) == 1).all()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.usefixtures("small_blocks")
def test_pairs_of_a_hand_with_a_bad_keypoint_weigh_1_and_change_no_other(
    form: WeightForm, distance: KeypointDistance, bad: float
) -> None:
    batch = Batch.draw(5, 3)
    assert batch.negative_keypoints is not None
    batch.keypoints2[1, 20, 1] = bad
    batch.keypoints1[3] = bad
    batch.negative_keypoints[2, 0, 0] = bad
    weighting = Weighting("both", form, distance, lambda_positive=9.0, lambda_negative=5.0)
    positive = positive_weights(batch.keypoints1, batch.keypoints2, weighting)
    assert positive[[1, 3]].tolist() == [1, 1]
    np.testing.assert_allclose(positive, slow_positive_weights(batch, weighting), atol=1e-12)
    negative = denominator_weights(batch, weighting)
    assert (negative[[3, 5 + 1]] == 1).all()
    assert (negative[:, [3, 5 + 1, 10 + 2]] == 1).all()
    np.testing.assert_allclose(negative, slow_denominator_weights(batch, weighting), atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_without_a_single_finite_hand_all_weigh_1(form: WeightForm) -> None:
    batch = Batch.draw(3)
    nothing = replace(batch, keypoints1=batch.keypoints1 * torch.nan, keypoints2=batch.keypoints2 * torch.nan)
    assert (denominator_weights(nothing, Weighting("both", form)) == 1).all()
    weights = positive_weights(nothing.keypoints1, nothing.keypoints2, Weighting("both", form))
    assert (weights == 1).all()


def test_positives_that_are_not_weighted_weigh_1() -> None:
    batch = Batch.draw(4, dtype=torch.float16)
    for weighting in (Weighting(), Weighting("negatives")):
        weights = positive_weights(batch.keypoints1, batch.keypoints2, weighting)
        assert weights.tolist() == [1.0] * 4
        assert weights.dtype == torch.float32
    assert positive_weights(torch.empty(0, 21, 2), torch.empty(0, 21, 2), Weighting("both")).shape == (0,)


def test_keypoints_of_other_shapes_are_named() -> None:
    with pytest.raises(HandsimError, match=r"keypoints1 is \[4, 21, 3\]; it is \[4, 21, 2\]"):
        positive_weights(torch.zeros(4, 21, 3), torch.zeros(4, 21, 3), Weighting("both"))
    with pytest.raises(HandsimError, match=r"keypoints2 is \[3, 21, 2\]; it is \[4, 21, 2\]"):
        positive_weights(torch.zeros(4, 21, 2), torch.zeros(3, 21, 2), Weighting("both"))


def test_distances_alone_can_be_weighed() -> None:
    distances = torch.tensor([0.1, torch.nan, 0.3, 0.2], dtype=torch.float64)
    weights = weigh_distances(distances, Weighting("positives"))
    torch.testing.assert_close(weights, torch.tensor([1, 1, 0, 0.5], dtype=torch.float64))
    sigmoid = Weighting("both", "sigmoid", lambda_positive=12.8)
    expected = [1 / (1 + math.exp(12.8 * apart)) for apart in (-0.1, 0.1, 0.0)]
    assert weigh_distances(distances, sigmoid)[[0, 2, 3]].tolist() == pytest.approx(expected)
    assert weigh_distances(distances, Weighting("negatives")).tolist() == [1.0] * 4


@pytest.mark.parametrize(
    ("pairs", "positives", "negatives"),
    [("none", False, False), ("positives", True, False), ("negatives", False, True), ("both", True, True)],
)
def test_pairs_names_what_is_weighted(pairs: WeightedPairs, positives: bool, negatives: bool) -> None:
    weighting = Weighting(pairs)
    assert (weighting.weights_positives, weighting.weights_negatives) == (positives, negatives)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"pairs": "all"}, "pairs is 'all'; it is one of none, positives, negatives, both"),
        ({"form": "cubic"}, "form is 'cubic'; it is one of linear, sigmoid"),
        ({"distance": "l2"}, "distance is 'l2'; it is one of mpjpe, w_abs, w_o_abs"),
        ({"lambda_positive": -1.0}, "lambda_positive is -1.0; it is a number of at least 0"),
        ({"lambda_negative": math.nan}, "lambda_negative is nan; it is a number of at least 0"),
    ],
)
def test_settings_out_of_bounds_are_named(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(HandsimError, match=message):
        Weighting(**setting)

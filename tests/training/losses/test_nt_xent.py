from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handsim.errors import HandsimError
from tests.training.golden import read_golden
from tests.training.losses.oracle import (
    Batch,
    dense_loss,
    slow_denominator_weights,
    slow_loss,
    slow_positive_weights,
)
from training.losses import Weighting, nt_xent
from training.losses import simhand_weights as weights
from training.losses.simhand_weights import WeightedPairs

BOTH = Weighting("both")
WEIGHTINGS = [
    Weighting(),
    Weighting("positives"),
    Weighting("negatives"),
    *(Weighting("both", distance=distance) for distance in ("mpjpe", "w_abs", "w_o_abs")),
    Weighting("both", "sigmoid", lambda_positive=9.0, lambda_negative=5.0),
    Weighting("positives", "sigmoid", "w_abs", lambda_positive=9.0),
]
weighted = pytest.mark.parametrize("weighting", WEIGHTINGS, ids=lambda w: f"{w.pairs}-{w.form}-{w.distance}")
SEEDS = st.integers(0, 2**31)


def golden_batch(golden: dict[str, torch.Tensor]) -> Batch:
    return Batch(golden["z1"], golden["z2"], golden["joints1"], golden["joints2"])


@pytest.mark.parametrize(
    ("on", "name"),
    [
        ("none", "nt_xent"),
        ("both", "weighted_pos_neg"),
        ("positives", "weighted_pos"),
        ("negatives", "weighted_neg"),
    ],
)
def test_the_references_losses(shared_data: Path, on: WeightedPairs, name: str) -> None:
    golden = read_golden(shared_data)
    assert abs(golden_batch(golden).loss(Weighting(on)) - golden[name]) < 1e-9


def test_the_references_sigmoid_loss(shared_data: Path) -> None:
    golden = read_golden(shared_data)
    positive, negative = golden["sigmoid_lambda"].tolist()
    weighting = Weighting("both", "sigmoid", lambda_positive=positive, lambda_negative=negative)
    assert abs(golden_batch(golden).loss(weighting) - golden["weighted_pos_neg_sigmoid"]) < 1e-9


def test_the_references_gradients(shared_data: Path) -> None:
    golden = read_golden(shared_data)
    batch = golden_batch(golden).differentiable()
    torch.autograd.backward(batch.loss(BOTH))
    for z, gradient, name in zip((batch.z1, batch.z2), batch.gradients(), ("z1", "z2"), strict=True):
        # The reference is given unit vectors and differentiates by them as they are; ours makes them so,
        # and what points along them is lost, as in any network that ends in a normalisation.
        told, unit = golden[f"weighted_pos_neg_grad_{name}"], z.detach()
        across = told - (told * unit).sum(1, keepdim=True) * unit
        torch.testing.assert_close(gradient, across, rtol=0, atol=1e-7)


@weighted
@pytest.mark.parametrize("negatives", [0, 5])
@pytest.mark.parametrize("temperature", [0.5, 0.07])
@pytest.mark.usefixtures("small_blocks")
def test_the_loss_number_by_number(weighting: Weighting, negatives: int, temperature: float) -> None:
    batch = Batch.draw(6, negatives)
    expected = slow_loss(batch, weighting, temperature)
    assert batch.loss(weighting, temperature).item() == pytest.approx(expected, abs=1e-9)


@weighted
@pytest.mark.parametrize("negatives", [0, 5])
@pytest.mark.usefixtures("small_blocks")
def test_gradients_are_those_of_a_dense_form(weighting: Weighting, negatives: int) -> None:
    batch, dense = Batch.draw(6, negatives).differentiable(), Batch.draw(6, negatives).differentiable()
    w_pos = torch.from_numpy(slow_positive_weights(dense, weighting))
    w = torch.from_numpy(slow_denominator_weights(dense, weighting))
    torch.autograd.backward(3 * batch.loss(weighting))
    torch.autograd.backward(3 * dense_loss(dense, w_pos, w))
    assert len(batch.gradients()) == 2 + bool(negatives)
    for ours, theirs in zip(batch.gradients(), dense.gradients(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@weighted
@pytest.mark.usefixtures("small_blocks")
def test_gradients_are_slopes(weighting: Weighting) -> None:
    batch = Batch.draw(4, 3, width=4).differentiable()

    def loss(z1: torch.Tensor, z2: torch.Tensor, negatives: torch.Tensor) -> torch.Tensor:
        return replace(batch, z1=z1, z2=z2, negatives=negatives).loss(weighting)

    assert torch.autograd.gradcheck(loss, [z for z in (batch.z1, batch.z2, batch.negatives) if z is not None])


def test_it_differentiates_again_where_the_graph_is_kept_but_not_twice() -> None:
    batch = Batch.draw(4).differentiable()
    loss = batch.loss(BOTH)
    torch.autograd.backward(loss, retain_graph=True)
    once = batch.gradients()[0].clone()
    torch.autograd.backward(loss)
    torch.testing.assert_close(batch.gradients()[0], 2 * once)
    with pytest.raises(RuntimeError, match="the gradient of nt_xent has no gradient"):
        torch.autograd.grad(batch.loss(BOTH), batch.z1, create_graph=True)


def test_a_loss_that_is_only_looked_at_is_the_same() -> None:
    batch = Batch.draw(5, 2).differentiable()
    with torch.no_grad():
        looked_at = batch.loss(BOTH)
    assert not looked_at.requires_grad
    assert looked_at == batch.loss(BOTH)


@weighted
@given(seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_the_order_of_pairs_has_no_say(weighting: Weighting, seed: int) -> None:
    batch = Batch.draw(5, 2, seed=seed)
    order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    shuffled = replace(
        batch,
        **{name: getattr(batch, name)[order] for name in ("z1", "z2", "keypoints1", "keypoints2")},
    )
    torch.testing.assert_close(shuffled.loss(weighting), batch.loss(weighting), rtol=0, atol=1e-12)


@weighted
@given(seed=SEEDS)
@settings(max_examples=10, deadline=None)
def test_the_views_may_be_swapped(weighting: Weighting, seed: int) -> None:
    batch = Batch.draw(5, 2, seed=seed).differentiable()
    swapped = Batch(
        *(batch.z2, batch.z1, batch.keypoints2, batch.keypoints1), batch.negatives, batch.negative_keypoints
    ).differentiable()
    loss, other = batch.loss(weighting), swapped.loss(weighting)
    torch.testing.assert_close(loss, other, rtol=0, atol=1e-12)
    torch.autograd.backward(loss)
    torch.autograd.backward(other)
    torch.testing.assert_close(batch.gradients()[0], swapped.gradients()[1], rtol=0, atol=1e-12)


@weighted
@given(seed=SEEDS, log_scale=st.floats(-6, 6))
@settings(max_examples=10, deadline=None)
def test_the_length_of_a_projection_has_no_say(weighting: Weighting, seed: int, log_scale: float) -> None:
    batch = Batch.draw(5, 2, seed=seed)
    scales = 10 ** (log_scale * torch.rand(5, 1, generator=torch.Generator().manual_seed(seed)).double())
    scaled = replace(batch, z1=batch.z1 * scales)
    torch.testing.assert_close(scaled.loss(weighting), batch.loss(weighting), rtol=0, atol=1e-12)


@given(SEEDS)
@settings(max_examples=10, deadline=None)
def test_further_negatives_make_it_harder(seed: int) -> None:
    batch = Batch.draw(5, 3, seed=seed)
    assert batch.loss(Weighting()) > replace(batch, negatives=None).loss(Weighting())


def test_no_negatives_may_be_given_as_none_of_them() -> None:
    batch = Batch.draw(3)
    empty = replace(batch, negatives=torch.empty(0, 6), negative_keypoints=torch.empty(0, 21, 2))
    assert empty.loss(BOTH) == batch.loss(BOTH)


def test_what_a_form_does_not_need_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Batch.draw(4, 2)
    nonsense = replace(batch, keypoints1=torch.zeros(1), keypoints2=torch.zeros(9, 9))
    assert nonsense.loss(Weighting()) == replace(batch, negative_keypoints=None).loss(Weighting())

    def never(*_: object) -> None:
        raise AssertionError("all pairs were measured")

    monkeypatch.setattr(weights, "AllDistances", never)
    without = replace(batch, negative_keypoints=None)
    assert without.loss(Weighting("positives")) == batch.loss(Weighting("positives"))
    with pytest.raises(AssertionError, match="all pairs were measured"):
        batch.loss(Weighting("negatives"))


def test_no_gradient_reaches_keypoints() -> None:
    batch = Batch.draw(4, 2).differentiable()
    points = batch.keypoints1.requires_grad_()
    torch.autograd.backward(batch.loss(BOTH))
    assert points.grad is None


def test_one_pair() -> None:
    batch = Batch.draw(1)
    cosine = torch.cosine_similarity(batch.z1, batch.z2).item()
    # The positive is all of the denominator.
    assert batch.loss(Weighting()).item() == pytest.approx(0, abs=1e-12)
    assert batch.loss(Weighting("positives")).item() == pytest.approx(0, abs=1e-12)
    # It is the furthest pair there is: it weighs 0 in the denominator, and as the only positive 1.
    assert batch.loss(BOTH).item() == pytest.approx(-cosine / 0.5, abs=1e-12)
    assert batch.loss(BOTH).item() == pytest.approx(slow_loss(batch, BOTH), abs=1e-12)


def test_projections_that_are_all_the_same() -> None:
    batch = Batch.draw(4)
    same = replace(batch, z1=torch.ones(4, 6), z2=torch.ones(4, 6)).differentiable()
    loss = same.loss(Weighting())
    assert loss.item() == pytest.approx(torch.tensor(7.0).log().item(), abs=1e-6)
    torch.autograd.backward(loss)
    for gradient in same.gradients():
        torch.testing.assert_close(gradient, torch.zeros(4, 6), rtol=0, atol=1e-7)


@pytest.mark.parametrize("length", [0.0, 1e-30, 1e-13])
def test_a_projection_without_a_direction(length: float) -> None:
    batch = Batch.draw(4, dtype=torch.float32)
    batch.z1[2] = batch.z1[2] * length
    zero = replace(batch, z1=batch.z1.clone())
    zero.z1[2] = 0
    asked = batch.differentiable()
    loss = asked.loss(BOTH)
    assert loss.item() == pytest.approx(slow_loss(zero, BOTH), abs=1e-6)
    torch.autograd.backward(loss)
    for gradient in asked.gradients():
        assert gradient.isfinite().all()
        assert gradient.abs().amax() < 10


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_hand_without_a_keypoint_leaves_loss_and_gradients_finite(bad: float) -> None:
    batch = Batch.draw(5, 2).differentiable()
    batch.keypoints1[1, 4, 0] = bad
    loss = batch.loss(BOTH)
    assert loss.item() == pytest.approx(slow_loss(batch, BOTH), abs=1e-9)
    torch.autograd.backward(loss)
    assert all(gradient.isfinite().all() for gradient in batch.gradients())


def test_a_projection_that_is_no_number_is_not_hidden() -> None:
    batch = Batch.draw(4)
    batch.z1[1, 2] = torch.nan
    assert batch.loss(BOTH).isnan()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"z1": torch.zeros(0, 6), "z2": torch.zeros(0, 6)}, r"\[0, 6\]; a loss needs at least one pair"),
        ({"z1": torch.zeros(4, 0), "z2": torch.zeros(4, 0)}, r"\[4, 0\]; a loss needs at least one pair"),
        ({"z1": torch.zeros(3, 6)}, r"\[3, 6\] and \[4, 6\]; both views' are \[N, M\]"),
        ({"z1": torch.zeros(6), "z2": torch.zeros(6)}, r"\[6\] and \[6\]; both views' are \[N, M\]"),
        ({"negatives": torch.zeros(2, 5)}, r"negatives are \[2, 5\]; .* they are \[R, 6\]"),
        ({"keypoints1": None}, r"keypoints1 is missing; give it as \[4, 21, 2\]"),
        ({"keypoints2": torch.zeros(4, 21, 3)}, r"keypoints2 is \[4, 21, 3\]; it is \[4, 21, 2\]"),
        ({"negative_keypoints": None}, r"negative_keypoints is missing; give it as \[2, 21, 2\]"),
        ({"negative_keypoints": torch.zeros(3, 21, 2)}, r"negative_keypoints is \[3, 21, 2\]"),
    ],
)
def test_shapes_that_do_not_fit(change: dict[str, Any], told: str) -> None:
    with pytest.raises(HandsimError, match=told):
        replace(Batch.draw(4, 2), **change).loss(BOTH)


@pytest.mark.parametrize("temperature", [0.0, -0.5, float("nan"), float("inf")])
def test_a_temperature_out_of_bounds(temperature: float) -> None:
    with pytest.raises(HandsimError, match=r"temperature is .*; it is a number above 0"):
        nt_xent(torch.ones(2, 2), torch.ones(2, 2), temperature=temperature)

"""The loss against the reference's numbers, loops over numbers, and a dense form for autograd."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from handsim.errors import HandsimError
from tests.training.losses.conftest import set_blocks
from tests.training.losses.oracle import (
    Batch,
    dense_loss,
    slow_denominator_weights,
    slow_loss,
    slow_positive_weights,
)
from training.losses import Weighting, nt_xent, positive_weights, simhand_weights
from training.losses.nt_xent import mean_log_denominator
from training.losses.simhand_weights import DenominatorWeights, WeightedPairs

BOTH = Weighting("both")
SIGMOID = Weighting("both", "sigmoid", lambda_positive=9.0, lambda_negative=5.0)
WEIGHTINGS = [
    Weighting(),
    Weighting("positives"),
    Weighting("negatives"),
    *(Weighting("both", distance=distance) for distance in ("mpjpe", "w_abs", "w_o_abs")),
    SIGMOID,
    Weighting("positives", "sigmoid", "w_abs", lambda_positive=9.0),
    Weighting("both", normalised=True),
    Weighting("both", "sigmoid", lambda_positive=9.0, lambda_negative=5.0, normalised=True),
]


def _name(weighting: Weighting) -> str:
    normalised = "-normalised" if weighting.normalised else ""
    return f"{weighting.pairs}-{weighting.form}-{weighting.distance}{normalised}"


def weighted(weightings: list[Weighting]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("weighting", weightings, ids=_name)


every_weighting = weighted(WEIGHTINGS)
main_weightings = weighted([Weighting(), BOTH, SIGMOID])
with_and_without_negatives = pytest.mark.parametrize("negatives", [0, 5])
SEEDS = st.integers(0, 2**31)


@pytest.mark.parametrize(
    ("pairs", "name"),
    [
        ("none", "nt_xent"),
        ("both", "weighted_pos_neg"),
        ("positives", "weighted_pos"),
        ("negatives", "weighted_neg"),
        ("both", "weighted_pos_neg_sigmoid"),
    ],
)
def test_losses_are_those_of_the_reference(
    golden: dict[str, Tensor], pairs: WeightedPairs, name: str
) -> None:
    weighting = Weighting(pairs)
    if name.endswith("sigmoid"):
        weighting = Weighting(pairs, "sigmoid", "mpjpe", *golden["sigmoid_lambda"].tolist())
    batch = Batch(golden["z1"], golden["z2"], golden["joints1"], golden["joints2"])
    assert abs(batch.loss(weighting) - golden[name]) < 1e-9


def test_gradients_are_those_of_the_reference(golden: dict[str, Tensor]) -> None:
    batch = Batch(golden["z1"], golden["z2"], golden["joints1"], golden["joints2"]).differentiable()
    torch.autograd.backward(batch.loss(BOTH))
    for z, gradient, name in zip((batch.z1, batch.z2), batch.gradients(), ("z1", "z2"), strict=True):
        # The reference differentiates by unit vectors as they are. Ours normalises them, so the gradient's
        # part along them is lost, as in any network that ends in a normalisation.
        theirs, unit = golden[f"weighted_pos_neg_grad_{name}"], z.detach()
        across = theirs - (theirs * unit).sum(1, keepdim=True) * unit
        torch.testing.assert_close(gradient, across, rtol=0, atol=1e-7)


@pytest.mark.usefixtures("small_blocks")
def test_gradients_by_unit_vectors_are_those_of_the_reference(golden: dict[str, Tensor]) -> None:
    z1, z2 = (golden[name].requires_grad_() for name in ("z1", "z2"))
    points = torch.cat([golden["joints1"], golden["joints2"]])
    denominator = mean_log_denominator(torch.cat([z1, z2]), 48, 0.5, DenominatorWeights(points, 48, BOTH))
    weights = positive_weights(golden["joints1"], golden["joints2"], BOTH)
    loss = denominator - (weights * (z1 * z2).sum(1)).mean() / 0.5
    assert abs(loss - golden["weighted_pos_neg"]) < 1e-9
    for gradient, name in zip(torch.autograd.grad(loss, (z1, z2)), ("z1", "z2"), strict=True):
        torch.testing.assert_close(gradient, golden[f"weighted_pos_neg_grad_{name}"], rtol=0, atol=1e-7)


@every_weighting
@with_and_without_negatives
@pytest.mark.parametrize("temperature", [0.5, 0.07])
@pytest.mark.usefixtures("small_blocks")
def test_the_loss_is_that_of_loops_over_numbers(
    weighting: Weighting, negatives: int, temperature: float
) -> None:
    batch = Batch.draw(6, negatives)
    expected = slow_loss(batch, weighting, temperature)
    assert batch.loss(weighting, temperature).item() == pytest.approx(expected, abs=1e-9)


@every_weighting
@with_and_without_negatives
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


def test_it_differentiates_again_with_a_retained_graph_but_has_no_second_derivative() -> None:
    batch = Batch.draw(4).differentiable()
    loss = batch.loss(BOTH)
    torch.autograd.backward(loss, retain_graph=True)
    once = batch.gradients()[0].clone()
    torch.autograd.backward(loss)
    torch.testing.assert_close(batch.gradients()[0], 2 * once)
    with pytest.raises(RuntimeError, match="the gradient of nt_xent has no gradient"):
        torch.autograd.grad(batch.loss(BOTH), batch.z1, create_graph=True)


def test_the_loss_without_a_gradient_is_the_same() -> None:
    batch = Batch.draw(5, 2).differentiable()
    with torch.no_grad():
        loss = batch.loss(BOTH)
    assert not loss.requires_grad
    assert loss == batch.loss(BOTH)


@every_weighting
@given(seed=SEEDS, log_scale=st.floats(-6, 6))
@settings(max_examples=10, deadline=None)
def test_order_of_pairs_order_of_views_and_length_of_projections_do_not_matter(
    weighting: Weighting, seed: int, log_scale: float
) -> None:
    batch, random = Batch.draw(5, 2, seed=seed).differentiable(), torch.Generator().manual_seed(seed)
    loss = batch.loss(weighting)
    order = torch.randperm(5, generator=random)
    names = ("z1", "z2", "keypoints1", "keypoints2")
    shuffled = replace(batch, **{name: getattr(batch, name)[order] for name in names})
    scaled = replace(batch, z1=batch.z1 * 10 ** (log_scale * torch.rand(5, 1, generator=random).double()))
    swapped = replace(
        batch, z1=batch.z2, z2=batch.z1, keypoints1=batch.keypoints2, keypoints2=batch.keypoints1
    ).differentiable()
    for other in (shuffled, scaled, swapped):
        torch.testing.assert_close(other.loss(weighting), loss, rtol=0, atol=1e-12)
    torch.autograd.backward(loss)
    torch.autograd.backward(swapped.loss(weighting))
    torch.testing.assert_close(batch.gradients()[0], swapped.gradients()[1], rtol=0, atol=1e-12)


def test_no_negatives_may_be_passed_as_an_empty_tensor() -> None:
    batch = Batch.draw(3)
    empty = replace(batch, negatives=torch.empty(0, 6), negative_keypoints=torch.empty(0, 21, 2))
    assert empty.loss(BOTH) == batch.loss(BOTH)


def test_keypoints_that_a_form_does_not_need_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Batch.draw(4, 2)
    nonsense = replace(batch, keypoints1=torch.zeros(1), keypoints2=torch.zeros(9, 9))
    assert nonsense.loss(Weighting()) == replace(batch, negative_keypoints=None).loss(Weighting())

    def never(*_: object) -> None:
        raise AssertionError("all pairs were measured")

    monkeypatch.setattr(simhand_weights, "TiledDistances", never)
    without = replace(batch, negative_keypoints=None)
    assert without.loss(Weighting("positives")) == batch.loss(Weighting("positives"))
    with pytest.raises(AssertionError, match="all pairs were measured"):
        batch.loss(Weighting("negatives"))


def test_no_gradient_reaches_keypoints() -> None:
    batch = Batch.draw(4, 2).differentiable()
    points = batch.keypoints1.requires_grad_()
    torch.autograd.backward(batch.loss(BOTH))
    assert points.grad is None


def test_one_pair_is_its_own_denominator() -> None:
    batch = Batch.draw(1)
    cosine = torch.cosine_similarity(batch.z1, batch.z2).item()
    assert batch.loss(Weighting()).item() == pytest.approx(0, abs=1e-12)
    assert batch.loss(Weighting("positives")).item() == pytest.approx(0, abs=1e-12)
    # It is the furthest pair there is: it weighs 0 in the denominator, and as the only positive 1.
    assert batch.loss(BOTH).item() == pytest.approx(-cosine / 0.5, abs=1e-12)
    assert batch.loss(BOTH).item() == pytest.approx(slow_loss(batch, BOTH), abs=1e-12)


def test_equal_projections_have_the_loss_of_chance_and_no_gradient() -> None:
    same = replace(Batch.draw(4), z1=torch.ones(4, 6), z2=torch.ones(4, 6)).differentiable()
    loss = same.loss(Weighting())
    assert loss.item() == pytest.approx(torch.tensor(7.0).log().item(), abs=1e-6)
    torch.autograd.backward(loss)
    for gradient in same.gradients():
        torch.testing.assert_close(gradient, torch.zeros(4, 6), rtol=0, atol=1e-7)


@pytest.mark.parametrize("length", [0.0, 1e-30, 1e-13])
def test_a_projection_without_a_direction_has_cosine_0_and_a_finite_gradient(length: float) -> None:
    batch = Batch.draw(4, dtype=torch.float32)
    batch.z1[2] = batch.z1[2] * length
    zero = replace(batch, z1=batch.z1.clone())
    zero.z1[2] = 0
    batch = batch.differentiable()
    loss = batch.loss(BOTH)
    assert loss.item() == pytest.approx(slow_loss(zero, BOTH), abs=1e-6)
    torch.autograd.backward(loss)
    for gradient in batch.gradients():
        assert gradient.isfinite().all()
        assert gradient.abs().amax() < 10


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_keypoint_that_is_not_finite_leaves_loss_and_gradients_finite(bad: float) -> None:
    batch = Batch.draw(5, 2).differentiable()
    batch.keypoints1[1, 4, 0] = bad
    loss = batch.loss(BOTH)
    assert loss.item() == pytest.approx(slow_loss(batch, BOTH), abs=1e-9)
    torch.autograd.backward(loss)
    assert all(gradient.isfinite().all() for gradient in batch.gradients())


def test_a_projection_that_is_nan_makes_the_loss_nan() -> None:
    batch = Batch.draw(4)
    batch.z1[1, 2] = torch.nan
    assert batch.loss(BOTH).isnan()


@pytest.mark.parametrize(
    ("change", "message"),
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
def test_shapes_that_do_not_fit_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(HandsimError, match=message):
        replace(Batch.draw(4, 2), **change).loss(BOTH)


@pytest.mark.parametrize("temperature", [0.0, -0.5, float("nan"), float("inf")])
def test_a_temperature_out_of_bounds_is_named(temperature: float) -> None:
    with pytest.raises(HandsimError, match=r"temperature is .*; it is a number above 0"):
        nt_xent(torch.ones(2, 2), torch.ones(2, 2), temperature=temperature)


def converted(batch: Batch, dtype: torch.dtype, scale: float = 1.0) -> Batch:
    """The same with projections of another dtype, which ask for a gradient."""
    assert batch.negatives is not None
    z1, z2, negatives = ((z.detach() * scale).to(dtype) for z in (batch.z1, batch.z2, batch.negatives))
    return replace(batch, z1=z1, z2=z2, negatives=negatives).differentiable()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@main_weightings
@pytest.mark.parametrize("temperature", [0.5, 0.01])
def test_half_precision_is_near_float64(dtype: torch.dtype, weighting: Weighting, temperature: float) -> None:
    # As large as half precision allows: their squares overflow it.
    narrow = converted(Batch.draw(32, 8, width=64), dtype, scale=5000)
    wide = converted(narrow, torch.float64)
    loss, expected = narrow.loss(weighting, temperature), wide.loss(weighting, temperature)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), abs=2e-7 * 2 / temperature)
    torch.autograd.backward(loss)
    torch.autograd.backward(expected)
    for ours, theirs in zip(narrow.gradients(), wide.gradients(), strict=True):
        assert ours.dtype == dtype
        atol = 6e-8 + 1e-5 * theirs.abs().amax().item()  # fp16 has no number between 0 and 6e-8
        torch.testing.assert_close(ours.double(), theirs, rtol=torch.finfo(dtype).eps, atol=atol)


@main_weightings
@pytest.mark.parametrize("temperature", [0.01, 1e-4])
def test_logits_beyond_the_range_of_exp_stay_exact(weighting: Weighting, temperature: float) -> None:
    batch = Batch.draw(16, 4, width=32)
    # Partners at cosine -1 and others near 1: the largest logits of both signs.
    single = converted(replace(batch, z2=-batch.z1), torch.float32)
    loss = single.loss(weighting, temperature)
    expected = converted(single, torch.float64).loss(weighting, temperature).item()
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert expected > 1 / temperature / 2
    torch.autograd.backward(loss)
    assert all(gradient.isfinite().all() for gradient in single.gradients())


@main_weightings
def test_autocast_changes_nothing(weighting: Weighting) -> None:
    results = []
    for enabled in (True, False):
        batch = Batch.draw(16, 4, width=32, dtype=torch.float32).differentiable()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = batch.loss(weighting, temperature=0.05)
        torch.autograd.backward(loss)
        results.append([loss, *batch.gradients()])
    assert all(map(torch.equal, *results))


def test_the_loss_is_as_precise_as_the_projections() -> None:
    batch = Batch.draw(3, dtype=torch.float64)
    assert batch.loss(Weighting()).dtype == torch.float64
    mixed = replace(batch, z2=batch.z2.to(torch.bfloat16))
    assert mixed.loss(BOTH).dtype == torch.float64
    half = replace(mixed, z1=batch.z1.half(), keypoints1=batch.keypoints1.half())
    assert half.loss(BOTH).dtype == torch.float32


class LargestTensor(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """The bytes behind the largest tensor that was made within the block."""

    bytes: int = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, Tensor):
                self.bytes = max(self.bytes, tensor.untyped_storage().nbytes())
        return made


def largest_tensor(loss: Callable[[], Tensor]) -> int:
    watch = LargestTensor()  # type: ignore[no-untyped-call]
    with watch:
        torch.autograd.backward(loss())
    return watch.bytes


@weighted([Weighting(), BOTH, Weighting("both", "sigmoid"), Weighting("negatives", distance="w_abs")])
def test_no_tensor_grows_with_the_square_of_the_batch(
    weighting: Weighting, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_blocks(monkeypatch, 1 << 12, 1 << 12)
    sizes = []
    for pairs in (128, 256):
        batch = Batch.draw(pairs, dtype=torch.float32).differentiable()
        sizes.append(largest_tensor(lambda batch=batch: batch.loss(weighting)))  # type: ignore[misc]
        assert sizes[-1] < (2 * pairs) ** 2 * 4 / 2
    assert sizes[1] <= 2 * sizes[0]


def test_the_memory_tests_would_notice_a_dense_form() -> None:
    batch = Batch.draw(64, dtype=torch.float32).differentiable()
    assert largest_tensor(lambda: dense_loss(batch, torch.ones(64), torch.ones(128, 128))) >= 128**2 * 4

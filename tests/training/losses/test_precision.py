"""Half precision, autocast, and logits that a bare exponential would not survive."""

from dataclasses import replace

import pytest
import torch

from tests.training.losses.oracle import Batch
from training.losses import Weighting

WEIGHTINGS = [Weighting(), Weighting("both"), Weighting("both", "sigmoid", lambda_positive=9.0)]
halves = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
weighted = pytest.mark.parametrize("weighting", WEIGHTINGS, ids=lambda w: f"{w.pairs}-{w.form}")


def lifted(batch: Batch) -> Batch:
    """The same numbers in float64."""
    assert batch.negatives is not None
    wide = replace(batch, z1=batch.z1.double(), z2=batch.z2.double(), negatives=batch.negatives.double())
    return wide.differentiable()


@halves
@weighted
@pytest.mark.parametrize("temperature", [0.5, 0.01])
def test_half_precision_is_near_float64(dtype: torch.dtype, weighting: Weighting, temperature: float) -> None:
    batch = Batch.draw(32, 8, width=64)
    assert batch.negatives is not None
    # As large as half precision has them: their squares are beyond it.
    narrow = replace(
        batch,
        z1=(batch.z1 * 5000).to(dtype),
        z2=(batch.z2 * 5000).to(dtype),
        negatives=(batch.negatives * 5000).to(dtype),
    ).differentiable()
    wide = lifted(narrow)
    loss, expected = narrow.loss(weighting, temperature), wide.loss(weighting, temperature)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), abs=2e-7 * 2 / temperature)
    torch.autograd.backward(loss)
    torch.autograd.backward(expected)
    rounding = torch.finfo(dtype).eps
    for ours, theirs in zip(narrow.gradients(), wide.gradients(), strict=True):
        assert ours.dtype == dtype
        # fp16 has no number between 0 and 6e-8.
        torch.testing.assert_close(
            ours.double(), theirs, rtol=rounding, atol=6e-8 + 1e-5 * theirs.abs().amax().item()
        )


@weighted
@pytest.mark.parametrize("temperature", [0.01, 1e-4])
def test_logits_beyond_what_exp_can_hold(weighting: Weighting, temperature: float) -> None:
    batch = Batch.draw(16, 4, width=32)
    assert batch.negatives is not None
    # Partners at cosine -1 and strangers at 1: logits of both signs as large as they come.
    single = replace(batch, z1=batch.z1.float(), z2=-batch.z1.float(), negatives=batch.negatives.float())
    single = single.differentiable()
    loss = single.loss(weighting, temperature)
    expected = lifted(single).loss(weighting, temperature).item()
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert expected > 1 / temperature / 2
    torch.autograd.backward(loss)
    assert all(gradient.isfinite().all() for gradient in single.gradients())


@weighted
def test_autocast_lowers_nothing(weighting: Weighting) -> None:
    def loss_and_gradients(enabled: bool) -> tuple[torch.Tensor, list[torch.Tensor]]:
        batch = Batch.draw(16, 4, width=32, dtype=torch.float32).differentiable()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = batch.loss(weighting, temperature=0.05)
        torch.autograd.backward(loss)
        return loss, batch.gradients()

    loss, gradients = loss_and_gradients(True)
    expected, expected_gradients = loss_and_gradients(False)
    assert loss == expected
    assert all(map(torch.equal, gradients, expected_gradients))


def test_the_loss_is_as_precise_as_the_projections() -> None:
    batch = Batch.draw(3, dtype=torch.float64)
    assert batch.loss(Weighting()).dtype == torch.float64
    mixed = replace(batch, z2=batch.z2.to(torch.bfloat16))
    assert mixed.loss(Weighting("both")).dtype == torch.float64
    half = replace(mixed, z1=batch.z1.half(), keypoints1=batch.keypoints1.half())
    assert half.loss(Weighting("both")).dtype == torch.float32

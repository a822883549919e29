from pathlib import Path

import pytest
import torch

from tests.training.golden import read_golden
from training.losses import Weighting, positive_weights
from training.losses.nt_xent import mean_log_denominator
from training.losses.simhand_weights import DenominatorWeights


@pytest.mark.usefixtures("small_blocks")
def test_the_references_gradients_by_unit_vectors(shared_data: Path) -> None:
    golden = read_golden(shared_data)
    z1, z2 = (golden[name].requires_grad_() for name in ("z1", "z2"))
    points, both = torch.cat([golden["joints1"], golden["joints2"]]), Weighting("both")
    denominator = mean_log_denominator(torch.cat([z1, z2]), 48, 0.5, DenominatorWeights(points, 48, both))
    weights = positive_weights(golden["joints1"], golden["joints2"], both)
    loss = denominator - (weights * (z1 * z2).sum(1)).mean() / 0.5
    assert abs(loss - golden["weighted_pos_neg"]) < 1e-9
    for gradient, name in zip(torch.autograd.grad(loss, (z1, z2)), ("z1", "z2"), strict=True):
        told = golden[f"weighted_pos_neg_grad_{name}"]
        torch.testing.assert_close(gradient, told, rtol=0, atol=1e-7)


def test_rows_alone_are_differentiated_as_rows() -> None:
    random = torch.Generator().manual_seed(0)
    columns = torch.randn(7, 3, generator=random, dtype=torch.float64).requires_grad_()
    ours = mean_log_denominator(columns, 4, 0.5, None)
    logits = (columns[:4] @ columns.T / 0.5).masked_fill(torch.eye(4, 7, dtype=torch.bool), -torch.inf)
    dense = logits.logsumexp(1).mean()
    torch.testing.assert_close(ours, dense)
    torch.testing.assert_close(torch.autograd.grad(ours, columns), torch.autograd.grad(dense, columns))

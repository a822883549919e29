"""The denominators of NT-Xent, a block of rows at a time."""

from typing import Any, Final

import torch
from torch import Tensor

from training.losses.weights import DenominatorWeights

_CPU_BLOCK: Final = 1 << 20
"""Pairs in a block on a CPU."""
_GPU_BLOCK: Final = 1 << 25
"""On a GPU."""


def mean_log_denominator(
    columns: Tensor, rows: int, temperature: float, weights: DenominatorWeights | None
) -> Tensor:
    """Mean over rows i of log sum_{k != i} exp(w_ik c_ik / temperature), c the cosine; a scalar.

    ``columns`` [C, M] are unit vectors, float32 or float64, the first ``rows`` of them are the rows. A block
    of rows sees all columns, so its part of the gradient is made in the same pass, and backward only scales
    it: nothing of size rows x C is ever held or made again. Multiplies as precisely as
    ``torch.set_float32_matmul_precision`` says.
    """
    with_gradient = torch.is_grad_enabled() and columns.requires_grad
    mean: Tensor = _MeanLogDenominator.apply(columns, rows, temperature, weights, with_gradient)
    return mean


class _MeanLogDenominator(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        columns: Tensor,
        rows: int,
        temperature: float,
        weights: DenominatorWeights | None,
        with_gradient: bool,
    ) -> Tensor:
        blocks = _Blocks(columns, rows, temperature, weights)
        gradient = torch.zeros_like(columns) if with_gradient else None
        logs = [blocks.log_denominators(first, gradient) for first in range(0, rows, blocks.rows_per_block)]
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return torch.cat(logs).mean()

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor, None, None, None, None]:
        if torch.is_grad_enabled():  # once_differentiable would let this pass where ``scale`` is a constant
            raise RuntimeError("the gradient of nt_xent has no gradient; leave create_graph out")
        (gradient,) = ctx.saved_tensors
        return gradient * scale, None, None, None, None


class _Blocks:
    def __init__(
        self, columns: Tensor, rows: int, temperature: float, weights: DenominatorWeights | None
    ) -> None:
        self._columns, self._rows, self._temperature, self._weights = columns, rows, temperature, weights
        pairs = _CPU_BLOCK if columns.device.type == "cpu" else _GPU_BLOCK
        self.rows_per_block = min(max(1, pairs // len(columns)), rows)
        self._logits = columns.new_empty(self.rows_per_block, len(columns))
        self._block_weights = torch.empty_like(self._logits) if weights is not None else None

    def log_denominators(self, first: int, gradient: Tensor | None) -> Tensor:
        """Logarithms [B] of the denominators from row ``first`` on; adds to the gradient [C, M]."""
        end = min(first + self.rows_per_block, self._rows)
        own = self._columns[first:end]
        logits = torch.mm(own / self._temperature, self._columns.T, out=self._logits[: end - first])
        weights = None
        if self._weights is not None and self._block_weights is not None:
            weights = self._weights.fill(self._block_weights[: end - first], first)
            logits.mul_(weights)
        logits[:, first:end].diagonal().fill_(-torch.inf)
        largest = logits.amax(1, keepdim=True)
        terms = logits.sub_(largest).exp_()
        sums = terms.sum(1, keepdim=True)
        if gradient is not None:
            # d mean / d c_ik = w_ik softmax_ik / (temperature x rows), and c_ik has two ends.
            slopes = terms if weights is None else terms.mul_(weights)
            share = (sums * (self._temperature * self._rows)).reciprocal_()
            gradient[first:end].addcmul_(slopes @ self._columns, share)
            gradient.addmm_(slopes.T, own * share)
        return sums.log_().add_(largest).squeeze(1)

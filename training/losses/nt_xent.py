"""NT-Xent (SimCLR, arXiv 2002.05709, equation 1) and its weighted form (SiMHand, arXiv 2502.15251).

The denominators of NT-Xent, a block of rows at a time.

Vectors brought to length 1.
"""

import math
from typing import Any, Final

import torch
from torch import Tensor

from handsim.errors import HandsimError
from training.losses.distributed import gather, gather_with_gradient, get_rank, get_world_size
from training.losses.simhand_weights import (
    DenominatorWeights,
    Weighting,
    check_alike_over_ranks,
    check_keypoints,
    check_projections,
    weights_in_whole_batch,
)

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


_SHORTEST: Final = 1e-12


def unit_rows(vectors: Tensor) -> Tensor:
    """Each row of [N, M] divided by its length; half precision becomes float32, float64 stays.

    A row shorter than 1e-12 has no direction: it stays as it is, and so does its gradient, where dividing
    would make it infinite.
    """
    vectors = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
    lengths = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return torch.div(vectors, lengths.where(lengths > _SHORTEST, 1.0))


_UNWEIGHTED = Weighting()


def nt_xent(
    z1: Tensor,
    z2: Tensor,
    *,
    temperature: float = 0.5,
    weighting: Weighting = _UNWEIGHTED,
    keypoints1: Tensor | None = None,
    keypoints2: Tensor | None = None,
    negatives: Tensor | None = None,
    negative_keypoints: Tensor | None = None,
) -> Tensor:
    """Mean over the 2N rows i of -log( exp(w_pos c_pos / t) / sum_{k != i} exp(w_ik c_ik / t) ), a scalar.

    c are the cosines of the projections ``z1`` and ``z2`` [N, M], row by row a positive pair; they are
    brought to length 1 here, so their scale has no say (a zero row has cosine 0 to all). The positive is in
    the denominator, and carries the denominator's weight there. ``negatives`` [R, M] are more hands for every
    row's denominator; they are no rows themselves. Weights are those of ``weighting``
    (`training.losses.simhand_weights`), from
    the views' 2D keypoints ``keypoints1`` and ``keypoints2`` [N, 21, 2] and
    the negatives' ``negative_keypoints`` [R, 21, 2], of any floating dtype and one unit, without a gradient.
    Keypoints that ``weighting`` does not need are not looked at.

    Half precision is lifted to float32, under autocast too; the loss is float32, or float64 for float64. It
    can be differentiated once.

    Where torch.distributed runs on several processes, each gives its own pairs and negatives, as many as the
    others, and its rows meet the columns of all; max, min and mean of distances are over all. It returns the
    mean over its own rows: the mean of that over processes is the loss of the whole batch, and
    DistributedDataParallel makes the same of the gradients.

    Raises HandsimError for no pairs, for shapes that do not fit, for keypoints that are needed and missing,
    for a temperature that is not above 0, and where processes give batches of different sizes.
    """
    if not (math.isfinite(temperature) and temperature > 0):
        raise HandsimError(f"temperature is {temperature}; it is a number above 0, the paper's is 0.5")
    check_projections(z1, z2, negatives)
    if negatives is not None and not len(negatives):
        negatives = negative_keypoints = None
    with torch.autocast(z1.device.type, enabled=False):
        own = unit_rows(torch.cat([z1, z2]))
        further = own.new_empty(0, own.shape[1]) if negatives is None else unit_rows(negatives).to(own.dtype)
        points = []
        if weighting.weights_positives or weighting.weights_negatives:
            named = (("keypoints1", keypoints1), ("keypoints2", keypoints2))
            points = [check_keypoints(name, given, len(z1)).detach().to(own) for name, given in named]
        if weighting.weights_negatives and negatives is not None:
            checked = check_keypoints("negative_keypoints", negative_keypoints, len(negatives))
            points.append(checked.detach().to(own))
        check_alike_over_ranks(z1, negatives, weighting)

        rows = len(own)
        weights = None
        if weighting.weights_negatives:
            weights = DenominatorWeights(_own_first(gather(torch.cat(points)), rows), rows, weighting)
        columns = _own_first(gather_with_gradient(torch.cat([own, further])), rows)
        denominator = mean_log_denominator(columns, rows, temperature, weights)
        positives = (own[: len(z1)] * own[len(z1) :]).sum(1)
        if weighting.weights_positives:
            positives = positives * weights_in_whole_batch(points[0], points[1], weighting)
        return denominator - positives.mean() / temperature


def _own_first(gathered: Tensor, rows: int) -> Tensor:
    """Columns as the denominators want them: this process's rows, those of the others, then all negatives."""
    everyone = gathered.view(get_world_size(), -1, *gathered.shape[1:])
    hands, further = everyone[:, :rows], everyone[:, rows:]
    return torch.cat([hands.roll(-get_rank(), 0).flatten(0, 1), further.flatten(0, 1)])

"""NT-Xent (SimCLR: Chen et al., 2020, arXiv 2002.05709, equation 1) and its weighted form (SiMHand, ICLR
2025, arXiv 2502.15251).

With the cosines c_ik of 2N projections (two views of N hands), the temperature t, and partner(i) the other
view of row i, both are the mean over rows i of

    -log( exp(w_pos c_i,partner(i) / t) / sum_{k != i} exp(w_ik c_ik / t) )
        =  log sum_{k != i} exp(w_ik c_ik / t)  -  w_pos c_i,partner(i) / t

All weights are 1 in plain NT-Xent; `training.losses.simhand_weights` makes SiMHand's. The numerator is a
product of N pairs of rows. The denominator needs all pairs of rows, 2N x 2N and more with further negatives:
it is made a block of rows at a time, and the gradient of a block in the same pass, so that nothing of that
size is ever in memory. In exchange the loss can be differentiated only once.

Two things are not in the papers: negatives in nearly the row's pose can be left out of its denominator
(`training.losses.near_negatives`), and a queue of earlier projections can be in it (`training.losses.queue`).
"""

import math
from typing import Any, Final

import torch
from torch import Tensor

from handsim.errors import HandsimError
from training.losses.distributed import gather, gather_with_gradient, get_world_size, own_rows_first
from training.losses.near_negatives import NearMask
from training.losses.simhand_weights import (
    DenominatorWeights,
    Weighting,
    check_keypoints,
    positive_distances,
    weigh_distances,
)

_UNWEIGHTED: Final = Weighting()
_CPU_BLOCK: Final = 1 << 20
"""Pairs in a block on a CPU."""
_GPU_BLOCK: Final = 1 << 25
"""Pairs in a block on a GPU."""
_SHORTEST: Final = 1e-12


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
    queue: Tensor | None = None,
    queue_keypoints: Tensor | None = None,
    near: NearMask | None = None,
) -> Tensor:
    """The loss, a scalar: float32, or float64 for float64 projections.

    ``z1`` and ``z2`` [N, M] are the projections of both views, row by row a positive pair; they are
    normalised here (a zero row has cosine 0 to all others). The positive is in the denominator too, and has
    the denominator's weight there. ``negatives`` [R, M] are further hands in the denominator of every row;
    they are not rows themselves. Weights are made from the 2D keypoints of the views, ``keypoints1`` and
    ``keypoints2`` [N, 21, 2], and of the negatives, ``negative_keypoints`` [R, 21, 2], all in one unit; or,
    if ``weighting`` says so, from the vectors of the index, [N, D] and [R, D] in the same arguments. No
    gradient reaches them. Keypoints that ``weighting`` does not need are ignored. Half precision becomes
    float32, also under autocast.

    ``queue`` [Q, M] are earlier projections, the same in every process, as further columns that no gradient
    reaches, and ``queue_keypoints`` are theirs. ``near``, of the same hands, discounts columns.

    With several processes (torch.distributed), each passes its own pairs and negatives, as many as the
    others; its rows are compared with the columns of all processes, and max, min and mean of distances are
    over all. It returns the mean over its own rows: the mean of that over processes is the loss of the whole
    batch, and DistributedDataParallel does the same with the gradients.

    Raises HandsimError for no pairs, shapes that do not fit, missing keypoints, a temperature that is not
    above 0, and processes that pass batches of different sizes.
    """
    if not (math.isfinite(temperature) and temperature > 0):
        raise HandsimError(f"temperature is {temperature}; it is a number above 0, the paper's is 0.5")
    _check_projections(z1, z2, negatives)
    if negatives is not None and not len(negatives):
        negatives = negative_keypoints = None
    with torch.autocast(z1.device.type, enabled=False):
        rows = normalise_rows(torch.cat([z1, z2]))
        columns = rows if negatives is None else torch.cat([rows, normalise_rows(negatives).to(rows.dtype)])
        points = []
        if weighting.weights_positives or weighting.weights_negatives:
            for name, keypoints in (("keypoints1", keypoints1), ("keypoints2", keypoints2)):
                points.append(check_keypoints(name, keypoints, len(z1), weighting).detach().to(rows))
        if weighting.weights_negatives and negatives is not None:
            checked = check_keypoints("negative_keypoints", negative_keypoints, len(negatives), weighting)
            points.append(checked.detach().to(rows))
        _check_same_on_all_ranks(z1, negatives, weighting)

        weights = None
        if weighting.weights_negatives:
            all_points = own_rows_first(gather(torch.cat(points)), len(rows))
            if queue is not None:
                checked = check_keypoints("queue_keypoints", queue_keypoints, len(queue), weighting)
                all_points = torch.cat([all_points, checked.detach().to(rows)])
            weights = DenominatorWeights(all_points, len(rows), weighting)
        columns = own_rows_first(gather_with_gradient(columns), len(rows))
        constants = None if queue is None else normalise_rows(queue.detach()).to(rows.dtype)
        denominator = mean_log_denominator(columns, len(rows), temperature, weights, near, constants)
        positives = (rows[: len(z1)] * rows[len(z1) :]).sum(1)
        if weighting.weights_positives:
            distances = positive_distances(points[0], points[1], weighting.measure)
            positives = positives * weigh_distances(distances, weighting, gather(distances))
        return denominator - positives.mean() / temperature


def normalise_rows(vectors: Tensor) -> Tensor:
    """Each row of [N, M] divided by its length; half precision becomes float32.

    A row shorter than 1e-12 has no direction and stays as it is: divided, it would have an infinite gradient.
    """
    vectors = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
    lengths = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return torch.div(vectors, lengths.where(lengths > _SHORTEST, 1.0))


def mean_log_denominator(
    columns: Tensor,
    rows: int,
    temperature: float,
    weights: DenominatorWeights | None,
    near: NearMask | None = None,
    constants: Tensor | None = None,
) -> Tensor:
    """Mean over rows i of log sum_{k != i} exp(w_ik c_ik / temperature), a scalar.

    ``columns`` [C, M] are unit vectors, float32 or float64; the first ``rows`` of them are the rows.
    ``constants`` [Q, M] follow them without a gradient. Products are as precise as
    ``torch.set_float32_matmul_precision`` says.
    """
    with_gradient = torch.is_grad_enabled() and columns.requires_grad
    every = columns.detach() if constants is None else torch.cat([columns.detach(), constants])
    blocks = _Blocks(every, rows, temperature, weights, near)
    mean: Tensor = _MeanLogDenominator.apply(columns, blocks, with_gradient)
    return mean


class _MeanLogDenominator(torch.autograd.Function):
    """The forward pass makes the gradient as well, so the backward pass only scales it."""

    @staticmethod
    def forward(ctx: Any, columns: Tensor, blocks: "_Blocks", with_gradient: bool) -> Tensor:
        gradient = torch.zeros_like(columns) if with_gradient else None
        starts = range(0, blocks.rows, blocks.rows_per_block)
        logs = [blocks.log_denominators(first, gradient) for first in starts]
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return torch.cat(logs).mean()

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor, None, None]:
        if torch.is_grad_enabled():  # once_differentiable would accept this where ``scale`` is a constant
            raise RuntimeError("the gradient of nt_xent has no gradient; leave create_graph out")
        (gradient,) = ctx.saved_tensors
        return gradient * scale, None, None


class _Blocks:
    """Blocks of rows, which share their buffers."""

    def __init__(
        self,
        columns: Tensor,
        rows: int,
        temperature: float,
        weights: DenominatorWeights | None,
        near: NearMask | None,
    ) -> None:
        self._columns, self._weights, self._near = columns, weights, near
        self.rows, self._temperature = rows, temperature
        pairs = _CPU_BLOCK if columns.device.type == "cpu" else _GPU_BLOCK
        self.rows_per_block = min(max(1, pairs // len(columns)), rows)
        self._logits = columns.new_empty(self.rows_per_block, len(columns))
        self._block_weights = torch.empty_like(self._logits) if weights is not None else None

    def log_denominators(self, first: int, gradient: Tensor | None) -> Tensor:
        """Logarithms [B] of the denominators from row ``first`` on; adds to ``gradient`` [C, M]."""
        end = min(first + self.rows_per_block, self.rows)
        own = self._columns[first:end]
        logits = torch.mm(own / self._temperature, self._columns.T, out=self._logits[: end - first])
        weights = None
        if self._weights is not None and self._block_weights is not None:
            weights = self._weights.fill(self._block_weights[: end - first], first)
            logits.mul_(weights)
        if self._near is not None:
            self._near.discount(logits, first)
        logits[:, first:end].diagonal().fill_(-torch.inf)
        largest = logits.amax(1, keepdim=True)
        terms = logits.sub_(largest).exp_()
        sums = terms.sum(1, keepdim=True)
        if gradient is not None:
            # d mean / d c_ik = w_ik softmax_ik / (temperature x rows); c_ik is a product of rows i and k.
            slopes = terms if weights is None else terms.mul_(weights)
            share = (sums * (self._temperature * self.rows)).reciprocal_()
            gradient[first:end].addcmul_(slopes @ self._columns, share)
            gradient.addmm_(slopes[:, : len(gradient)].T, own * share)
        return sums.log_().add_(largest).squeeze(1)


def _check_projections(z1: Tensor, z2: Tensor, negatives: Tensor | None) -> None:
    if z1.ndim != 2 or z1.shape != z2.shape:
        raise HandsimError(
            f"the projections are {list(z1.shape)} and {list(z2.shape)}; "
            f"both views' are [N, M], row by row one pair"
        )
    if 0 in z1.shape:
        raise HandsimError(
            f"the projections are {list(z1.shape)}; a loss needs at least one pair of one number"
        )
    if negatives is not None and (negatives.ndim != 2 or negatives.shape[1] != z1.shape[1]):
        raise HandsimError(
            f"negatives are {list(negatives.shape)}; beside projections of {z1.shape[1]} numbers they are "
            f"[R, {z1.shape[1]}]"
        )


def _check_same_on_all_ranks(z1: Tensor, negatives: Tensor | None, weighting: Weighting) -> None:
    """Raise in every process, or in none: else the others would wait for the one that raised."""
    if get_world_size() == 1:
        return
    counts = {
        "pairs": z1.shape[0],
        "numbers in a projection": z1.shape[1],
        "negatives": 0 if negatives is None else len(negatives),
        "weighted kinds of pairs": weighting.weights_positives + 2 * weighting.weights_negatives,
    }
    per_rank = gather(torch.tensor([list(counts.values())], device=z1.device)).tolist()
    for name, numbers in zip(counts, zip(*per_rank, strict=True), strict=True):
        if len(set(numbers)) > 1:
            raise HandsimError(
                f"the processes have {', '.join(map(str, numbers))} {name}; "
                f"give each as many, and leave out a last batch that is shorter"
            )

"""Adaptive weights of pairs, from their keypoints' distances (SiMHand, arXiv 2502.15251).

With distances d of pairs that are judged, and over the same kind of pairs of the whole batch:

    linear     (max d - d) / (max d - min d)
    sigmoid    1 / (1 + exp(lambda (d - mean d)))

Positives: d over the batch's N pairs. Denominator: d over all 2N x (2N + R) pairs of rows and columns, a hand
with itself among them, so that its min is 0. Where max and min are equal, but for rounding, the linear form
is 0 / 0: all pairs are alike, and weigh 1. A hand with a keypoint that is no finite number is not judged: its
pairs weigh 1, and count in no min, max or mean. Weights are constants: no gradient reaches the keypoints.
"""

import math
from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor

from training.losses.gathering import gather, maximum_over_ranks, sum_over_ranks
from training.losses.keypoint_distances import AllDistances, paired_distances
from training.losses.shapes import check_keypoints
from training.losses.weighting import Weighting

_ROUNDING: Final = 8
"""Distances that differ by less than this many units in the last place are equal."""


@torch.no_grad()
def positive_weights(keypoints1: Tensor, keypoints2: Tensor, weighting: Weighting) -> Tensor:
    """Weights [N] in 0..1 of the positive pairs of one batch, for logs and figures.

    Keypoints [N, 21, 2] and [N, 21, 2] of the two views; float32, or float64 for float64. Ones where
    ``weighting`` leaves positives alone. Asks nothing of other processes: `nt_xent` on several takes min, max
    and mean over the batches of all. Raises HandsimError for other shapes.
    """
    check_keypoints("keypoints1", keypoints1, len(keypoints1))
    check_keypoints("keypoints2", keypoints2, len(keypoints1))
    dtype = torch.promote_types(torch.promote_types(keypoints1.dtype, keypoints2.dtype), torch.float32)
    if not weighting.positives or not len(keypoints1):
        return keypoints1.new_ones(len(keypoints1), dtype=dtype)
    distances = paired_distances(keypoints1.to(dtype), keypoints2.to(dtype), weighting.distance)
    return _weigh(distances, distances, weighting)


@torch.no_grad()
def weights_in_whole_batch(keypoints1: Tensor, keypoints2: Tensor, weighting: Weighting) -> Tensor:
    """Weights [N] of this process's positive pairs among those of all processes."""
    distances = paired_distances(keypoints1, keypoints2, weighting.distance)
    return _weigh(distances, gather(distances), weighting)


def _weigh(distances: Tensor, of_batch: Tensor, weighting: Weighting) -> Tensor:
    judged = of_batch.isfinite()
    if weighting.form == "sigmoid":
        mean = of_batch.where(judged, 0.0).sum() / judged.sum()
        weights = torch.sigmoid(weighting.lambda_positive * (mean - distances))
    else:
        nearest = of_batch.where(judged, torch.inf).amin()
        furthest = of_batch.where(judged, -torch.inf).amax()
        spread = furthest - nearest
        told_apart = spread > _ROUNDING * torch.finfo(spread.dtype).eps * furthest
        weights = ((furthest - distances) / spread).where(told_apart, 1.0)
    return weights.where(distances.isfinite(), 1.0)


class DenominatorWeights:
    """Weights of all pairs of the denominator, of which a block of rows is made at a time."""

    @torch.no_grad()
    def __init__(self, keypoints: Tensor, rows: int, weighting: Weighting) -> None:
        """Measure the distances of the first ``rows`` of the hands [C, 21, 2] to all C.

        Under torch.distributed the max or mean is that of all processes' rows.
        """
        self._weighting, self._dtype = weighting, keypoints.dtype
        self._distances = AllDistances(keypoints, weighting.distance)
        if weighting.form == "sigmoid":
            self._level = self._mean(rows)
        else:
            self._level = maximum_over_ranks(self._maximum(rows))

    def fill(self, block: Tensor, first_row: int) -> Tensor:
        """Fill ``block`` [B, C] with the weights of rows from ``first_row`` on, and return it."""
        step = self._distances.rows_per_tile
        for first in range(0, len(block), step):
            self._weigh_(self._distances.fill(block[first : first + step], first_row + first))
        return block

    def _weigh_(self, tile: Tensor) -> None:
        tile.sub_(self._level)
        if self._weighting.form == "sigmoid":
            tile.mul_(-self._weighting.lambda_negative).sigmoid_().nan_to_num_(nan=1.0)
        else:
            # Rounding may put the furthest pair a hair beyond the maximum that another tile found.
            tile.div_(-self._level).clamp_(min=0.0).nan_to_num_(nan=1.0)

    def _maximum(self, rows: int) -> Tensor:
        zero_diagonal = self._distances.judged.new_zeros((), dtype=self._dtype)
        tiles = (tile.nan_to_num_(nan=0.0, posinf=0.0) for _, tile in self._upper_tiles(rows))
        return torch.stack([zero_diagonal, *(tile.amax() for tile in tiles)]).amax()

    def _mean(self, rows: int) -> Tensor:
        totals = []
        for first, tile in self._upper_tiles(rows):
            tile.nan_to_num_(nan=0.0, posinf=0.0)
            height = len(tile)
            mirrored = tile[:, height : rows - first].sum()  # what lies below the diagonal as well
            totals.append(tile.sum() + mirrored)
        judged = self._distances.judged
        pairs = judged[:rows].sum() * judged.sum()
        total, count = sum_over_ranks(torch.stack([torch.stack(totals).sum(), pairs.to(self._dtype)]))
        return torch.div(total, count)

    def _upper_tiles(self, rows: int) -> Iterator[tuple[int, Tensor]]:
        """The first row of each tile, and its distances from its diagonal on: rows x rows is symmetric."""
        step, columns = self._distances.rows_per_tile, len(self._distances)
        buffer = torch.empty(step * columns, dtype=self._dtype, device=self._distances.judged.device)
        for first in range(0, rows, step):
            shape = min(step, rows - first), columns - first
            tile = buffer[: math.prod(shape)].view(shape)
            yield first, self._distances.fill(tile, first, first)

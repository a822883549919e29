"""SiMHand's adaptive weights of pairs, from the distances of their keypoints (ICLR 2025, arXiv 2502.15251).

Two hands of J joints each, with the differences (dx, dy) between their joints, are apart by

    distance   of a positive pair                           of two hands in the denominator
    mpjpe      mean_j sqrt(dx^2 + dy^2)                     the same (the paper's)
    w_abs      length of (mean_j |dx|, mean_j |dy|)         length over j of (|dx| + |dy|) / 2
    w_o_abs    length of (mean_j dx, mean_j dy)             length over j of (dx + dy) / 2

(the last two are of an older version of the published code). They can be measured between the views, as
published, between the keypoints before augmentation, or between the hands' vectors in the index's embedding
(Euclidean): see `Weighting.source`. A pair at distance d weighs

    linear     (max d - d) / (max d - min d)
    sigmoid    1 / (1 + exp(lambda (d - mean d)))

with max, min and mean over the pairs of the same kind in the whole batch. Positives: its N pairs.
Denominator: all 2N x (2N + R) pairs of rows and columns, a hand with itself among them, so that the min is 0.
If max and min are equal, but for rounding, the linear form would be 0 / 0: all pairs weigh 1. Normalised
weights are divided by their mean over the pairs of the same kind, but for those of a hand with itself, which
no denominator has. The pairs of a hand with a keypoint that is not finite weigh 1, and count in no min, max
or mean. Weights are constants: no gradient reaches the keypoints.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal, get_args

import torch
from torch import Tensor

from handsim.errors import HandsimError
from handsim.skeleton import JOINT_COUNT
from training.losses.distributed import maximum_over_ranks, sum_over_ranks
from training.losses.tiled_distances import Measure, TiledDistances

WeightedPairs = Literal["none", "positives", "negatives", "both"]
WeightForm = Literal["linear", "sigmoid"]
KeypointDistance = Literal["mpjpe", "w_abs", "w_o_abs"]
WeightSource = Literal["views", "crops", "embedding"]

_ROUNDING: Final = 8
"""Distances that differ by less than this many units in the last place are equal."""


@dataclass(frozen=True)
class Weighting:
    """Which pairs are weighted, and how. Raises HandsimError for values out of their bounds."""

    pairs: WeightedPairs = "none"
    """``positives``: the numerator alone; ``negatives``: every pair in the denominator, the positive there
    too; ``none``: plain NT-Xent, which ignores keypoints."""
    form: WeightForm = "linear"
    """``linear``: from 1 for the nearest pair of the batch to 0 for the furthest; ``sigmoid``:
    1 / (1 + exp(lambda (d - mean d))), which needs keypoints in the unit that lambda is meant for."""
    distance: KeypointDistance = "mpjpe"
    """``mpjpe``: mean over joints of the distance between them; ``w_abs`` and ``w_o_abs``: two older ones, of
    absolute and of signed differences (see `training.losses.simhand_weights`)."""
    lambda_positive: float = 0.1
    """Steepness of the sigmoid for positives, per unit of the keypoints. SiMHand's 0.1 is per pixel of a view
    128 pixels wide; for keypoints in the unit square that is 12.8."""
    lambda_negative: float = 0.05
    """The same for negatives; SiMHand's 0.05 per pixel is 6.4 in the unit square."""
    source: WeightSource = "views"
    """Where distances are measured. ``views``: between the augmented views (SiMHand's), which is mostly how
    far they are turned against each other; ``crops``: between the pool's keypoints, before augmentation;
    ``embedding``: between the hands' vectors in the index, for a pair its mined distance. There ``distance``
    is not used, and lambda is per unit of the embedding."""
    normalised: bool = False
    """Divide weights by their mean. Published ones have means of about 0.64 (positives) and 0.53, which act
    on the cosines as a higher temperature does."""

    def __post_init__(self) -> None:
        known = {
            "pairs": WeightedPairs,
            "form": WeightForm,
            "distance": KeypointDistance,
            "source": WeightSource,
        }
        for name, names in known.items():
            value = getattr(self, name)
            if value not in get_args(names):
                raise HandsimError(f"{name} is {value!r}; it is one of {', '.join(get_args(names))}")
        for name in ("lambda_positive", "lambda_negative"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise HandsimError(f"{name} is {value}; it is a number of at least 0")

    @property
    def weights_positives(self) -> bool:
        """Whether the numerator is weighted."""
        return self.pairs in ("positives", "both")

    @property
    def weights_negatives(self) -> bool:
        """Whether the denominator is weighted."""
        return self.pairs in ("negatives", "both")

    @property
    def reads_vectors(self) -> bool:
        """Whether weights are made from vectors [N, D] of the index instead of keypoints [N, 21, 2]."""
        return self.source == "embedding" and self.pairs != "none"

    @property
    def measure(self) -> Measure:
        """The distance that is measured."""
        return "euclidean" if self.source == "embedding" else self.distance


@torch.no_grad()
def positive_weights(keypoints1: Tensor, keypoints2: Tensor, weighting: Weighting) -> Tensor:
    """Weights [N] of the positive pairs of one batch, for logs and figures.

    Keypoints [N, 21, 2] of both views, or what ``weighting.source`` names, as in `nt_xent`; float32, or
    float64 for float64. Ones where ``weighting`` does not weight positives. It asks no other process, while
    `nt_xent` takes min, max and mean over the batches of all. Raises HandsimError for other shapes.
    """
    check_keypoints("keypoints1", keypoints1, len(keypoints1), weighting)
    check_keypoints("keypoints2", keypoints2, len(keypoints1), weighting)
    dtype = torch.promote_types(torch.promote_types(keypoints1.dtype, keypoints2.dtype), torch.float32)
    distances = positive_distances(keypoints1.to(dtype), keypoints2.to(dtype), weighting.measure)
    return weigh_distances(distances, weighting)


@torch.no_grad()
def weigh_distances(distances: Tensor, weighting: Weighting, batch: Tensor | None = None) -> Tensor:
    """Weights [N] of positive pairs by their distances [N]: in 0..1, or with a mean of 1 if normalised.

    Min, max and means are over ``batch`` [K], the distances of all positive pairs; without it, over
    ``distances``. A distance that is not finite weighs 1. Ones where ``weighting`` does not weight positives.
    """
    batch = distances if batch is None else batch
    if not weighting.weights_positives or not len(distances):
        return torch.ones_like(distances)
    weights = _weigh(distances, weighting, batch)
    if weighting.normalised:
        finite = batch.isfinite()
        weights = weights * (finite.sum() / _weigh(batch, weighting, batch).where(finite, 0.0).sum())
    return weights.where(distances.isfinite(), 1.0)


def _weigh(distances: Tensor, weighting: Weighting, batch: Tensor) -> Tensor:
    """Weights [N] in 0..1; those of distances that are not finite mean nothing."""
    finite = batch.isfinite()
    if weighting.form == "sigmoid":
        mean = batch.where(finite, 0.0).sum() / finite.sum()
        return torch.sigmoid(weighting.lambda_positive * (mean - distances))
    nearest = batch.where(finite, torch.inf).amin()
    furthest = batch.where(finite, -torch.inf).amax()
    spread = furthest - nearest
    differ = spread > _ROUNDING * torch.finfo(spread.dtype).eps * furthest
    return ((furthest - distances) / spread).where(differ, 1.0)


def check_keypoints(name: str, keypoints: Tensor | None, hands: int, weighting: Weighting) -> Tensor:
    """The keypoints, or vectors; raises HandsimError if they are None or have another shape."""
    what, shape = "keypoints", f"[{hands}, {JOINT_COUNT}, 2], x and y of each joint"
    if weighting.reads_vectors:
        what, shape = "vectors", f"[{hands}, D], a vector of each hand"
    if keypoints is None:
        raise HandsimError(f"weights are made from {what}, and {name} is missing; give it as {shape}")
    fits = keypoints.ndim == 2 if weighting.reads_vectors else keypoints.shape[1:] == (JOINT_COUNT, 2)
    if not fits or len(keypoints) != hands:
        raise HandsimError(f"{name} is {list(keypoints.shape)}; it is {shape}")
    return keypoints


def positive_distances(first: Tensor, second: Tensor, measure: Measure) -> Tensor:
    """Distance [N] of each positive pair of keypoints [N, 21, 2] or vectors [N, D], in their unit."""
    difference = first - second
    if measure == "w_abs":
        difference = difference.abs()
    if measure in ("w_abs", "w_o_abs"):
        difference = difference.mean(1, keepdim=True)
    lengths: Tensor = torch.linalg.vector_norm(difference, dim=-1)
    return lengths if measure == "euclidean" else lengths.mean(-1)


class DenominatorWeights:
    """Weights of all pairs in the denominator, of which a block of rows is made at a time."""

    @torch.no_grad()
    def __init__(self, keypoints: Tensor, rows: int, weighting: Weighting) -> None:
        """Measure the distances of the first ``rows`` of the hands [C, 21, 2], or [C, D], to all C.

        Under torch.distributed the max or mean is that of all processes' rows.
        """
        self._weighting, self._dtype = weighting, keypoints.dtype
        self._distances = TiledDistances(keypoints, weighting.measure)
        if weighting.form == "sigmoid":
            self._level = torch.div(*self._sum(rows, lambda tile: tile))
        else:
            self._level = maximum_over_ranks(self._maximum(rows))
        self._mean: Tensor | None = None
        if weighting.normalised:
            total, pairs = self._sum(rows, self._weigh)
            itself = self._weigh(total.new_zeros(()))
            alone = sum_over_ranks(self._distances.finite[:rows].sum())
            self._mean = (total - alone * itself) / (pairs - alone)

    def fill(self, block: Tensor, first_row: int) -> Tensor:
        """Fill ``block`` [B, C] with the weights of rows from ``first_row`` on, and return it."""
        step = self._distances.rows_per_tile
        for first in range(0, len(block), step):
            tile = self._weigh(self._distances.fill(block[first : first + step], first_row + first))
            if self._mean is not None:
                tile.div_(self._mean)
            tile.nan_to_num_(nan=1.0)
        return block

    def _weigh(self, distances: Tensor) -> Tensor:
        """Distances become weights in 0..1, in place; NaN where they are not known."""
        distances.sub_(self._level)
        if self._weighting.form == "sigmoid":
            return distances.mul_(-self._weighting.lambda_negative).sigmoid_()
        # By rounding, the furthest pair may be a hair beyond the maximum that another tile found.
        return distances.div_(-self._level).clamp_(min=0.0)

    def _maximum(self, rows: int) -> Tensor:
        zero_diagonal = self._distances.finite.new_zeros((), dtype=self._dtype)
        tiles = (tile.nan_to_num_(nan=0.0, posinf=0.0) for _, tile in self._upper_tiles(rows))
        return torch.stack([zero_diagonal, *(tile.amax() for tile in tiles)]).amax()

    def _sum(self, rows: int, function: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """The sum of a function of all finite distances, and how many they are: a hand with itself, too."""
        totals = []
        for first, tile in self._upper_tiles(rows):
            values = function(tile).nan_to_num_(nan=0.0, posinf=0.0)
            below_diagonal = values[:, len(tile) : rows - first].sum()  # by symmetry
            totals.append(values.sum() + below_diagonal)
        finite = self._distances.finite
        pairs = finite[:rows].sum() * finite.sum()
        total, count = sum_over_ranks(torch.stack([torch.stack(totals).sum(), pairs.to(self._dtype)]))
        return total, count

    def _upper_tiles(self, rows: int) -> Iterator[tuple[int, Tensor]]:
        """The first row of each tile, and its distances from its diagonal on: rows x rows is symmetric."""
        step, columns = self._distances.rows_per_tile, len(self._distances)
        buffer = torch.empty(step * columns, dtype=self._dtype, device=self._distances.finite.device)
        for first in range(0, rows, step):
            shape = min(step, rows - first), columns - first
            tile = buffer[: math.prod(shape)].view(shape)
            yield first, self._distances.fill(tile, first, first)

"""How SiMHand weighs pairs by the distance between their keypoints.

How far apart two hands' 2D keypoints are: SiMHand's distance and two older ones of its published code.

With the differences (dx, dy) between the joints of two hands, of J joints each:

    distance   of a positive pair                           of two hands in the denominator
    mpjpe      mean_j sqrt(dx^2 + dy^2)                     the same (arXiv 2502.15251)
    w_abs      length of (mean_j |dx|, mean_j |dy|)         length over j of (|dx| + |dy|) / 2
    w_o_abs    length of (mean_j dx, mean_j dy)             length over j of (dx + dy) / 2

Whether what a loss is given fits together, before a process waits for another one that has failed.

Adaptive weights of pairs, from their keypoints' distances (SiMHand, arXiv 2502.15251).

With distances d of pairs that are judged, and over the same kind of pairs of the whole batch:

    linear     (max d - d) / (max d - min d)
    sigmoid    1 / (1 + exp(lambda (d - mean d)))

Positives: d over the batch's N pairs. Denominator: d over all 2N x (2N + R) pairs of rows and columns, a hand
with itself among them, so that its min is 0. Where max and min are equal, but for rounding, the linear form
is 0 / 0: all pairs are alike, and weigh 1. A hand with a keypoint that is no finite number is not judged: its
pairs weigh 1, and count in no min, max or mean. Weights are constants: no gradient reaches the keypoints.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

import torch
from torch import Tensor

from handsim.errors import HandsimError
from handsim.skeleton import JOINT_COUNT
from training.losses.distributed import gather, get_world_size, maximum_over_ranks, sum_over_ranks

WeightedPairs = Literal["none", "positives", "negatives", "both"]
WeightForm = Literal["linear", "sigmoid"]
KeypointDistance = Literal["mpjpe", "w_abs", "w_o_abs"]


@dataclass(frozen=True)
class Weighting:
    """Which pairs are weighted, and how: SiMHand's adaptive weights (arXiv 2502.15251).

    Raises HandsimError for a name that is none of those listed, and for a lambda that is not at least 0.
    """

    pairs: WeightedPairs = "none"
    """``positives``: the numerator alone; ``negatives``: every pair in the denominator, the positive there
    too; ``none``: plain NT-Xent, which looks at no keypoints."""
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

    def __post_init__(self) -> None:
        known = {"pairs": WeightedPairs, "form": WeightForm, "distance": KeypointDistance}
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


_CPU_TILE: Final = 1 << 17
"""Pairs per thread in a tile on a CPU: its three buffers stay in the cache of the core that fills them."""
_GPU_TILE: Final = 1 << 22
"""On a GPU: enough to keep it busy between two launches, and few enough for its cache."""


def paired_distances(first: Tensor, second: Tensor, kind: KeypointDistance) -> Tensor:
    """Distance [N] of each positive pair, keypoints [N, J, 2] and [N, J, 2]; in their unit and dtype."""
    difference = first - second
    if kind == "mpjpe":
        return _lengths(difference).mean(-1)
    if kind == "w_abs":
        difference = difference.abs()
    return _lengths(difference.mean(1))


class AllDistances:
    """The distances between C hands, [C, C] of which only a tile is made at a time.

    By direct differences: the product form, |a|^2 + |b|^2 - 2ab, cancels where hands are near each other.
    A hand with a keypoint that is no finite number is not judged: its distances are NaN.
    """

    judged: Tensor
    """[C] bool: hands whose keypoints are all finite."""

    def __init__(self, keypoints: Tensor, kind: KeypointDistance) -> None:
        """Of keypoints [C, J, 2], float32 or float64; the tiles' buffers are made here."""
        self._kind = kind
        self.judged = keypoints.isfinite().flatten(1).all(1)
        points = keypoints.where(self.judged[:, None, None], torch.nan)
        if kind == "w_o_abs":
            points = points.mean(-1, keepdim=True)
        # [J, 1 or 2, C]: a joint's coordinate of all hands lies in one run of memory.
        self._planes = points.permute(1, 2, 0).contiguous()
        pairs = _CPU_TILE * torch.get_num_threads() if keypoints.device.type == "cpu" else _GPU_TILE
        self.rows_per_tile = min(max(1, pairs // len(keypoints)), len(keypoints))
        self._scratch = keypoints.new_empty(2, self.rows_per_tile * len(keypoints))

    def __len__(self) -> int:
        return self._planes.shape[-1]

    def fill(self, tile: Tensor, first_row: int, first_column: int = 0) -> Tensor:
        """Fill ``tile`` [at most rows_per_tile, width] from a row and a column on, and return it."""
        rows, width = tile.shape
        scratch = self._scratch[:, : rows * width].view(2, rows, width)
        down = self._planes[:, :, first_row : first_row + rows, None]
        across = self._planes[:, :, None, first_column : first_column + width]
        tile.zero_()
        for joint_down, joint_across in zip(down, across, strict=True):
            if self._kind == "mpjpe":
                _add_length(tile, joint_down, joint_across, scratch)
            elif self._kind == "w_abs":
                _add_squared_mean_of_absolutes(tile, joint_down, joint_across, scratch)
            else:
                torch.sub(joint_down[0], joint_across[0], out=scratch[0])
                tile.addcmul_(scratch[0], scratch[0])
        return tile.div_(len(self._planes)) if self._kind == "mpjpe" else tile.sqrt_()


def _lengths(vectors: Tensor) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(vectors, dim=-1)
    return lengths


def _add_length(tile: Tensor, down: Tensor, across: Tensor, scratch: Tensor) -> None:
    """Add one joint's distances; ``down`` [2, rows, 1], ``across`` [2, 1, width]."""
    x, y = scratch[0], scratch[1]
    torch.sub(down[0], across[0], out=x)
    torch.sub(down[1], across[1], out=y)
    tile.add_(x.mul_(x).addcmul_(y, y).sqrt_())


def _add_squared_mean_of_absolutes(tile: Tensor, down: Tensor, across: Tensor, scratch: Tensor) -> None:
    """Add one joint's ((|dx| + |dy|) / 2)^2."""
    x, y = scratch[0], scratch[1]
    torch.sub(down[0], across[0], out=x)
    torch.sub(down[1], across[1], out=y)
    x.abs_().add_(y.abs_())
    tile.addcmul_(x, x, value=0.25)


def check_projections(z1: Tensor, z2: Tensor, negatives: Tensor | None) -> None:
    """Raise HandsimError unless z1 and z2 are [N, M], N at least 1, and negatives [R, M]."""
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


def check_keypoints(name: str, keypoints: Tensor | None, hands: int) -> Tensor:
    """The keypoints; raises HandsimError unless they are there and [hands, 21, 2]."""
    needed = f"[{hands}, {JOINT_COUNT}, 2]"
    if keypoints is None:
        raise HandsimError(f"weights are made from keypoints, and {name} is missing; give it as {needed}")
    if keypoints.shape != (hands, JOINT_COUNT, 2):
        raise HandsimError(f"{name} is {list(keypoints.shape)}; it is {needed}, x and y of each joint")
    return keypoints


def check_alike_over_ranks(z1: Tensor, negatives: Tensor | None, weighting: Weighting) -> None:
    """Raise HandsimError, in every process, unless all have given batches of one size and one kind."""
    if get_world_size() == 1:
        return
    told: Mapping[str, int] = {
        "pairs": z1.shape[0],
        "numbers in a projection": z1.shape[1],
        "negatives": 0 if negatives is None else len(negatives),
        "weighted kinds of pairs": weighting.weights_positives + 2 * weighting.weights_negatives,
    }
    everyone = gather(torch.tensor([list(told.values())], device=z1.device)).tolist()
    for name, numbers in zip(told, zip(*everyone, strict=True), strict=True):
        if len(set(numbers)) > 1:
            raise HandsimError(
                f"the processes have {', '.join(map(str, numbers))} {name}; "
                f"give each as many, and leave out a last batch that is shorter"
            )


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
    if not weighting.weights_positives or not len(keypoints1):
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

"""Negatives that are no negatives: hands of the batch in nearly the pose of the row they are compared with.

In-batch negatives are drawn blindly. The live index knows the vectors of all hands of a batch, so that those
nearer than a bound can be left out of the denominator, or count less there. A column that counts for ``w``
of one is added as w exp(c / t): the logit gets log w, -inf for 0. SiMHand's weights multiply the logit
instead, and are largest for the nearest.

The row's partner always stays.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from handsim.errors import HandsimError
from training.losses.distributed import gather, own_rows_first
from training.losses.tiled_distances import TiledDistances

DistanceUnit = Literal["mined", "embedding"]


@dataclass(frozen=True)
class NearNegatives:
    """Which negatives are near, and how much they count. Raises HandsimError for values out of bounds."""

    within: float = 0.0
    """Negatives nearer than this are near; 0: none is. It needs pairs from the live index."""
    unit: DistanceUnit = "mined"
    """Of ``within``: ``mined``, the median distance between the hands of the step's pairs; ``embedding``, a
    distance in the index's embedding."""
    weight: float = 0.0
    """How much near negatives count: 0 leaves them out, 1 would change nothing."""
    same_video: bool = False
    """Whether all hands of the row's own video are near, too."""

    def __post_init__(self) -> None:
        if self.unit not in get_args(DistanceUnit):
            raise HandsimError(f"unit is {self.unit!r}; it is one of {', '.join(get_args(DistanceUnit))}")
        if not (math.isfinite(self.within) and self.within >= 0):
            raise HandsimError(f"within is {self.within}; it is a number of at least 0")
        if not 0 <= self.weight < 1:
            raise HandsimError(f"weight is {self.weight}; it lies from 0 to below 1, which changes nothing")

    @property
    def is_on(self) -> bool:
        """Whether any negative may be near."""
        return self.within > 0 or self.same_video


@dataclass(frozen=True, eq=False)
class Hands:
    """What is known of n hands beside their projections."""

    hand_ids: Tensor
    """int64 [n]."""
    videos: Tensor
    """int64 [n] a number for each video of the pool; below 0 where it is not known."""
    vectors: Tensor
    """float32 [n, D] in the index's embedding; NaN for a hand that the version lacks, D = 0 where no vectors
    are needed."""

    def of_one_version(self, version: int) -> tuple["Hands", int]:
        """With vectors only if all processes have the same index ``version``, which is returned; else with 0.

        A version that was just published may be used by one process before another. Collective.
        """
        versions = gather(self.hand_ids.new_tensor([version]))
        if bool((versions == version).all()):
            return self, version
        unknown = self.vectors.new_full((len(self), 1), torch.nan)
        return replace(self, vectors=unknown), 0

    def gathered(self, rows: int) -> "Hands":
        """Those of all processes in the order of denominators; the first ``rows`` are rows. Collective."""
        return Hands(*(own_rows_first(gather(each), rows) for each in self.tensors))

    def followed_by(self, others: "Hands") -> "Hands":
        """Both."""
        return Hands(*map(torch.cat, zip(self.tensors, others.tensors, strict=True)))

    def first(self, count: int) -> "Hands":
        """The first ones."""
        return Hands(*(each[:count] for each in self.tensors))

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """All fields."""
        return self.hand_ids, self.videos, self.vectors

    def __len__(self) -> int:
        return len(self.hand_ids)


class NearMask:
    """Discounts near negatives in the logits of one batch, a block of rows at a time."""

    @torch.no_grad()
    def __init__(self, near: NearNegatives, hands: Hands, pairs: int, queue: Hands | None = None) -> None:
        """Of the hands [2N + R] of N pairs, first all anchors, then all positives, then further negatives.

        ``queue`` are the hands of a `ProjectionQueue`: there, the row's own hand and its partner's are left
        out, whatever ``near`` says. Under torch.distributed each process passes as many hands, and the median
        is that of all pairs.
        """
        self._near, self._pairs = near, pairs
        self._bound = _bound(near, hands.vectors[:pairs], hands.vectors[pairs : 2 * pairs])
        self._hands = hands.gathered(2 * pairs)
        self._batch_columns = len(self._hands)
        if queue is not None:
            self._hands = self._hands.followed_by(queue)
        self._distances = None
        if near.within > 0:
            self._distances = TiledDistances(self._hands.vectors, "euclidean")
            self._tile = self._hands.vectors.new_empty(self._distances.rows_per_tile, len(self._hands))
        self._found = hands.hand_ids.new_zeros(())

    @property
    def found(self) -> float:
        """Near negatives of a row, the mean over the rows that were discounted; NaN before the loss."""
        return float(self._found) / (2 * self._pairs)

    @torch.no_grad()
    def discount(self, logits: Tensor, first_row: int) -> None:
        """Change the logits [B, C] of rows from ``first_row`` on, in place."""
        rows = torch.arange(first_row, first_row + len(logits), device=logits.device)
        partners = (rows + self._pairs) % (2 * self._pairs)
        near = self._find_near(rows, first_row)
        own = torch.arange(len(rows), device=logits.device)
        near[own, rows] = near[own, partners] = False
        repeated = self._find_repeated(rows, partners)
        self._found += near.sum() + (repeated & ~near[:, self._batch_columns :]).sum()
        if self._near.weight:
            logits.add_(near.to(logits.dtype), alpha=math.log(self._near.weight))
        else:
            logits.masked_fill_(near, -torch.inf)
        logits[:, self._batch_columns :].masked_fill_(repeated, -torch.inf)

    def _find_near(self, rows: Tensor, first_row: int) -> Tensor:
        """[B, C] bool: what is near each of the ``rows`` from ``first_row`` on."""
        videos = self._hands.videos
        found = torch.zeros(len(rows), len(videos), dtype=torch.bool, device=videos.device)
        if self._distances is not None:
            for first in range(0, len(rows), len(self._tile)):
                part = found[first : first + len(self._tile)]
                tile = self._distances.fill(self._tile[: len(part)], first_row + first)
                torch.lt(tile, self._bound, out=part)  # never for NaN, where a vector is not known
        if self._near.same_video:
            found |= (videos[rows, None] == videos) & (videos >= 0)
        return found

    def _find_repeated(self, rows: Tensor, partners: Tensor) -> Tensor:
        """[B, Q] bool: where the queue has the row's hand, or its partner's."""
        hand_ids = self._hands.hand_ids
        queue = hand_ids[self._batch_columns :]
        return (hand_ids[rows, None] == queue) | (hand_ids[partners, None] == queue)


def _bound(near: NearNegatives, anchors: Tensor, positives: Tensor) -> Tensor:
    """The distance below which negatives are near, from the vectors [N, D] of the pairs; 0 if none is known.

    Pairs of a hand with itself say nothing of how near mined ones are.
    """
    if near.unit == "embedding" or not near.within:
        return anchors.new_tensor(near.within)
    distances = gather(torch.linalg.vector_norm(anchors - positives, dim=1))
    known = distances[distances > 0]  # not NaN either
    return near.within * known.median() if len(known) else anchors.new_zeros(())

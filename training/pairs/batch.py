"""One batch of pairs, as the trainer gets it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from handsim.pool import Pool
from training.pairs.drawn import DrawnPairs


@dataclass(frozen=True)
class Waits:
    """What a batch was waited for."""

    data_s: float = 0.0
    """Seconds in which the trainer had no batch."""
    index_s: float = 0.0
    """The part of these in which everybody waited for pairs, and so for the index."""


@dataclass(frozen=True, eq=False)
class PairBatch:
    """B pairs and R further negatives, made of U different hands."""

    hand_ids: NDArray[np.uint64]
    """[U], each once, in the pool's order."""
    crops: Tensor
    """uint8 [U, S, S, 3], RGB, as right hands."""
    keypoints: Tensor
    """float32 [U, 21, 2] in the crop's unit square (x right, y down), as right hands."""
    anchors: Tensor
    """int64 [B] rows of U."""
    positives: Tensor
    """int64 [B] rows of U; the anchor's own row where it is its own positive."""
    negatives: Tensor
    """int64 [R] rows of U: R is the same for every batch, the hands all differ from anchors and positives."""
    distances: Tensor
    """float32 [B] from anchor to positive, in the index's embedding; NaN where it is not known."""
    version: str | None
    """Name of the index version the pairs come from, where they come from one."""
    epoch: int
    """From 0."""
    number: int
    """Of the batch in its epoch, from 0."""
    without_positive: int
    """Anchors that are their own positive because no other was found."""
    not_in_index: int
    """Of those, the ones that the index version does not hold."""
    random_negatives: int
    """Negatives drawn at random, where the band had too few."""
    waits: Waits = Waits()
    """What it was waited for."""

    @classmethod
    def lay_out(cls, drawn: DrawnPairs, pool: Pool, epoch: int, number: int) -> "PairBatch":
        """The batch of drawn pairs, each hand once however often it is met; its crops are still empty."""
        count = len(drawn.anchors)
        together = np.concatenate([drawn.anchors, drawn.positives, drawn.negatives.reshape(-1)])
        rows, places = np.unique(pool.rows(together), return_inverse=True)
        anchors, positives, negatives = np.split(places.astype(np.int64), [count, 2 * count])
        return cls(
            hand_ids=pool.hand_ids[rows],
            crops=torch.empty(0, pool.crop_size_px, pool.crop_size_px, 3, dtype=torch.uint8),
            keypoints=torch.from_numpy(pool.keypoints[rows][:, :, :2].copy()),
            anchors=torch.from_numpy(anchors),
            positives=torch.from_numpy(positives),
            negatives=torch.from_numpy(negatives),
            distances=torch.from_numpy(drawn.distances),
            version=drawn.version,
            epoch=epoch,
            number=number,
            without_positive=drawn.without_positive,
            not_in_index=drawn.not_in_index,
            random_negatives=drawn.random_negatives,
        )

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "PairBatch":
        """The same batch with its tensors on a device."""
        return self._with_each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pinned(self) -> "PairBatch":
        """The same batch in page-locked memory, from where it reaches a GPU in the background."""
        return self._with_each(Tensor.pin_memory)

    def _with_each(self, move: Callable[[Tensor], Tensor]) -> "PairBatch":
        return replace(
            self,
            crops=move(self.crops),
            keypoints=move(self.keypoints),
            anchors=move(self.anchors),
            positives=move(self.positives),
            negatives=move(self.negatives),
            distances=move(self.distances),
        )

    def __len__(self) -> int:
        """B."""
        return len(self.anchors)

"""What every source of pairs answers."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class DrawnPairs:
    """The pairs of B anchors."""

    anchors: NDArray[np.uint64]
    """[B]."""
    positives: NDArray[np.uint64]
    """[B]; the anchor itself, to be seen in another view, where there was no other."""
    distances: NDArray[np.float32]
    """[B] from anchor to positive, in the index's embedding; NaN where it is not known."""
    negatives: NDArray[np.uint64]
    """[B, n] further hands for the denominators: all different, and none of them an anchor or a positive."""
    version: str | None = None
    """Name of the index version they come from, where they come from one."""
    without_positive: int = 0
    """Anchors that fell back to themselves for want of a positive."""
    not_in_index: int = 0
    """Of those, the ones that the index version does not hold."""
    not_in_pool: int = 0
    """Hands that the index answered and the pool has no picture of; they were left out."""
    random_negatives: int = 0
    """Negatives drawn from all hands, where the band had too few."""


class PairSource(Protocol):
    """Where pairs come from."""

    def draw(self, anchors: NDArray[np.uint64], rng: np.random.Generator) -> DrawnPairs:
        """The pairs of anchors [B] of the pool: the same ones for the same random numbers and index version.

        Raises UnavailableError where an index is asked that does not answer; asked again, it may.
        """

    def close(self) -> None:
        """Let go of what it holds. Another thread may be drawing: it is not waited for long, and may fail."""

"""The hands that an export holds, in its order."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError
from handsim.hand import Hand, describe_hand
from handsim.pool.reader import Pool
from handsim.pool.selection import Selection

Progress = Callable[[int, int], None]
"""Takes how many hands are written, and of how many."""


@dataclass(frozen=True, eq=False)
class ExportedHands:
    """M hands of a pool."""

    pool: Pool
    rows: NDArray[np.int64]
    """[M] in the pool."""
    distances: Mapping[int, float]
    """Id -> distance to what was asked, where the hands are the answer of a query."""

    @classmethod
    def select(cls, pool: Pool, selection: Selection) -> "ExportedHands":
        """Those of a selection, in its order; raises HandsimError where there is none."""
        rows = selection.rows(pool)
        if not len(rows):
            raise HandsimError(
                f"no hand of {pool.path} meets these conditions; `handsim pool info` says more"
            )
        return cls(pool, rows, selection.distances)

    def with_pictures(self) -> "ExportedHands":
        """Those with a crop; raises HandsimError where there is none."""
        rows = self.rows[self.pool.has_crops[self.rows]]
        if not len(rows):
            raise HandsimError(
                f"{self.pool.path} holds keypoints without pictures of these hands; use --format parquet"
            )
        return replace(self, rows=rows)

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, progress: Progress) -> Iterator[Hand]:
        """Each hand, in the order of the rows."""
        for done, hand in enumerate(self.pool.hands(self.rows), start=1):
            progress(done, len(self))
            yield hand

    def describe(self, hand: Hand) -> dict[str, Any]:
        """`describe_hand`, with the ``distance`` where there are any."""
        description = describe_hand(hand)
        if self.distances:
            description["distance"] = self.distances.get(hand.hand_id)
        return description

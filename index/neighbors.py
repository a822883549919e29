"""What a search answers: the nearest hands of many queries at once, as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, TypedDict

import numpy as np
from numpy.typing import NDArray

from handsim.hand import Side

NO_HAND: Final = 2**64 - 1
"""Stands where there was no further neighbour; real ids have 63 bits."""


class Payload(TypedDict):
    """What an index knows of a hand besides its vector."""

    video: str
    source: str
    side: Side
    label: str | None
    score: float
    frame: int


@dataclass(frozen=True)
class Neighbor:
    """One hand near a query."""

    hand_id: int
    """63 bits, as in the pool."""
    distance: float
    """Euclidean, in the index's embedding: smaller is nearer."""
    payload: Payload | None = None
    """Only where the search was asked for it."""


@dataclass(frozen=True, eq=False)
class Neighbors:
    """The K nearest hands of each of Q queries, nearest first; places left over come last."""

    hand_ids: NDArray[np.uint64]
    """[Q, K]; `NO_HAND` in a place left over."""
    distances: NDArray[np.float32]
    """[Q, K] Euclidean, in the index's embedding; infinity in a place left over."""
    payloads: list[list[Payload]] | None = None
    """Per query one for each hand found (so at most K), only where the search was asked for them."""

    @classmethod
    def gather(
        cls,
        answers: Sequence[tuple[Sequence[int], Sequence[float]]],
        k: int,
        payloads: list[list[Payload]] | None = None,
    ) -> "Neighbors":
        """Lay ragged answers, (hand ids, distances) per query and nearest first, into [Q, k]."""
        hand_ids = np.full((len(answers), k), NO_HAND, dtype=np.uint64)
        distances = np.full((len(answers), k), np.inf, dtype=np.float32)
        counts = np.array([len(ids) for ids, _ in answers], dtype=np.intp)
        filled = np.arange(k) < counts[:, None]
        hand_ids[filled] = np.fromiter(chain.from_iterable(ids for ids, _ in answers), np.uint64)
        distances[filled] = np.fromiter(chain.from_iterable(far for _, far in answers), np.float32)
        return cls(hand_ids, distances, payloads)

    @property
    def found(self) -> NDArray[np.bool_]:
        """[Q, K] where a hand was found."""
        return np.isfinite(self.distances)

    def __len__(self) -> int:
        return len(self.hand_ids)

    def __getitem__(self, query: int) -> list[Neighbor]:
        """The neighbours of one query, nearest first, without the places left over."""
        count = int(self.found[query].sum())
        payloads: Sequence[Payload | None]
        payloads = [None] * count if self.payloads is None else self.payloads[query]
        return [
            Neighbor(hand_id, distance, payload)
            for hand_id, distance, payload in zip(
                self.hand_ids[query, :count].tolist(),
                self.distances[query, :count].tolist(),
                payloads,
                strict=True,
            )
        ]

    def keep(self, kept: NDArray[np.bool_]) -> "Neighbors":
        """The neighbours where ``kept`` [Q, K] holds, in their order, and places left over."""
        kept = kept & self.found
        # A stable sort by "is not kept" moves those behind the others.
        masked = Neighbors(
            np.where(kept, self.hand_ids, np.uint64(NO_HAND)),
            np.where(kept, self.distances, np.float32(np.inf)),
            self.payloads
            and [
                [payload for payload, stays in zip(row, kept_row, strict=False) if stays]
                for row, kept_row in zip(self.payloads, kept.tolist(), strict=True)
            ],
        )
        order = np.argsort(~kept, axis=1, kind="stable")
        return Neighbors(
            np.take_along_axis(masked.hand_ids, order, axis=1),
            np.take_along_axis(masked.distances, order, axis=1),
            masked.payloads,
        )

    def by_distance(self) -> "Neighbors":
        """The same neighbours, nearest first."""
        order = np.argsort(self.distances, axis=1, kind="stable")
        return Neighbors(
            np.take_along_axis(self.hand_ids, order, axis=1),
            np.take_along_axis(self.distances, order, axis=1),
            self.payloads
            and [
                [row[place] for place in places[: len(row)]]
                for row, places in zip(self.payloads, order.tolist(), strict=True)
            ],
        )

    def resized(self, k: int, *, keep_payloads: bool = True) -> "Neighbors":
        """Exactly k places for each query: the furthest neighbours cut off, or places left over added."""
        missing = ((0, 0), (0, max(0, k - self.hand_ids.shape[1])))
        return Neighbors(
            np.pad(self.hand_ids, missing, constant_values=NO_HAND)[:, :k],
            np.pad(self.distances, missing, constant_values=np.inf)[:, :k],
            [row[:k] for row in self.payloads] if keep_payloads and self.payloads is not None else None,
        )

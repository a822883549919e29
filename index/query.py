"""Which hands may be answered, said once for all engines.

What the queries of one search have in common, said once for all engines.

What a search answers: the nearest hands of many queries at once, as arrays.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, TypedDict

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError
from handsim.hand import SIDES, Side


@dataclass(frozen=True)
class Filter:
    """Conditions that an answered hand meets, all of them; None asks nothing, an empty tuple admits no hand.

    Raises HandsimError for a side or score that cannot be, and for one string where several are expected.
    """

    sources: tuple[str, ...] | None = None
    """The collections it may come from."""
    sides: tuple[Side, ...] | None = None
    """The subject's own side, before mirroring."""
    videos: tuple[str, ...] | None = None
    """The recordings or persons it may come from."""
    labels: tuple[str, ...] | None = None
    """The classes it may have; a hand without a label meets none."""
    min_score: float | None = None
    """The least confidence of the detector, 0 to 1."""

    @property
    def choices(self) -> list[tuple[str, list[str]]]:
        """(field of the payload, values it may have) of each condition that names values."""
        named = (
            ("source", self.sources),
            ("side", self.sides),
            ("video", self.videos),
            ("label", self.labels),
        )
        return [(field, list(values)) for field, values in named if values is not None]

    @property
    def least_score(self) -> float | None:
        """``min_score`` as scores are kept: rounded to single precision."""
        return None if self.min_score is None else float(np.float32(self.min_score))

    def __post_init__(self) -> None:
        for name in ("sources", "sides", "videos", "labels"):
            value = getattr(self, name)
            if isinstance(value, str):
                raise HandsimError(
                    f"the filter's {name} are one string {value!r}; give a tuple: ({value!r},)"
                )
        for side in self.sides or ():
            if side not in SIDES:
                raise HandsimError(f"the filter asks for side {side!r}; it is 'left' or 'right'")
        if self.min_score is not None and not (math.isfinite(self.min_score) and 0 <= self.min_score <= 1):
            raise HandsimError(f"the filter's min_score is {self.min_score}; it lies between 0 and 1")


@dataclass(frozen=True)
class SearchOptions:
    """How to search, and which hands may be answered.

    Raises HandsimError for a value out of its bounds, or for two that exclude each other.
    """

    filter: Filter | None = None
    """Conditions on the hands themselves."""
    one_per_video: bool = False
    """Answer only the nearest hand of each video."""
    min_distance: float = 0.0
    """Leave out what is nearer than this. With ``max_distance`` a band: hard negatives lie in one."""
    max_distance: float | None = None
    """Leave out what is further than this, in the index's embedding."""
    diversity: float = 0.0
    """0 answers the nearest hands; towards 1, hands that are near but unlike each other: maximal marginal
    relevance (Carbonell and Goldstein, SIGIR 1998) among the nearest ten times as many."""
    exact: bool = False
    """Compare all hands instead of walking the graph."""
    ef: int | None = None
    """Candidates looked at on the graph; None takes what the index was built for."""
    with_payload: bool = False
    """Answer what is known of each hand, too."""

    def __post_init__(self) -> None:
        if self.ef is not None and self.ef < 1:
            raise HandsimError(f"ef is {self.ef}; it counts the candidates to look at, so it is at least 1")
        for name, low, high in (
            ("min_distance", 0.0, math.inf),
            ("max_distance", self.min_distance, math.inf),
            ("diversity", 0.0, 1.0),
        ):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and low <= value <= high):
                raise HandsimError(f"{name} is {value}; it lies between {low:g} and {high:g}")
        if self.diversity and (self.one_per_video or self.min_distance):
            raise HandsimError(
                "diversity goes neither with one_per_video nor with min_distance; choose one of them"
            )

    @property
    def generous_max_distance(self) -> float | None:
        """``max_distance``, or a hair more: engines round it to single precision before they cut."""
        return None if self.max_distance is None else self.max_distance * (1 + 1e-5) + 1e-6


DEFAULT_OPTIONS: Final = SearchOptions()

MMR_CANDIDATES: Final = 10
"""How many times as many hands as asked for diversity chooses among."""
_MOST_CANDIDATES: Final = 16_384


def mmr_candidates(k: int) -> int:
    """How many hands diversity chooses k among; raises HandsimError for more than a server compares."""
    if k > _MOST_CANDIDATES:
        raise HandsimError(f"k is {k}; with diversity it is at most {_MOST_CANDIDATES:,}")
    return min(k * MMR_CANDIDATES, _MOST_CANDIDATES)


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

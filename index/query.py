"""What a search is asked, and what it answers, alike for all engines.

`Filter` and `SearchOptions` hold the conditions of a search, `Neighbors` the answers to many queries at once,
as arrays [Q, K]. Distances are Euclidean in the index's embedding: smaller is nearer.
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

NO_HAND: Final = 2**64 - 1
"""The id in a place without a neighbour; real ids have 63 bits."""

MIN_POSITIVE_DISTANCE: Final = 0.001
"""Below it mining takes no hand as a positive, and `index verify` counts. Half a hundredth of a pixel in
every joint of a pose: the same file twice, no second look at a hand. In the unit of an embedding of images it
is the same picture, too: what was compressed or cut anew lies further, and only `handsim pool duplicates`
finds it."""

FULL_SCAN_SHARE: Final = 0.25
"""Of a version's hands: if a filter admits no more, these are compared one by one. Of 200,000 hands the graph
finds 0.95 to 0.99 of the nearest through one that admits a fifth, 0.3 to 0.6 through one that admits a
twentieth (`benchmarks.filters`)."""

MMR_CANDIDATES: Final = 10
"""How many times as many hands as asked for diversity chooses among."""
_MAX_MMR_CANDIDATES: Final = 16_384


@dataclass(frozen=True)
class Filter:
    """Conditions that every hand of an answer meets. None sets no condition, an empty tuple admits no hand.

    Raises HandsimError for an invalid side or score, and for one string where several are expected.
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
    hands: frozenset[int] | None = None
    """These hands alone, by their ids; those that the index lacks meet no query. A frozen set remembers its
    hash, by which a version remembers how many hands a filter admits."""
    not_hands: frozenset[int] | None = None
    """None of these hands."""

    def __post_init__(self) -> None:
        for name in ("sources", "sides", "videos", "labels"):
            value = getattr(self, name)
            if isinstance(value, str):
                raise HandsimError(
                    f"the filter's {name} are one string {value!r}; give a tuple: ({value!r},)"
                )
        for side in self.sides or ():
            if side not in SIDES:
                raise HandsimError(f"the filter asks for side {side!r}; in an index it is 'left' or 'right'")
        if self.min_score is not None and not (math.isfinite(self.min_score) and 0 <= self.min_score <= 1):
            raise HandsimError(f"the filter's min_score is {self.min_score}; it lies between 0 and 1")

    @property
    def allowed_values(self) -> list[tuple[str, list[str]]]:
        """(field of the payload, values it may have) for each condition that names values."""
        conditions = (
            ("source", self.sources),
            ("side", self.sides),
            ("video", self.videos),
            ("label", self.labels),
        )
        return [(field, list(values)) for field, values in conditions if values is not None]

    @property
    def stored_min_score(self) -> float | None:
        """``min_score`` in the precision in which an index stores scores: single."""
        return None if self.min_score is None else float(np.float32(self.min_score))


@dataclass(frozen=True)
class SearchOptions:
    """How to search, and which hands the answer may hold.

    Raises HandsimError for a value out of its bounds, or for two that exclude each other.
    """

    filter: Filter | None = None
    """Conditions on the hands themselves."""
    one_per_video: bool = False
    """Return only the nearest hand of each video."""
    min_distance: float = 0.0
    """Leave out what is nearer than this. With ``max_distance`` a band: hard negatives lie in one."""
    max_distance: float | None = None
    """Leave out what is further than this, in the index's embedding."""
    diversity: float = 0.0
    """0 returns the nearest hands; towards 1, hands that are near but unlike each other: maximal marginal
    relevance (Carbonell and Goldstein, SIGIR 1998) among the nearest ten times as many."""
    exact: bool = False
    """Compare all hands instead of searching the graph."""
    ef: int | None = None
    """Candidates examined in the graph, of those that pass the filter; None takes the index's own number."""
    with_payload: bool = False
    """Return the payload of each hand, too."""

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
    def padded_max_distance(self) -> float | None:
        """Slightly more than ``max_distance``: engines round it to single precision before they compare."""
        return None if self.max_distance is None else self.max_distance * (1 + 1e-5) + 1e-6


DEFAULT_OPTIONS: Final = SearchOptions()


def mmr_candidates(k: int) -> int:
    """How many hands diversity chooses k among; raises HandsimError for more than a server compares."""
    if k > _MAX_MMR_CANDIDATES:
        raise HandsimError(f"k is {k}; with diversity it is at most {_MAX_MMR_CANDIDATES:,}")
    return min(k * MMR_CANDIDATES, _MAX_MMR_CANDIDATES)


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
    """Only where the search asked for it."""


@dataclass(frozen=True, eq=False)
class Neighbors:
    """The K nearest hands of each of Q queries, nearest first; empty places come last."""

    hand_ids: NDArray[np.uint64]
    """[Q, K]; `NO_HAND` in an empty place."""
    distances: NDArray[np.float32]
    """[Q, K] Euclidean, in the index's embedding; infinity in an empty place."""
    payloads: list[list[Payload]] | None = None
    """For each query one for each of its hands (so at most K), only where the search asked for them."""

    @classmethod
    def gather(
        cls,
        answers: Sequence[tuple[Sequence[int], Sequence[float]]],
        k: int,
        payloads: list[list[Payload]] | None = None,
    ) -> "Neighbors":
        """Lay ragged answers, (hand ids, distances) for each query and nearest first, into [Q, k]."""
        hand_ids = list(chain.from_iterable(ids for ids, _ in answers))
        distances = list(chain.from_iterable(far for _, far in answers))
        return cls.lay_out(hand_ids, distances, [len(ids) for ids, _ in answers], k, payloads)

    @classmethod
    def lay_out(
        cls,
        hand_ids: Sequence[int],
        distances: Sequence[float],
        counts: Sequence[int],
        k: int,
        payloads: list[list[Payload]] | None = None,
    ) -> "Neighbors":
        """As `gather`, from the answers of all queries one after the other, and how many each query has."""
        filled = np.arange(k) < np.array(counts, dtype=np.intp)[:, None]
        neighbors = cls(
            np.full(filled.shape, NO_HAND, dtype=np.uint64),
            np.full(filled.shape, np.inf, dtype=np.float32),
            payloads,
        )
        neighbors.hand_ids[filled] = np.array(hand_ids, dtype=np.uint64)
        neighbors.distances[filled] = np.array(distances, dtype=np.float32)
        return neighbors

    @property
    def is_found(self) -> NDArray[np.bool_]:
        """[Q, K] which places hold a hand."""
        return np.isfinite(self.distances)

    def __len__(self) -> int:
        return len(self.hand_ids)

    def __getitem__(self, query: int) -> list[Neighbor]:
        """The neighbours of one query, nearest first, without the empty places."""
        count = int(self.is_found[query].sum())
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

    def keep(self, mask: NDArray[np.bool_]) -> "Neighbors":
        """The neighbours where ``mask`` [Q, K] holds, in their order, then empty places."""
        mask = mask & self.is_found
        payloads = self.payloads and [
            [payload for payload, stays in zip(row, stay, strict=False) if stays]
            for row, stay in zip(self.payloads, mask.tolist(), strict=True)
        ]
        # A stable sort by "is removed" moves those behind the others.
        order = np.argsort(~mask, axis=1, kind="stable")
        hand_ids = np.where(mask, self.hand_ids, np.uint64(NO_HAND))
        distances = np.where(mask, self.distances, np.float32(np.inf))
        return Neighbors(
            np.take_along_axis(hand_ids, order, axis=1),
            np.take_along_axis(distances, order, axis=1),
            payloads,
        )

    def sort_by_distance(self) -> "Neighbors":
        """The same neighbours, nearest first."""
        order = np.argsort(self.distances, axis=1, kind="stable")
        payloads = self.payloads and [
            [row[place] for place in places[: len(row)]]
            for row, places in zip(self.payloads, order.tolist(), strict=True)
        ]
        return Neighbors(
            np.take_along_axis(self.hand_ids, order, axis=1),
            np.take_along_axis(self.distances, order, axis=1),
            payloads,
        )

    def resize(self, k: int, *, keep_payloads: bool = True) -> "Neighbors":
        """Exactly k places for each query: the furthest neighbours cut off, or empty places added."""
        missing = ((0, 0), (0, max(0, k - self.hand_ids.shape[1])))
        return Neighbors(
            np.pad(self.hand_ids, missing, constant_values=NO_HAND)[:, :k],
            np.pad(self.distances, missing, constant_values=np.inf)[:, :k],
            [row[:k] for row in self.payloads] if keep_payloads and self.payloads is not None else None,
        )

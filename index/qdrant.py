"""What Qdrant Edge and a Qdrant server have in common: stored points, and how a version is searched."""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from itertools import chain
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from index.points import PointBatch
from index.query import FULL_SCAN_SHARE, Filter, Neighbors, Payload, SearchOptions
from index.version import IndexVersion

StoredPoint = Any
"""A point as either engine returns it. Their types allow every kind of id, vector and payload; those that
`handsim` wrote are an int, a list of floats and a dict."""

Query = tuple[Any, Sequence[str], int | None]
"""What is searched, in the engine's own type; the videos and the hand to leave out."""

_BATCH_QUERIES: Final = 512
"""Queries in one call. Edge holds Python's lock meanwhile: some 20 ms with this many."""
_BATCH_COMPARISONS: Final = 200_000_000
"""In one call of an exact search: some seconds of a core, within the time that a server is given."""
_HANDS_PER_LOOKUP: Final = 1000
_COUNTED_FILTERS: Final = 256
"""Filters whose share of the hands an open version remembers."""


class QdrantVersion(IndexVersion):
    """A version in either engine, which only says how a query looks in its own types, and runs it."""

    _random_query: ClassVar[Any]
    """Asks for random hands."""

    def _nearest(
        self,
        vectors: NDArray[np.float32],
        k: int,
        not_videos: Sequence[Sequence[str]],
        options: SearchOptions,
        not_hands: NDArray[np.uint64] | None = None,
    ) -> Neighbors:
        hands = [None] * len(vectors) if not_hands is None else not_hands.tolist()
        options = self._widen(options)
        hand_ids: list[int] = []
        distances: list[float] = []
        counts: list[int] = []
        payloads: list[list[Payload]] = []
        step = _BATCH_QUERIES
        if options.exact:
            step = min(step, max(1, _BATCH_COMPARISONS // len(self)))
        for start in range(0, len(vectors), step):
            rows = slice(start, start + step)
            nearest = self._nearest_queries(vectors[rows].tolist(), k, options.diversity)
            answers = self._query(list(zip(nearest, not_videos[rows], hands[rows], strict=True)), k, options)
            hits = list(chain.from_iterable(answers))
            hand_ids += [hit.id for hit in hits]
            distances += [hit.score for hit in hits]  # for Euclidean vectors it is the distance itself
            counts += map(len, answers)
            if options.with_payload:
                payloads += [[decode_payload(hit.payload) for hit in hits] for hits in answers]
        return Neighbors.lay_out(hand_ids, distances, counts, k, payloads if options.with_payload else None)

    def _recommend(
        self,
        positives: NDArray[np.float32],
        negatives: NDArray[np.float32],
        k: int,
        not_videos: Sequence[str],
        options: SearchOptions,
    ) -> PointBatch:
        query = self._recommend_query(positives.tolist(), negatives.tolist())
        # The score of a recommendation is no distance.
        options = replace(self._widen(options), max_distance=None)
        (points,) = self._query([(query, not_videos, None)], k, options, with_vectors=True)
        return self._to_batch(points, True, options.with_payload)

    def _widen(self, options: SearchOptions) -> SearchOptions:
        """Options by which a search finds through its filter what it finds without one.

        What a filter rules out tears the graph apart. Up to `FULL_SCAN_SHARE` of the hands are compared one
        by one. Of more, as many candidates pass the filter as a search without one looks at.
        """
        if options.filter is None or options.exact:
            return options
        share = self._admitted_share(options.filter)
        if share <= FULL_SCAN_SHARE:
            return replace(options, exact=True)
        ef = options.ef or self.default_ef
        return replace(options, ef=ef and math.ceil(ef / share))

    @cached_property
    def _admitted_share(self) -> Callable[[Filter], float]:
        """The share of the hands that a filter admits, counted once for each filter."""
        return lru_cache(_COUNTED_FILTERS)(lambda filter: self._count(filter) / len(self))

    def _look_up(self, hand_ids: NDArray[np.uint64]) -> dict[int, tuple[Sequence[float], Payload]]:
        points: list[StoredPoint] = []
        for start in range(0, len(hand_ids), _HANDS_PER_LOOKUP):
            points += self._retrieve(hand_ids[start : start + _HANDS_PER_LOOKUP].tolist())
        return {point.id: (point.vector, decode_payload(point.payload)) for point in points}

    def _sample(self, count: int, filter: Filter | None) -> NDArray[np.uint64]:
        (points,) = self._query([(self._random_query, (), None)], count, SearchOptions(filter))
        return np.array([point.id for point in points], dtype=np.uint64)

    def _to_batch(self, points: Sequence[StoredPoint], with_vectors: bool, with_payload: bool) -> PointBatch:
        vectors = [point.vector for point in points] if with_vectors else []
        return PointBatch(
            np.array([point.id for point in points], dtype=np.uint64),
            np.array(vectors, dtype=np.float32).reshape(len(points), self.info.dimension if vectors else 0),
            [decode_payload(point.payload) for point in points] if with_payload else [],
        )

    @abstractmethod
    def _nearest_queries(self, vectors: list[list[float]], k: int, diversity: float) -> Sequence[Any]:
        """Each asks for the hands nearest to a vector."""

    @abstractmethod
    def _recommend_query(self, positives: list[list[float]], negatives: list[list[float]]) -> Any:
        """Asks for the best by best-score recommendation."""

    @abstractmethod
    def _query(
        self, queries: Sequence[Query], limit: int, options: SearchOptions, *, with_vectors: bool = False
    ) -> list[list[StoredPoint]]:
        """At most ``limit`` points for each query."""

    @abstractmethod
    def _count(self, filter: Filter) -> int:
        """How many hands meet a filter."""

    @abstractmethod
    def _retrieve(self, hand_ids: list[int]) -> list[StoredPoint]:
        """Those of the hands that the version holds, with vectors and payloads."""


def encode_payload(payload: Payload) -> dict[str, Any]:
    """What is written of a hand: a field that is None is left out."""
    return {key: value for key, value in payload.items() if value is not None}


def decode_payload(stored: Mapping[str, Any]) -> Payload:
    """What `encode_payload` wrote."""
    return Payload(
        video=stored["video"],
        source=stored["source"],
        side=stored["side"],
        label=stored.get("label"),
        score=stored["score"],
        frame=stored["frame"],
    )

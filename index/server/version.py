"""Searching one version of an index on a server.

Our words for what a search asks, in Qdrant's, and Qdrant's answers in ours.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models

from handsim.embedding import embedding_from_json
from handsim.errors import HandsimError
from index.points import PointBatch
from index.query import Filter, Neighbors, Payload, SearchOptions, mmr_candidates
from index.server.client import Connection
from index.server.collection import VersionRecord, damaged
from index.server.leases import Lease
from index.version import IndexVersion


def nearest_query(vector: list[float], k: int, diversity: float) -> models.NearestQuery:
    """The hands nearest to a vector [D] or, with diversity, near and unlike each other."""
    if not diversity:
        return models.NearestQuery(nearest=vector)
    return models.NearestQuery(
        nearest=vector, mmr=models.Mmr(diversity=diversity, candidates_limit=mmr_candidates(k))
    )


def search_params(options: SearchOptions, default_ef: int) -> models.SearchParams:
    """How to look for them."""
    return models.SearchParams(
        hnsw_ef=options.ef or default_ef,
        exact=options.exact,
        # What a filter rules out tears holes into the graph; ACORN steps over them.
        acorn=models.AcornSearchParams(enable=True, max_selectivity=1.0),
    )


def qdrant_filter(
    filter: Filter | None, not_videos: Sequence[str] = (), not_hand: int | None = None
) -> models.Filter:
    """The conditions on the hands answered."""
    must_not: list[models.Condition] = []
    if not_videos:
        must_not.append(models.FieldCondition(key="video", match=_among(not_videos)))
    if not_hand is not None:
        must_not.append(models.HasIdCondition(has_id=[not_hand]))
    return models.Filter(must=[*_conditions(filter)], must_not=must_not)


def _conditions(filter: Filter | None) -> list[models.FieldCondition]:
    if filter is None:
        return []
    conditions = [
        models.FieldCondition(key=field, match=models.MatchAny(any=values))
        for field, values in filter.choices
    ]
    if filter.least_score is not None:
        at_least = models.Range(gte=filter.least_score)
        conditions.append(models.FieldCondition(key="score", range=at_least))
    return conditions


def _among(values: Sequence[str]) -> models.MatchValue | models.MatchAny:
    return models.MatchValue(value=values[0]) if len(values) == 1 else models.MatchAny(any=list(values))


def stored_payload(payload: Payload) -> dict[str, Any]:
    """What is written of a hand: what is known of it."""
    return {key: value for key, value in payload.items() if value is not None}


def known_payload(stored: Mapping[str, Any] | None) -> Payload:
    """What was written of a hand."""
    assert stored is not None
    return Payload(
        video=stored["video"],
        source=stored["source"],
        side=stored["side"],
        label=stored.get("label"),
        score=stored["score"],
        frame=stored["frame"],
    )


_QUERIES_AT_ONCE: Final = 256
_HANDS_AT_ONCE: Final = 1000

_Stored = Any
"""A point as the client returns it. Its types allow every kind of id, vector and payload; ours are the
int, list of floats and dict that `index.server.build` wrote."""


class ServerVersion(IndexVersion):
    """A version on a server, always asked by its own collection's name, never by the alias.

    So all of an answer comes from one version, whatever is published meanwhile. Threads may share it;
    across a fork open another one in each process: gRPC does not outlive a fork.
    """

    def __init__(
        self,
        connection: Connection,
        collection: str,
        name: str,
        record: VersionRecord,
        lease: Lease,
        *,
        is_current: bool,
        address: str | None = None,
        folders: Iterable[str | Path] = (),
    ) -> None:
        """What ``record`` tells of, held by ``lease``, which is released with it.

        Raises HandsimError when its embedding cannot be restored; ``folders`` may hold the weights of one,
        ``address`` is what another process reaches the index by.
        """
        self._connection = connection
        self._collection = collection
        self._lease = lease
        self.address = address
        self._default_ef = record.settings.ef
        try:
            self.embedding = embedding_from_json(json.loads(record.embedding), folders)
        except (HandsimError, ValueError) as error:
            raise damaged(collection, f"its embedding cannot be read: {error}") from error
        if self.embedding.fingerprint != record.embedding_fingerprint:
            raise damaged(collection, "its embedding is not the one it was built with")
        self.info = record.info(name, is_current=is_current)

    def close(self) -> None:
        """Let the version be removed; the connection stays the catalog's."""
        self._lease.release()

    def indexed_points(self) -> int:
        """How many hands are linked into the graph, about; the others are compared one by one."""
        info = self._connection.call(lambda client: client.get_collection(self._collection))
        return info.indexed_vectors_count or 0

    def _nearest(
        self,
        vectors: NDArray[np.float32],
        k: int,
        not_videos: Sequence[Sequence[str]],
        options: SearchOptions,
        not_hands: NDArray[np.uint64] | None = None,
    ) -> Neighbors:
        hands = [None] * len(vectors) if not_hands is None else not_hands.tolist()
        params = search_params(options, self._default_ef)
        answers: list[list[_Stored]] = []
        for start in range(0, len(vectors), _QUERIES_AT_ONCE):
            rows = slice(start, start + _QUERIES_AT_ONCE)
            requests = [
                models.QueryRequest(
                    query=nearest_query(vector, k, options.diversity),
                    filter=qdrant_filter(options.filter, videos, hand),
                    params=params,
                    limit=k,
                    with_payload=options.with_payload,
                    score_threshold=options.generous_max_distance,
                )
                for vector, videos, hand in zip(
                    vectors[rows].tolist(), not_videos[rows], hands[rows], strict=True
                )
            ]
            answers += [response.points for response in self._ask(requests)]
        # Qdrant's score for Euclidean vectors is the distance itself: nothing to convert but the shape.
        return Neighbors.gather(
            [([point.id for point in hits], [point.score for point in hits]) for hits in answers],
            k,
            [[known_payload(hit.payload) for hit in hits] for hits in answers]
            if options.with_payload
            else None,
        )

    def _recommend(
        self,
        positives: NDArray[np.float32],
        negatives: NDArray[np.float32],
        k: int,
        not_videos: Sequence[str],
        options: SearchOptions,
    ) -> PointBatch:
        examples = models.RecommendInput(
            positive=positives.tolist(),
            negative=negatives.tolist(),
            strategy=models.RecommendStrategy.BEST_SCORE,
        )
        request = models.QueryRequest(
            query=models.RecommendQuery(recommend=examples),
            filter=qdrant_filter(options.filter, not_videos),
            params=search_params(options, self._default_ef),
            limit=k,
            with_payload=options.with_payload,
            with_vector=True,
        )
        (response,) = self._ask([request])
        return self._batch(response.points, with_vectors=True, with_payload=options.with_payload)

    def _look_up(self, hand_ids: NDArray[np.uint64]) -> dict[int, tuple[Sequence[float], Payload]]:
        known: dict[int, tuple[Sequence[float], Payload]] = {}
        for start in range(0, len(hand_ids), _HANDS_AT_ONCE):
            known.update(self._look_up_some(hand_ids[start : start + _HANDS_AT_ONCE].tolist()))
        return known

    def _look_up_some(self, hand_ids: list[int]) -> Iterable[tuple[int, tuple[Sequence[float], Payload]]]:
        records: list[_Stored] = self._connection.call(
            lambda client: client.retrieve(self._collection, hand_ids, with_payload=True, with_vectors=True)
        )
        return [(record.id, (record.vector, known_payload(record.payload))) for record in records]

    def _sample(self, count: int, filter: Filter | None) -> NDArray[np.uint64]:
        request = models.QueryRequest(
            query=models.SampleQuery(sample=models.Sample.RANDOM),
            filter=qdrant_filter(filter),
            limit=count,
            with_payload=False,
        )
        (response,) = self._ask([request])
        return np.array([point.id for point in response.points], dtype=np.uint64)

    def _page(
        self, start: int, limit: int, filter: Filter | None, with_vectors: bool, with_payload: bool
    ) -> tuple[PointBatch, int | None]:
        records, following = self._connection.call(
            lambda client: client.scroll(
                self._collection,
                scroll_filter=qdrant_filter(filter),
                offset=start,
                limit=limit,
                with_vectors=with_vectors,
                with_payload=with_payload,
            )
        )
        assert following is None or isinstance(following, int)
        return self._batch(records, with_vectors, with_payload), following

    def _ask(self, requests: list[models.QueryRequest]) -> list[models.QueryResponse]:
        return self._connection.call(lambda client: client.query_batch_points(self._collection, requests))

    def _batch(self, stored: Sequence[_Stored], with_vectors: bool, with_payload: bool) -> PointBatch:
        vectors = [point.vector for point in stored] if with_vectors else []
        return PointBatch(
            np.array([point.id for point in stored], dtype=np.uint64),
            np.array(vectors, dtype=np.float32).reshape(len(stored), self.info.dimension if vectors else 0),
            [known_payload(point.payload) for point in stored] if with_payload else [],
        )

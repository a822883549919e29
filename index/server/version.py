"""Searching one version of an index on a server."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models

from handsim.embedding import embedding_from_json
from handsim.errors import HandsimError
from index.points import PointBatch
from index.qdrant import StoredPoint, to_batch, to_lookup, to_neighbors
from index.query import Filter, Neighbors, Payload, SearchOptions, mmr_candidates
from index.server.client import Connection
from index.server.collection import VersionCollection, VersionRecord, damaged_error
from index.server.leases import ReaderLease
from index.version import IndexVersion

_BATCH_QUERIES: Final = 256
_HANDS_PER_LOOKUP: Final = 1000


class ServerVersion(IndexVersion):
    """A version on a server, always queried by its own collection's name, never by the alias.

    So every answer comes from one version, whatever is published meanwhile. Threads may share it; gRPC does
    not survive a fork: open another one in each process.
    """

    def __init__(
        self,
        connection: Connection,
        collection: str,
        name: str,
        record: VersionRecord,
        lease: ReaderLease,
        *,
        is_current: bool,
        address: str | None = None,
        folders: Iterable[str | Path] = (),
    ) -> None:
        """Take over ``lease``, which `close` releases.

        ``folders`` may hold the weights of its embedding, ``address`` is what another process opens the
        index by. Raises HandsimError when the embedding cannot be restored.
        """
        self._connection = connection
        self._collection = collection
        self._lease = lease
        self.address = address
        self._default_ef = record.settings.ef
        try:
            self.embedding = embedding_from_json(json.loads(record.embedding), folders)
        except (HandsimError, ValueError) as error:
            raise damaged_error(collection, f"its embedding cannot be read: {error}") from error
        if self.embedding.fingerprint != record.embedding_fingerprint:
            raise damaged_error(collection, "its embedding is not the one it was built with")
        self.info = record.info(name, is_current=is_current)

    def indexed_points(self) -> int:
        """About how many hands are in the graph; a search compares the others one by one."""
        info = VersionCollection(self._connection, self._collection).read_info()
        return info.indexed_vectors_count or 0

    def close(self) -> None:
        """Release the lease; the connection stays the catalog's."""
        self._lease.release()

    def _nearest(
        self,
        vectors: NDArray[np.float32],
        k: int,
        not_videos: Sequence[Sequence[str]],
        options: SearchOptions,
        not_hands: NDArray[np.uint64] | None = None,
    ) -> Neighbors:
        hands = [None] * len(vectors) if not_hands is None else not_hands.tolist()
        params = self._params(options)
        answers: list[list[StoredPoint]] = []
        for start in range(0, len(vectors), _BATCH_QUERIES):
            rows = slice(start, start + _BATCH_QUERIES)
            requests = [
                models.QueryRequest(
                    query=_nearest_query(vector, k, options.diversity),
                    filter=_filter(options.filter, videos, hand),
                    params=params,
                    limit=k,
                    with_payload=options.with_payload,
                    score_threshold=options.padded_max_distance,
                )
                for vector, videos, hand in zip(
                    vectors[rows].tolist(), not_videos[rows], hands[rows], strict=True
                )
            ]
            answers += self._query(requests)
        return to_neighbors(answers, k, options.with_payload)

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
            filter=_filter(options.filter, not_videos),
            params=self._params(options),
            limit=k,
            with_payload=options.with_payload,
            with_vector=True,
        )
        (points,) = self._query([request])
        return to_batch(points, self.info.dimension, True, options.with_payload)

    def _look_up(self, hand_ids: NDArray[np.uint64]) -> dict[int, tuple[Sequence[float], Payload]]:
        points: list[StoredPoint] = []
        for start in range(0, len(hand_ids), _HANDS_PER_LOOKUP):
            part = hand_ids[start : start + _HANDS_PER_LOOKUP].tolist()
            points += self._retrieve(part)
        return to_lookup(points)

    def _retrieve(self, hand_ids: list[int]) -> list[StoredPoint]:
        return self._connection.call(
            lambda client: client.retrieve(self._collection, hand_ids, with_payload=True, with_vectors=True)
        )

    def _sample(self, count: int, filter: Filter | None) -> NDArray[np.uint64]:
        request = models.QueryRequest(
            query=models.SampleQuery(sample=models.Sample.RANDOM),
            filter=_filter(filter),
            limit=count,
            with_payload=False,
        )
        (points,) = self._query([request])
        return np.array([point.id for point in points], dtype=np.uint64)

    def _page(
        self, start: int, limit: int, filter: Filter | None, with_vectors: bool, with_payload: bool
    ) -> tuple[PointBatch, int | None]:
        points, next_start = self._connection.call(
            lambda client: client.scroll(
                self._collection,
                scroll_filter=_filter(filter),
                offset=start,
                limit=limit,
                with_vectors=with_vectors,
                with_payload=with_payload,
            )
        )
        assert next_start is None or isinstance(next_start, int)
        return to_batch(points, self.info.dimension, with_vectors, with_payload), next_start

    def _query(self, requests: list[models.QueryRequest]) -> list[list[StoredPoint]]:
        responses = self._connection.call(
            lambda client: client.query_batch_points(self._collection, requests)
        )
        return [list(response.points) for response in responses]

    def _params(self, options: SearchOptions) -> models.SearchParams:
        return models.SearchParams(
            hnsw_ef=options.ef or self._default_ef,
            exact=options.exact,
            # What a filter rules out tears holes into the graph; ACORN steps over them.
            acorn=models.AcornSearchParams(enable=True, max_selectivity=1.0),
        )


def _nearest_query(vector: list[float], k: int, diversity: float) -> models.NearestQuery:
    if not diversity:
        return models.NearestQuery(nearest=vector)
    return models.NearestQuery(
        nearest=vector, mmr=models.Mmr(diversity=diversity, candidates_limit=mmr_candidates(k))
    )


def _filter(
    filter: Filter | None, not_videos: Sequence[str] = (), not_hand: int | None = None
) -> models.Filter:
    must_not: list[models.Condition] = []
    if not_videos:
        must_not.append(models.FieldCondition(key="video", match=_match(not_videos)))
    if not_hand is not None:
        must_not.append(models.HasIdCondition(has_id=[not_hand]))
    return models.Filter(must=[*_conditions(filter)], must_not=must_not)


def _conditions(filter: Filter | None) -> list[models.FieldCondition]:
    if filter is None:
        return []
    conditions = [
        models.FieldCondition(key=field, match=models.MatchAny(any=values))
        for field, values in filter.allowed_values
    ]
    if filter.stored_min_score is not None:
        at_least = models.Range(gte=filter.stored_min_score)
        conditions.append(models.FieldCondition(key="score", range=at_least))
    return conditions


def _match(values: Sequence[str]) -> models.MatchValue | models.MatchAny:
    return models.MatchValue(value=values[0]) if len(values) == 1 else models.MatchAny(any=list(values))

"""Searching one version of an embedded index."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import qdrant_edge as edge
from numpy.typing import NDArray

from handsim.embedding import load_embedding
from handsim.errors import HandsimError
from index.edge import layout
from index.edge.build import convert_full_disk_errors
from index.edge.locks import lock_version
from index.points import PointBatch
from index.qdrant import StoredPoint, to_batch, to_lookup, to_neighbors
from index.query import Filter, Neighbors, Payload, SearchOptions, mmr_candidates
from index.version import IndexVersion

_BATCH_QUERIES: Final = 256
"""Queries in one call. The engine holds Python's lock meanwhile: some 25 ms with this many."""


class EdgeVersion(IndexVersion):
    """A version on disk, opened for reading; any number of processes may have it open."""

    def __init__(self, directory: Path, *, is_current: bool) -> None:
        """Open it and lock it against removal; raises HandsimError when anything is not as it was written.

        Raises FileNotFoundError when it is gone.
        """
        self._lock = lock_version(directory / layout.VERSION_FILE, exclusive=False)
        try:
            self._open(directory, is_current)
        except BaseException:
            self._lock.release()
            raise

    def _open(self, directory: Path, is_current: bool) -> None:
        record = layout.read_record(directory)
        layout.check_files(directory, record)
        try:
            self.embedding = load_embedding(directory / layout.EMBEDDING_FILE)
        except HandsimError as error:
            if isinstance(error.__cause__, OSError):
                raise
            raise layout.damaged_error(directory, f"its embedding cannot be read: {error}") from error
        if self.embedding.fingerprint != record.embedding_fingerprint:
            raise layout.damaged_error(directory, f"{layout.EMBEDDING_FILE} is not the one it was built with")
        self.info = layout.read_info(directory, is_current=is_current)
        self.address = str(directory.parent)
        self._default_ef = record.settings.ef
        self._shard = _load_shard(directory)
        points = self._shard.info().points_count
        if points != record.points:
            raise layout.damaged_error(directory, f"it holds {points:,} of {record.points:,} hands")

    def indexed_points(self) -> int:
        """How many hands are in the graph; a search compares the others one by one."""
        return self._shard.info().indexed_vectors_count

    def close(self) -> None:
        """Release the shard's files and memory, and the lock against removal."""
        self._shard.close()
        self._lock.release()

    def _nearest(
        self,
        vectors: NDArray[np.float32],
        k: int,
        not_videos: Sequence[Sequence[str]],
        options: SearchOptions,
        not_hands: NDArray[np.uint64] | None = None,
    ) -> Neighbors:
        must = _conditions(options.filter)
        params = self._params(options)
        hands = [None] * len(vectors) if not_hands is None else not_hands.tolist()
        answers: list[list[StoredPoint]] = []
        for start in range(0, len(vectors), _BATCH_QUERIES):
            rows = slice(start, start + _BATCH_QUERIES)
            requests = [
                edge.QueryRequest(
                    k,
                    query=_nearest_query(vector, k, options.diversity),
                    filter=_filter(must, videos, hand),
                    params=params,
                    with_payload=options.with_payload,
                    score_threshold=options.padded_max_distance,
                )
                for vector, videos, hand in zip(
                    vectors[rows].tolist(), not_videos[rows], hands[rows], strict=True
                )
            ]
            answers += self._shard.query_batch(edge.QueryBatchRequest(requests))
        return to_neighbors(answers, k, options.with_payload)

    def _recommend(
        self,
        positives: NDArray[np.float32],
        negatives: NDArray[np.float32],
        k: int,
        not_videos: Sequence[str],
        options: SearchOptions,
    ) -> PointBatch:
        examples = edge.RecommendQuery(positives.tolist(), negatives.tolist())
        request = edge.QueryRequest(
            k,
            query=edge.Query.RecommendBestScore(examples),
            filter=_filter(_conditions(options.filter), not_videos),
            params=self._params(options),
            with_payload=options.with_payload,
            with_vector=True,
        )
        return to_batch(self._shard.query(request), self.info.dimension, True, options.with_payload)

    def _look_up(self, hand_ids: NDArray[np.uint64]) -> dict[int, tuple[Sequence[float], Payload]]:
        return to_lookup(self._shard.retrieve(hand_ids.tolist(), with_payload=True, with_vector=True))

    def _sample(self, count: int, filter: Filter | None) -> NDArray[np.uint64]:
        request = edge.QueryRequest(
            count, query=edge.Sample.Random, filter=_filter(_conditions(filter)), with_payload=False
        )
        points: list[StoredPoint] = self._shard.query(request)
        return np.array([point.id for point in points], dtype=np.uint64)

    def _page(
        self, start: int, limit: int, filter: Filter | None, with_vectors: bool, with_payload: bool
    ) -> tuple[PointBatch, int | None]:
        request = edge.ScrollRequest(
            offset=start,
            limit=limit,
            filter=_filter(_conditions(filter)),
            with_vector=with_vectors,
            with_payload=with_payload,
        )
        points, next_start = self._shard.scroll(request)
        assert next_start is None or isinstance(next_start, int)
        return to_batch(points, self.info.dimension, with_vectors, with_payload), next_start

    def _params(self, options: SearchOptions) -> edge.SearchParams:
        return edge.SearchParams(
            hnsw_ef=options.ef or self._default_ef,
            exact=options.exact,
            # What a filter rules out tears holes into the graph: the near-identical frames of a query's own
            # video lie all around it. ACORN steps over them, and half the ef finds as much.
            acorn=edge.AcornSearchParams(enable=True, max_selectivity=1.0),
        )


def _load_shard(directory: Path) -> edge.EdgeShard:
    """Load the engine's files; every error that the engine reports becomes a HandsimError."""
    try:
        with convert_full_disk_errors(directory):
            return edge.EdgeShard.load(str(directory / layout.SHARD))
    except HandsimError:
        raise
    except Exception as error:
        message = _first_line(error)
        if "(os error " in message and "(os error 2)" not in message:  # other than a missing file
            raise layout.unreadable_error(directory / layout.SHARD, message) from error
        raise layout.damaged_error(directory, message) from error
    except BaseException as error:
        # Damage that the engine does not expect makes it panic: PanicException is no Exception.
        if type(error).__name__ != "PanicException":
            raise
        raise layout.damaged_error(directory, _first_line(error)) from error


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


def _nearest_query(vector: list[float], k: int, diversity: float) -> "edge.Query | edge.Mmr":
    if diversity:
        return edge.Mmr(vector, lambda_=1 - diversity, candidates_limit=mmr_candidates(k))
    return edge.Query.Nearest(vector)


def _filter(
    must: "list[edge.ConditionType]", not_videos: Sequence[str] = (), not_hand: int | None = None
) -> edge.Filter:
    must_not: list[edge.ConditionType] = [_is_video(not_videos)] if not_videos else []
    if not_hand is not None:
        must_not.append(edge.HasIdCondition({not_hand}))
    return edge.Filter(must=must, must_not=must_not)


def _conditions(filter: Filter | None) -> "list[edge.ConditionType]":
    if filter is None:
        return []
    conditions: list[edge.ConditionType] = [
        edge.FieldCondition(field, match=edge.MatchAny(values)) for field, values in filter.allowed_values
    ]
    if filter.stored_min_score is not None:
        conditions.append(edge.FieldCondition("score", range=edge.RangeFloat(gte=filter.stored_min_score)))
    return conditions


def _is_video(videos: Sequence[str]) -> "edge.ConditionType":
    match = edge.MatchValue(videos[0]) if len(videos) == 1 else edge.MatchAny(list(videos))
    return edge.FieldCondition("video", match=match)

"""Searching one version of an embedded index."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import qdrant_edge as edge
from numpy.typing import NDArray

from handsim.embedding import Embedding, load_embedding
from handsim.errors import HandsimError, one_line
from index.edge import layout
from index.edge.build import convert_full_disk_errors
from index.edge.columns import COLUMNS_FILE, MappedColumns
from index.edge.locks import lock_version
from index.points import PointBatch
from index.qdrant import QdrantVersion, Query, StoredPoint
from index.query import Filter, SearchOptions, mmr_candidates


class EdgeVersion(QdrantVersion):
    """A version on disk, opened for reading; any number of processes may have it open."""

    _random_query = edge.Sample.Random

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
        record, self.embedding = read_checked(directory)
        self.info = layout.read_info(directory, is_current=is_current)
        self.address = str(directory.parent)
        self.directory = directory
        verification = layout.read_verification(directory)
        self.default_ef = (verification and verification.ef) or record.settings.ef
        self._columns = map_columns(directory)
        self._shard = _load_shard(directory)
        points = self._shard.info().points_count
        if points != record.points:
            raise layout.damaged_error(directory, f"it holds {points:,} of {record.points:,} hands")
        if self._columns is not None and len(self._columns.hand_ids) != points:
            raise layout.damaged_error(directory, f"{COLUMNS_FILE} holds other hands than its shard")
        self.keeps_vectors_twice = self._columns is not None

    def indexed_points(self) -> int:
        return self._shard.info().indexed_vectors_count

    def close(self) -> None:
        self._shard.close()
        self._lock.release()

    def _nearest_queries(
        self, vectors: list[list[float]], k: int, diversity: float
    ) -> "Sequence[edge.Query | edge.Mmr]":
        if diversity:
            limit = mmr_candidates(k)
            return [edge.Mmr(vector, lambda_=1 - diversity, candidates_limit=limit) for vector in vectors]
        return [edge.Query.Nearest(vector) for vector in vectors]

    def _recommend_query(self, positives: list[Any], negatives: list[Any]) -> edge.Query:
        return edge.Query.RecommendBestScore(edge.RecommendQuery(positives, negatives))

    def _query(
        self, queries: Sequence[Query], limit: int, options: SearchOptions, *, with_vectors: bool = False
    ) -> list[list[StoredPoint]]:
        must = _conditions(options.filter)
        params = edge.SearchParams(
            hnsw_ef=options.ef or self.default_ef,
            exact=options.exact,
            # What a filter rules out tears holes into the graph: the near-identical frames of a query's own
            # video lie all around it. ACORN steps over them, and half the ef finds as much.
            acorn=edge.AcornSearchParams(enable=True, max_selectivity=1.0),
        )
        # Hands of one video are mostly searched together, and a filter takes as long as the rest.
        filters = {
            excluded: edge.Filter(must=must, must_not=_exclusions(*excluded))
            for excluded in {(tuple(videos), hand) for _, videos, hand in queries}
        }
        requests = [
            edge.QueryRequest(
                limit,
                query=query,
                filter=filters[tuple(videos), hand],
                params=params,
                with_payload=options.with_payload,
                with_vector=with_vectors,
                score_threshold=options.padded_max_distance,
            )
            for query, videos, hand in queries
        ]
        return self._shard.query_batch(edge.QueryBatchRequest(requests))

    def find(self, hand_ids: NDArray[np.uint64]) -> tuple[NDArray[np.float32], list[str]]:
        return super().find(hand_ids) if self._columns is None else self._columns.find(hand_ids)

    def _count(self, filter: Filter) -> int:
        return self._shard.count(edge.CountRequest(filter=edge.Filter(must=_conditions(filter))))

    def _retrieve(self, hand_ids: list[Any]) -> list[StoredPoint]:
        return self._shard.retrieve(hand_ids, with_payload=True, with_vector=True)

    def _page(
        self, start: int, limit: int, filter: Filter | None, with_vectors: bool, with_payload: bool
    ) -> tuple[PointBatch, int | None]:
        request = edge.ScrollRequest(
            offset=start,
            limit=limit,
            filter=edge.Filter(must=_conditions(filter)),
            with_vector=with_vectors,
            with_payload=with_payload,
        )
        points, next_start = self._shard.scroll(request)
        assert next_start is None or isinstance(next_start, int)
        return self._to_batch(points, with_vectors, with_payload), next_start


def read_checked(directory: Path) -> tuple[layout.VersionRecord, Embedding]:
    """The record and the embedding of a version whose files are all as they were written.

    Raises HandsimError where one is not. The engine is not asked: it may write, also while it opens.
    """
    record = layout.read_record(directory)
    layout.check_files(directory, record)
    try:
        embedding = load_embedding(directory / layout.EMBEDDING_FILE)
    except HandsimError as error:
        if isinstance(error.__cause__, OSError):
            raise
        raise layout.damaged_error(directory, f"its embedding cannot be read: {error}") from error
    if embedding.fingerprint != record.embedding_fingerprint:
        raise layout.damaged_error(directory, f"{layout.EMBEDDING_FILE} is not the one it was built with")
    return record, embedding


def map_columns(directory: Path) -> MappedColumns | None:
    """The mapped columns; None in a version of an older handsim."""
    try:
        return MappedColumns(directory / COLUMNS_FILE)
    except FileNotFoundError:
        return None
    except pa.ArrowInvalid as error:
        raise layout.damaged_error(directory, f"{COLUMNS_FILE} was cut or changed") from error
    except OSError as error:
        raise layout.unreadable_error(directory / COLUMNS_FILE, error.strerror) from error


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
    return one_line(str(error).splitlines()[0]) if str(error) else type(error).__name__


def _conditions(filter: Filter | None) -> "list[edge.ConditionType]":
    if filter is None:
        return []
    conditions: list[edge.ConditionType] = [
        edge.FieldCondition(field, match=edge.MatchAny(values)) for field, values in filter.allowed_values
    ]
    if filter.stored_min_score is not None:
        conditions.append(edge.FieldCondition("score", range=edge.RangeFloat(gte=filter.stored_min_score)))
    if filter.hands is not None:
        conditions.append(edge.HasIdCondition({*filter.hands}))
    if filter.not_hands is not None:
        conditions.append(edge.Filter(must_not=[edge.HasIdCondition({*filter.not_hands})]))
    return conditions


def _exclusions(videos: Sequence[str], hand: int | None) -> "list[edge.ConditionType]":
    conditions: list[edge.ConditionType] = []
    if videos:
        match = edge.MatchValue(videos[0]) if len(videos) == 1 else edge.MatchAny(list(videos))
        conditions.append(edge.FieldCondition("video", match=match))
    if hand is not None:
        conditions.append(edge.HasIdCondition({hand}))
    return conditions

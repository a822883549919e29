"""Searching one version of an index on a server."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from qdrant_client import QdrantClient, models
from qdrant_client import grpc as wire
from qdrant_client.conversions.conversion import RestToGrpc

from handsim.embedding import embedding_from_json
from handsim.errors import HandsimError
from index.info import VersionInfo
from index.points import BATCH_HANDS, PointBatch
from index.qdrant import QdrantVersion, Query, StoredPoint
from index.query import Filter, SearchOptions, mmr_candidates
from index.server.collection import VersionCollection, VersionRecord, damaged_error
from index.server.leases import ReaderLease

_MAJORITY: Final = models.ReadConsistencyType.MAJORITY


_Excluded = tuple[tuple[str, ...], int | None]
"""Videos and the hand that a query leaves out."""


class _Hit(NamedTuple):
    """A point of an answer, where neither payload nor vector was asked for."""

    id: int
    score: float


class ServerVersion(QdrantVersion):
    """A version on a server, always queried by its own collection's name, never by the alias.

    So every answer comes from one version, whatever is published meanwhile. Threads may share it; gRPC does
    not survive a fork: open another one in each process.
    """

    _random_query = models.SampleQuery(sample=models.Sample.RANDOM)

    def __init__(
        self,
        collection: VersionCollection,
        record: VersionRecord,
        info: VersionInfo,
        lease: ReaderLease,
        *,
        address: str | None = None,
        folders: Iterable[str | Path] = (),
    ) -> None:
        """Take over ``lease``, which `close` releases.

        ``folders`` may hold the weights of its embedding, ``address`` is what another process opens the
        index by. Raises HandsimError when the embedding cannot be restored.
        """
        self._collection = collection
        self._connection = collection.connection
        self._lease = lease
        self.address = address
        self.default_ef = record.ef
        try:
            self.embedding = embedding_from_json(json.loads(record.embedding), folders)
        except (HandsimError, ValueError) as error:
            raise damaged_error(collection.name, f"its embedding cannot be read: {error}") from error
        if self.embedding.fingerprint != record.embedding_fingerprint:
            raise damaged_error(collection.name, "its embedding is not the one it was built with")
        self.info = info

    def indexed_points(self) -> int:
        """About how many hands are in the graph; a search compares the others one by one."""
        return self._collection.read_info().indexed_vectors_count or 0

    def close(self) -> None:
        """Release the lease; the connection stays the catalog's."""
        self._lease.release()

    def _nearest_queries(
        self, vectors: list[list[float]], k: int, diversity: float
    ) -> Sequence[list[float] | models.NearestQuery]:
        if not diversity:
            return vectors
        mmr = models.Mmr(diversity=diversity, candidates_limit=mmr_candidates(k))
        return [models.NearestQuery(nearest=vector, mmr=mmr) for vector in vectors]

    def _recommend_query(self, positives: list[Any], negatives: list[Any]) -> models.RecommendQuery:
        strategy = models.RecommendStrategy.BEST_SCORE
        examples = models.RecommendInput(positive=positives, negative=negatives, strategy=strategy)
        return models.RecommendQuery(recommend=examples)

    def _query(
        self, queries: Sequence[Query], limit: int, options: SearchOptions, *, with_vectors: bool = False
    ) -> list[list[StoredPoint]]:
        must = _conditions(options.filter)
        params = models.SearchParams(
            hnsw_ef=options.ef or self.default_ef,
            exact=options.exact,
            # What a filter rules out tears holes into the graph; ACORN steps over them.
            acorn=models.AcornSearchParams(enable=True, max_selectivity=1.0),
        )

        def request(query: Any, excluded: _Excluded) -> models.QueryRequest:
            return models.QueryRequest(
                query=query,
                filter=models.Filter(must=must, must_not=_exclusions(*excluded)),
                params=params,
                limit=limit,
                with_payload=options.with_payload,
                with_vector=with_vectors,
                score_threshold=options.padded_max_distance,
            )

        is_plain = not options.with_payload and not with_vectors
        is_plain = is_plain and all(isinstance(query, list) for query, _, _ in queries)

        def ask(client: QdrantClient) -> list[list[StoredPoint]]:
            if is_plain and client.init_options["prefer_grpc"]:
                return _search_plainly(client, self._collection.name, queries, request)
            requests = [request(query, (tuple(videos), hand)) for query, videos, hand in queries]
            responses = client.query_batch_points(self._collection.name, requests)
            return [list(response.points) for response in responses]

        call = self._connection.call if options.exact else self._connection.read
        return call(ask)

    def _count(self, filter: Filter) -> int:
        condition = models.Filter(must=_conditions(filter))
        return self._connection.call(lambda client: client.count(self._collection.name, condition)).count

    def _retrieve(self, hand_ids: list[int]) -> list[StoredPoint]:
        return self._connection.read(
            lambda client: client.retrieve(
                self._collection.name, hand_ids, with_payload=True, with_vectors=True
            )
        )

    def agreed_batches(self) -> Iterator[PointBatch]:
        """See `IndexVersion.agreed_batches`: only here reading asks more than one replica.

        Raises UnavailableError while a replica is away: what it holds cannot be compared.
        """
        start: int | None = 0
        while start is not None:
            page, start = self._page(start, BATCH_HANDS, None, True, False, _MAJORITY)
            if len(page):
                yield page

    def _page(
        self,
        start: int,
        limit: int,
        filter: Filter | None,
        with_vectors: bool,
        with_payload: bool,
        consistency: models.ReadConsistencyType | None = None,
    ) -> tuple[PointBatch, int | None]:
        points, next_start = self._connection.call(
            lambda client: client.scroll(
                self._collection.name,
                scroll_filter=models.Filter(must=_conditions(filter)),
                offset=start,
                limit=limit,
                with_vectors=with_vectors,
                with_payload=with_payload,
                consistency=consistency,
            )
        )
        assert next_start is None or isinstance(next_start, int)
        return self._to_batch(points, with_vectors, with_payload), next_start


def _search_plainly(
    client: QdrantClient,
    collection: str,
    queries: Sequence[tuple[list[float], Sequence[str], int | None]],
    request: Callable[[list[float], _Excluded], models.QueryRequest],
) -> list[list[StoredPoint]]:
    """Ask for ids and distances near vectors, in gRPC's own messages.

    The client checks and converts every query and every hit: some 95 of the 100 us of a core that a hand then
    takes here. Queries that leave out the same videos differ in their vector alone.
    """
    batch = wire.QueryBatchPoints(collection_name=collection)
    messages: dict[_Excluded, wire.QueryPoints] = {}
    for vector, videos, hand in queries:
        excluded = tuple(videos), hand
        if excluded not in messages:
            messages[excluded] = RestToGrpc.convert_query_request(request(vector, excluded), collection)
        message = batch.query_points.add()
        message.CopyFrom(messages[excluded])
        message.query.nearest.dense.data[:] = vector
    reply = client.grpc_points.QueryBatch(batch, timeout=client.init_options["timeout"])
    return [[_Hit(hit.id.num, hit.score) for hit in answer.result] for answer in reply.result]


def _conditions(filter: Filter | None) -> list[models.Condition]:
    if filter is None:
        return []
    conditions: list[models.Condition] = [
        models.FieldCondition(key=field, match=models.MatchAny(any=values))
        for field, values in filter.allowed_values
    ]
    if filter.stored_min_score is not None:
        at_least = models.Range(gte=filter.stored_min_score)
        conditions.append(models.FieldCondition(key="score", range=at_least))
    if filter.hands is not None:
        conditions.append(models.HasIdCondition(has_id=list(filter.hands)))
    if filter.not_hands is not None:
        conditions.append(models.Filter(must_not=[models.HasIdCondition(has_id=list(filter.not_hands))]))
    return conditions


def _exclusions(videos: Sequence[str], hand: int | None) -> list[models.Condition]:
    conditions: list[models.Condition] = []
    if videos:
        match = models.MatchValue(value=videos[0]) if len(videos) == 1 else models.MatchAny(any=list(videos))
        conditions.append(models.FieldCondition(key="video", match=match))
    if hand is not None:
        conditions.append(models.HasIdCondition(has_id=[hand]))
    return conditions

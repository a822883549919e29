"""A server that speaks as much of Qdrant's gRPC as an index needs, over the client's local mode.

The wire is real: messages, status codes, deadlines, closed sockets. What is behind it is not: exact search,
no indexes. It can be stopped, and started again with its data; `SmallServer.refuse` has it answer as a
cluster that has lost a node does. `small_cluster` makes nodes of it.
"""

import socket
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cache
from http.server import ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

import grpc
from qdrant_client import QdrantClient, models
from qdrant_client import grpc as q
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc

from tests.index.server.refusals import Refusal
from tests.index.server.small_rest import serve

CONSENSUS = ("Create", "Update", "DeleteCollection", "UpdateAliases", "CreateFieldIndex")
"""Changes of collections and aliases, on which the nodes of a cluster agree."""
WRITES = (*CONSENSUS, "Upsert", "Delete")
READS = ("Get", "GetCollection", "Scroll", "Count", "QueryBatch")
"""What asks the shards of a collection."""


@dataclass
class Script:
    """Requests that are refused from now on."""

    refusal: Refusal
    names: Sequence[str]
    times: int
    applied: bool

    def takes(self, name: str) -> bool:
        """Whether it refuses this request; counts it then."""
        if name not in self.names or not self.times:
            return False
        self.times -= 1
        return True


class SmallServer:
    """Listens on two ports of 127.0.0.1 from `start` to `stop`."""

    def __init__(
        self,
        version: str = "1.18.0",
        key: str = "",
        read_key: str = "",
        grpc: bool = True,
        ports: Sequence[int] = (),
    ) -> None:
        """``ports`` are those of the REST and of the gRPC interface; any free ones by default."""
        self.memory = QdrantClient(":memory:")
        self.version = version
        self.key = key
        self.read_key = read_key
        self.calls: list[tuple[str, Any]] = []
        """Names and messages of all requests, in order."""
        self.scripts: list[Script] = []
        self.report: dict[str, Any] = {}
        """What it says of its collections, where that is other than what is so: fields of CollectionInfo."""
        self.transfers: list[models.ShardTransferInfo] = []
        self.ram_kb, self.disk_kb = 8 * 2**20, 100 * 2**20
        self.lock = Lock()
        self.port, self.grpc_port = ports or free_ports(2)
        self._with_grpc = grpc
        self._grpc: Any = None
        self._gateway_port = 0
        self.gateway = cache(self._connect)
        """Its gRPC interface for the REST one, by key."""
        self.rest: ThreadingHTTPServer | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/hands?grpc_port={self.grpc_port}"

    def start(self) -> "SmallServer":
        self._grpc = grpc.server(ThreadPoolExecutor(16), handlers=[_Handler(self)])
        self._gateway_port = self._grpc.add_insecure_port("127.0.0.1:0")
        if self._with_grpc:
            assert self._grpc.add_insecure_port(f"127.0.0.1:{self.grpc_port}")
        self._grpc.start()
        self.rest = serve(self)
        Thread(target=self.rest.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def stop(self) -> None:
        if self._grpc is not None:
            self._grpc.stop(grace=0).wait()
            self._grpc = None
            self.gateway.cache_clear()
        if self.rest is not None:
            self.rest.shutdown()
            self.rest.server_close()
            self.rest = None

    def refuse(
        self, refusal: Refusal, names: Sequence[str] = WRITES, times: int = 1, *, applied: bool = False
    ) -> Script:
        """Refuse the next requests of these names; with ``applied``, do what they ask all the same."""
        self.scripts.append(Script(refusal, names, times, applied))
        return self.scripts[-1]

    def handle(self, name: str, request: Any) -> Any:
        """The reply to a request; raises Refusal."""
        with self.lock:
            self.calls.append((name, request))
            script = next((script for script in self.scripts if script.takes(name)), None)
            if script is not None and not script.applied:
                raise script.refusal
            reply = self.answer(name, request)
            if script is not None:
                raise script.refusal
            return reply

    def answer(self, name: str, request: Any) -> Any:
        """The reply of its store to a request; raises Refusal. The caller holds the lock."""
        _, answer = METHODS[name]
        try:
            return answer(self, request)
        except ValueError as error:
            code = grpc.StatusCode.INVALID_ARGUMENT
            if "not found" in str(error):
                code = grpc.StatusCode.NOT_FOUND
            elif "already exists" in str(error):
                code = grpc.StatusCode.ALREADY_EXISTS
            raise Refusal(code, f"Wrong input: {error}") from error

    def check_key(self, name: str, key: str) -> None:
        """Raise Refusal where this key does not admit a request."""
        if not self.key or key == self.key or name == "HealthCheck":
            return
        if not key or key != self.read_key:
            raise Refusal(grpc.StatusCode.UNAUTHENTICATED, "Invalid API key or JWT")
        if name in WRITES:
            raise Refusal(grpc.StatusCode.PERMISSION_DENIED, "Global manage access is required")

    def read_cluster(self) -> dict[str, Any]:
        """What `GET /cluster` answers."""
        return {"status": "disabled"}

    def read_shards(self, collection: str) -> models.CollectionClusterInfo:
        """The shards of a collection, and where they are."""
        points = self.memory.count(collection, exact=True).count
        shard = models.LocalShardInfo(shard_id=0, points_count=points, state=models.ReplicaState.ACTIVE)
        return models.CollectionClusterInfo(
            peer_id=1, shard_count=1, local_shards=[shard], remote_shards=[], shard_transfers=self.transfers
        )

    def _connect(self, key: str) -> QdrantClient:
        port = self._gateway_port
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the key goes to this process
            return QdrantClient(
                grpc_port=port, prefer_grpc=True, api_key=key or None, https=False, check_compatibility=False
            )

    def __enter__(self) -> "SmallServer":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Handler(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc ships no types
    """Decodes a request, checks its key, and has the server handle it."""

    def __init__(self, server: SmallServer) -> None:
        self._server = server

    def service(self, details: Any) -> Any:
        _, service, name = details.method.split("/")
        if service == "qdrant.Collections" and name in ("Get", "Delete"):
            name += "Collection"
        message, _ = METHODS[name]
        key = dict(details.invocation_metadata).get("api-key", "")

        def handle(request: Any, context: Any) -> Any:
            try:
                self._server.check_key(name, key)
                return self._server.handle(name, request)
            except Refusal as refusal:
                context.abort(refusal.code, refusal.text)

        return grpc.unary_unary_rpc_method_handler(
            handle,
            message.FromString,
            lambda reply: reply if isinstance(reply, bytes) else reply.SerializeToString(),
        )


def _health(server: SmallServer, _: Any) -> Any:
    return q.HealthCheckReply(title="qdrant", version=server.version)


def _create(server: SmallServer, request: Any) -> Any:
    vectors = GrpcToRest.convert_vectors_config(request.vectors_config)
    done = server.memory.create_collection(
        request.collection_name, vectors_config=vectors, metadata=GrpcToRest.convert_payload(request.metadata)
    )
    return q.CollectionOperationResponse(result=done)


def _update(server: SmallServer, request: Any) -> Any:
    metadata = GrpcToRest.convert_payload(request.metadata) if request.metadata else None
    done = server.memory.update_collection(request.collection_name, metadata=metadata)
    return q.CollectionOperationResponse(result=done)


def _delete_collection(server: SmallServer, request: Any) -> Any:
    return q.CollectionOperationResponse(result=server.memory.delete_collection(request.collection_name))


def _get_collection(server: SmallServer, request: Any) -> Any:
    info = server.memory.get_collection(request.collection_name).model_copy(update=server.report)
    return q.GetCollectionInfoResponse(result=RestToGrpc.convert_collection_info(info))


def _get_shards(server: SmallServer, request: Any) -> Any:
    info = server.read_shards(request.collection_name)

    def state(shard: models.LocalShardInfo | models.RemoteShardInfo) -> Any:
        return q.ReplicaState.Value(shard.state.value)

    return q.CollectionClusterInfoResponse(
        peer_id=info.peer_id,
        shard_count=info.shard_count,
        local_shards=[
            q.LocalShardInfo(shard_id=shard.shard_id, points_count=shard.points_count, state=state(shard))
            for shard in info.local_shards
        ],
        remote_shards=[
            q.RemoteShardInfo(shard_id=shard.shard_id, peer_id=shard.peer_id, state=state(shard))
            for shard in info.remote_shards
        ],
        shard_transfers=[
            q.ShardTransferInfo(shard_id=one.shard_id, to=one.to, sync=one.sync, **{"from": one.from_})
            for one in info.shard_transfers
        ],
    )


def _list(server: SmallServer, _: Any) -> Any:
    collections = server.memory.get_collections().collections
    return q.ListCollectionsResponse(
        collections=[q.CollectionDescription(name=collection.name) for collection in collections]
    )


def _aliases(server: SmallServer, _: Any) -> Any:
    aliases = server.memory.get_aliases().aliases
    return q.ListAliasesResponse(aliases=[RestToGrpc.convert_alias_description(alias) for alias in aliases])


def _change_aliases(server: SmallServer, request: Any) -> Any:
    operations = [GrpcToRest.convert_alias_operations(action) for action in request.actions]
    done = server.memory.update_collection_aliases(change_aliases_operations=operations)
    return q.CollectionOperationResponse(result=done)


def _done() -> Any:
    return q.PointsOperationResponse(result=q.UpdateResult(status=q.UpdateStatus.Completed))


def _upsert(server: SmallServer, request: Any) -> Any:
    condition = None
    if request.HasField("update_filter"):
        condition = _filter(GrpcToRest.convert_filter(request.update_filter))
    points = [GrpcToRest.convert_point_struct(point) for point in request.points]
    server.memory.upsert(request.collection_name, points, update_filter=condition)
    return _done()


def _delete(server: SmallServer, request: Any) -> Any:
    selector = GrpcToRest.convert_points_selector(request.points)
    if isinstance(selector, models.FilterSelector):
        selector = models.FilterSelector(filter=_filter(selector.filter))
    server.memory.delete(request.collection_name, selector)
    return _done()


def _get(server: SmallServer, request: Any) -> Any:
    records = server.memory.retrieve(
        request.collection_name,
        [GrpcToRest.convert_point_id(point) for point in request.ids],
        with_payload=request.with_payload.enable,
        with_vectors=request.with_vectors.enable,
    )
    return q.GetResponse(result=[_record(record) for record in records])


def _scroll(server: SmallServer, request: Any) -> Any:
    records, next_point = server.memory.scroll(
        request.collection_name,
        scroll_filter=_filter(GrpcToRest.convert_filter(request.filter)),
        limit=request.limit,
        offset=GrpcToRest.convert_point_id(request.offset) if request.HasField("offset") else None,
        with_payload=request.with_payload.enable,
        with_vectors=request.with_vectors.enable,
    )
    next_id = None if next_point is None else RestToGrpc.convert_extended_point_id(next_point)
    return q.ScrollResponse(result=[_record(record) for record in records], next_page_offset=next_id)


def _filter(filter: Any) -> Any:
    """Without the empty alternatives that decoding adds: nothing passes them in older clients' local mode."""
    return filter.model_copy(update={"should": filter.should or None})


def _record(record: Any) -> Any:
    return RestToGrpc.convert_record(record.model_copy(update={"payload": record.payload or {}}))


def _count(server: SmallServer, request: Any) -> Any:
    condition = _filter(GrpcToRest.convert_filter(request.filter))
    count = server.memory.count(request.collection_name, condition).count
    return q.CountResponse(result=q.CountResult(count=count))


def _query_batch(server: SmallServer, request: Any) -> Any:
    queries = [GrpcToRest.convert_query_points(query) for query in request.query_points]
    for query in queries:
        query.filter = _filter(query.filter)
    answers = server.memory.query_batch_points(request.collection_name, queries)
    return q.QueryBatchResponse(
        result=[
            q.BatchResult(result=[RestToGrpc.convert_scored_point(point) for point in answer.points])
            for answer in answers
        ]
    )


METHODS: dict[str, tuple[Any, Callable[[SmallServer, Any], Any]]] = {
    "HealthCheck": (q.HealthCheckRequest, _health),
    "Create": (q.CreateCollection, _create),
    "Update": (q.UpdateCollection, _update),
    "GetCollection": (q.GetCollectionInfoRequest, _get_collection),
    "CollectionClusterInfo": (q.CollectionClusterInfoRequest, _get_shards),
    "DeleteCollection": (q.DeleteCollection, _delete_collection),
    "Get": (q.GetPoints, _get),
    "List": (q.ListCollectionsRequest, _list),
    "ListAliases": (q.ListAliasesRequest, _aliases),
    "UpdateAliases": (q.ChangeAliases, _change_aliases),
    "Upsert": (q.UpsertPoints, _upsert),
    "Delete": (q.DeletePoints, _delete),
    "Scroll": (q.ScrollPoints, _scroll),
    "Count": (q.CountPoints, _count),
    "QueryBatch": (q.QueryBatchPoints, _query_batch),
    "CreateFieldIndex": (q.CreateFieldIndexCollection, lambda server, request: _done()),
}


def free_ports(count: int) -> list[int]:
    """Ports that follow one another and that nobody uses."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first, ExitStack() as others, suppress(OSError):
            port = first.getsockname()[1]
            for number in range(1, count):
                others.enter_context(socket.create_server(("127.0.0.1", port + number)))
            return list(range(port, port + count))

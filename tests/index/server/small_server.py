"""A server that speaks as much of Qdrant's gRPC as an index needs, over the client's local mode.

The wire is real: messages, status codes, deadlines, closed sockets. What is behind it is not: exact search,
no indexes. It can be stopped, and started again with its data.
"""

import json
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

import grpc
from qdrant_client import QdrantClient, models
from qdrant_client import grpc as q
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc

WRITES = ("Create", "Update", "Delete", "Upsert")


class SmallServer:
    """Listens on two ports of 127.0.0.1 from `start` to `stop`."""

    def __init__(self, version: str = "1.18.0", key: str = "", read_key: str = "", grpc: bool = True) -> None:
        self.memory = QdrantClient(":memory:")
        self.version = version
        self.key = key
        self.read_key = read_key
        self.calls: list[tuple[str, Any]] = []
        """Names and messages of all requests, in order."""
        self.lock = Lock()
        self.port, self.grpc_port = _free_ports()
        self._with_grpc = grpc
        self._grpc: Any = None
        self.rest: ThreadingHTTPServer | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/hands?grpc_port={self.grpc_port}"

    def start(self) -> "SmallServer":
        if self._with_grpc:
            self._grpc = grpc.server(ThreadPoolExecutor(8), handlers=[_Handler(self)])
            assert self._grpc.add_insecure_port(f"127.0.0.1:{self.grpc_port}")
            self._grpc.start()
        self.rest = _rest_server(self)
        Thread(target=self.rest.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def stop(self) -> None:
        if self._grpc is not None:
            self._grpc.stop(grace=0).wait()
            self._grpc = None
        if self.rest is not None:
            self.rest.shutdown()
            self.rest.server_close()
            self.rest = None

    def __enter__(self) -> "SmallServer":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Handler(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc ships no types
    """Finds the function below for a method, decodes, checks the key, and translates errors."""

    def __init__(self, server: SmallServer) -> None:
        self._server = server

    def service(self, details: Any) -> Any:
        _, service, name = details.method.split("/")
        if service == "qdrant.Collections" and name in ("Get", "Delete"):
            name += "Collection"
        message, answer = METHODS[name]
        key = dict(details.invocation_metadata).get("api-key", "")

        def handle(request: Any, context: Any) -> Any:
            if name != "HealthCheck" and self._server.key and key != self._server.key:
                if not key or key != self._server.read_key:
                    context.abort(grpc.StatusCode.UNAUTHENTICATED, "Invalid API key or JWT")
                elif name.startswith(WRITES):
                    context.abort(grpc.StatusCode.PERMISSION_DENIED, "Global manage access is required")
            with self._server.lock:
                self._server.calls.append((name, request))
                try:
                    return answer(self._server, request)
                except ValueError as error:
                    code = grpc.StatusCode.INVALID_ARGUMENT
                    if "not found" in str(error):
                        code = grpc.StatusCode.NOT_FOUND
                    elif "already exists" in str(error):
                        code = grpc.StatusCode.ALREADY_EXISTS
                    context.abort(code, f"Wrong input: {error}")

        return grpc.unary_unary_rpc_method_handler(
            handle, message.FromString, lambda reply: reply.SerializeToString()
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
    info = server.memory.get_collection(request.collection_name)
    return q.GetCollectionInfoResponse(result=RestToGrpc.convert_collection_info(info))


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
    count = server.memory.count(request.collection_name, exact=True).count
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


def _rest_server(server: SmallServer) -> ThreadingHTTPServer:
    class Root(BaseHTTPRequestHandler):
        """Answers with its name and version, and nothing else."""

        def do_GET(self) -> None:
            root = {"title": "qdrant", "version": server.version}
            status, answer = (200, root) if self.path == "/" else (404, {"status": {"error": "no"}})
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Not to the terminal."""

    return ThreadingHTTPServer(("127.0.0.1", server.port), Root)


def _free_ports() -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports

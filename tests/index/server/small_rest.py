"""The REST interface of a small server: what only it tells, and a gateway to the gRPC interface for the rest.

So one request is handled alike, and refused alike, whichever way it came.
"""

import json
import re
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

import grpc
from pydantic import BaseModel, TypeAdapter
from qdrant_client import QdrantClient, models

from tests.index.server.refusals import Refusal

if TYPE_CHECKING:
    from tests.index.server.small_server import SmallServer

Options = dict[str, Any]
"""The query of the address: ``consistency``, ``ordering``."""
Answer = Callable[[QdrantClient, str, Any, Options], Any]
"""Of a collection's name, the body, and the options."""


def _create(client: QdrantClient, name: str, body: Any, options: Options) -> bool:
    fields = dict(models.CreateCollection.model_validate(body))
    vectors = fields.pop("vectors")
    return client.create_collection(name, vectors_config=vectors, **_given(fields))


def _update(client: QdrantClient, name: str, body: Any, options: Options) -> bool:
    fields = dict(models.UpdateCollection.model_validate(body))
    return client.update_collection(
        name, optimizers_config=fields["optimizers_config"], metadata=body.get("metadata")
    )


def _upsert(client: QdrantClient, name: str, body: Any, options: Options) -> Any:
    batch = models.PointsBatch.model_validate(body) if "batch" in body else None
    points = batch.batch if batch else models.PointsList.model_validate(body).points
    condition = models.Filter.model_validate(body["update_filter"]) if body.get("update_filter") else None
    return client.upsert(name, points, update_filter=condition, **options)


def _scroll(client: QdrantClient, name: str, body: Any, options: Options) -> Any:
    request = dict(models.ScrollRequest.model_validate(body))
    request["scroll_filter"] = request.pop("filter")
    request["with_vectors"] = request.pop("with_vector")
    points, offset = client.scroll(name, **_given(request), **options)
    return {"points": points, "next_page_offset": offset}


def _retrieve(client: QdrantClient, name: str, body: Any, options: Options) -> Any:
    request = dict(models.PointRequest.model_validate(body))
    request["with_vectors"] = request.pop("with_vector")
    return client.retrieve(name, **_given(request), **options)


def _count(client: QdrantClient, name: str, body: Any, options: Options) -> Any:
    return client.count(name, models.CountRequest.model_validate(body).filter)


def _query_batch(client: QdrantClient, name: str, body: Any, options: Options) -> Any:
    requests = TypeAdapter(list[models.QueryRequest]).validate_python(body["searches"])
    return client.query_batch_points(name, requests, **options)


def _delete(client: QdrantClient, name: str, body: Any, options: Options) -> Any:
    selector = TypeAdapter(models.PointsSelector).validate_python(body)
    return client.delete(name, selector, **options)


def _change_aliases(client: QdrantClient, name: str, body: Any, options: Options) -> Any:
    operations = models.ChangeAliasesOperation.model_validate(body).actions
    return client.update_collection_aliases(operations)


_NAME: Final = "/collections/([^/]+)"
_ROUTES: Final[dict[tuple[str, str], Answer]] = {
    ("GET", "/collections"): lambda client, *_: client.get_collections(),
    ("GET", "/aliases"): lambda client, *_: client.get_aliases(),
    ("POST", "/collections/aliases"): _change_aliases,
    ("GET", _NAME): lambda client, name, *_: client.get_collection(name),
    ("PUT", _NAME): _create,
    ("PATCH", _NAME): _update,
    ("DELETE", _NAME): lambda client, name, *_: client.delete_collection(name),
    ("GET", f"{_NAME}/cluster"): lambda client, name, *_: client.collection_cluster_info(name),
    ("PUT", f"{_NAME}/index"): lambda client, name, body, _: client.create_payload_index(
        name, body["field_name"], models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD)
    ),
    ("PUT", f"{_NAME}/points"): _upsert,
    ("POST", f"{_NAME}/points"): _retrieve,
    ("POST", f"{_NAME}/points/delete"): _delete,
    ("POST", f"{_NAME}/points/scroll"): _scroll,
    ("POST", f"{_NAME}/points/count"): _count,
    ("POST", f"{_NAME}/points/query/batch"): _query_batch,
}


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    small: "SmallServer"
    """Whose interface this is."""

    def _answer(self) -> None:
        status = 200
        try:
            answer = self._read_answer(urlsplit(self.path).path)
        except Refusal as refusal:
            status, answer = refusal.http_status, {"status": {"error": refusal.text}, "time": 0.0}
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = _answer

    def _read_answer(self, path: str) -> dict[str, Any]:
        """The answer as JSON; raises Refusal."""
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "null")
        if path == "/":
            return {"title": "qdrant", "version": self.small.version}
        key = self.headers.get("api-key", "")
        if path in ("/cluster", "/telemetry"):
            self.small.check_key(path, key)
            result = self.small.read_cluster() if path == "/cluster" else _telemetry(self.small)
        else:
            result = _to_json(self._ask_grpc(path, key, body))
        return {"result": result, "status": "ok", "time": 0.0}

    def _ask_grpc(self, path: str, key: str, body: Any) -> Any:
        options = _read_options(urlsplit(self.path).query)
        for (method, pattern), answer in _ROUTES.items():
            match = re.fullmatch(pattern, path)
            if match and method == self.command:
                try:
                    return answer(self.small.gateway(key), (match.groups() or ("",))[0], body, options)
                except grpc.RpcError as error:
                    raise Refusal(error.code(), error.details()) from None
        raise Refusal(grpc.StatusCode.NOT_FOUND, "Not found")

    def log_message(self, format: str, *args: object) -> None:
        """Not to the terminal."""


def _read_options(query: str) -> Options:
    options: Options = {name: values[0] for name, values in parse_qs(query).items()}
    wish, ordering = options.get("consistency"), options.get("ordering")
    consistency = int(wish) if wish and wish.isdigit() else wish and models.ReadConsistencyType(wish)
    return _given({"consistency": consistency, "ordering": ordering and models.WriteOrdering(ordering)})


def serve(server: "SmallServer") -> ThreadingHTTPServer:
    """The REST interface of a server, at its port."""
    handler = type("SmallHandler", (Handler,), {"small": server})
    return ThreadingHTTPServer(("127.0.0.1", server.port), handler)


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _to_json(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, exclude_none=True)
    if isinstance(value, list):
        return [_to_json(each) for each in value]
    if isinstance(value, dict):
        return {name: _to_json(each) for name, each in value.items()}
    return value


def _telemetry(server: "SmallServer") -> dict[str, Any]:
    """Sizes of the machine are in KB, as a server reports them, those of shards in bytes."""
    collections = server.memory.get_collections().collections
    return {
        "id": "small",
        "app": {
            "name": "qdrant",
            "version": server.version,
            "startup": "2026-01-01T00:00:00Z",
            "system": {
                "is_docker": False,
                "container_runtime": "none",
                "cores": 2,
                "ram_size": server.ram_kb,
                "disk_size": server.disk_kb,
                "cpu_flags": "",
            },
        },
        "collections": {
            "number_of_collections": len(collections),
            "collections": [
                {"id": collection.name, "shards": _shard_telemetry(server, collection.name)}
                for collection in collections
            ],
        },
    }


def _shard_telemetry(server: "SmallServer", name: str) -> list[dict[str, Any]]:
    vectors = server.memory.get_collection(name).config.params.vectors
    bytes_per_hand = 4 * vectors.size if isinstance(vectors, models.VectorParams) else 0
    shards = []
    for shard in server.read_shards(name).local_shards:
        local = {"total_optimized_points": 0, "vectors_size_bytes": shard.points_count * bytes_per_hand}
        shards.append({"id": shard.shard_id, "local": local, "remote": [], "replicate_states": {}})
    return shards

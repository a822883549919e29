"""What is asked of a server's nodes before a build, over the REST port, and what is refused then."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from qdrant_client import QdrantClient

from handsim import HandsimError
from index import IndexSettings
from index.copy import Placement, copy_catalog
from index.plan import BuildPlan
from index.server.capacity import Capacity
from index.server.client import Connection
from tests.index.builders import MemoryServer, SmallData

MILLION = 1_000_000
RAFT = {"term": 1, "commit": 9, "pending_operations": 0, "leader": 1, "role": "Leader", "is_voter": True}
CLUSTER = {
    "status": "enabled",
    "peer_id": 1,
    "peers": {str(peer): {"uri": f"http://node-{peer}:6335/"} for peer in (1, 2, 3)},
    "raft_info": RAFT,
    "consensus_thread_status": {
        "consensus_thread_status": "working",
        "last_update": "2026-01-01T00:00:00Z",
    },
    "message_send_failures": {},
}
SYSTEM = {"is_docker": False, "cores": 2, "ram_size": 1000, "disk_size": 9000, "cpu_flags": ""}
TELEMETRY = {
    "id": "any",
    "app": {
        "name": "qdrant",
        "version": "1.18.3",
        "startup": "2026-01-01T00:00:00Z",
        "system": {**SYSTEM, "container_runtime": "none"},
    },
    "collections": {"number_of_collections": 1},
}


@contextmanager
def answering(answers: dict[str, Any]) -> Iterator[Connection]:
    """A connection to a REST port that answers these paths, and every other one with 403."""

    class Node(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = answers.get(self.path.partition("?")[0])
            body = json.dumps({"result": answer, "status": "ok", "time": 0.0}).encode()
            self.send_response(200 if answer else 403)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Not to the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Node)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    client = QdrantClient(url=f"http://127.0.0.1:{server.server_address[1]}", check_compatibility=False)
    try:
        yield Connection(client, "http://there:6333")
    finally:
        client.close()
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("answers", "capacity"),
    [
        ({"/cluster": CLUSTER, "/telemetry": TELEMETRY}, Capacity(3, 1_024_000, 9_216_000)),
        ({"/cluster": CLUSTER}, Capacity(3, None, None)),
        ({"/cluster": {"status": "disabled"}, "/telemetry": TELEMETRY}, Capacity(1, 1_024_000, 9_216_000)),
        ({"/cluster": CLUSTER, "/telemetry": {"of another": "version"}}, Capacity(3, None, None)),
        ({}, Capacity(None, None, None)),
    ],
)
def test_what_a_server_does_not_tell_is_not_known(answers: dict[str, Any], capacity: Capacity) -> None:
    with answering(answers) as connection:
        assert Capacity.read(connection) == capacity


THREE = "replicas is 4, .* http://there has 3 nodes; use --replicas 3"
ONE = "replicas is 2, .* http://there has 1 node; use --replicas 1"
SHARE = 37 * MILLION
"""A little less than a third of twice a million vectors."""


@pytest.mark.parametrize(
    ("capacity", "settings", "message"),
    [
        (Capacity(3, None, None), IndexSettings(replicas=4), THREE),
        (Capacity(1, None, None), IndexSettings(replicas=2), ONE),
        (Capacity(3, None, SHARE), IndexSettings(replicas=2), "disk of 0.0 GB, .* takes 0.0 GB; add nodes"),
        (Capacity(3, SHARE, None), IndexSettings(replicas=2), "GB of memory, .* use --on-disk"),
        (Capacity(3, SHARE, None), IndexSettings(replicas=2, on_disk=True), None),
        (Capacity(3, SHARE + MILLION, SHARE + MILLION), IndexSettings(replicas=2), None),
        (Capacity(None, None, None), IndexSettings(replicas=4), None),
    ],
)
def test_what_certainly_does_not_fit_is_refused_before_anything_is_written(
    capacity: Capacity, settings: IndexSettings, message: str | None
) -> None:
    plan = BuildPlan(MILLION, 14, settings, capacity.nodes)
    if message is None:
        capacity.check(plan, "http://there")
    else:
        with pytest.raises(HandsimError, match=f"^.*{message}.*$"):
            capacity.check(plan, "http://there")


def test_a_build_says_what_comes_and_one_of_more_replicas_than_nodes_writes_nothing(
    qdrant: MemoryServer, small: SmallData, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering({"/cluster": CLUSTER}) as connection:
        status = connection.call(lambda client: client.cluster_status())
    monkeypatch.setattr(qdrant.client, "cluster_status", lambda: status)
    catalog, sentences = qdrant.catalog(), list[str]()
    with pytest.raises(HandsimError, match=r"replicas is 4, .* memory has 3 nodes"):
        catalog.build(small.pool, small.embedding, IndexSettings(shards=6, replicas=4))
    assert qdrant.collections() == []
    settings = IndexSettings(shards=6, replicas=2)
    catalog.build(small.pool, small.embedding, settings, announce=sentences.append)
    assert sentences == ["writing 60 hands, some 0.0 MB: 6 shards x 2 replicas on 3 nodes"]
    copied = qdrant.catalog("copied")
    with pytest.raises(HandsimError, match=r"replicas is 4, .* memory has 3 nodes; use --replicas 3"):
        copy_catalog(catalog, copied, Placement(replicas=4))
    assert not any(name.startswith("copied") for name in qdrant.collections())
    assert str(BuildPlan(120_000, 14, settings)) == "120,000 hands, some 97.0 MB: 6 shards x 2 replicas"
    embedded = BuildPlan(120_000, 14, IndexSettings(), is_embedded=True)
    assert str(embedded) == "120,000 hands, some 56.6 MB"

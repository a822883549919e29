"""Nodes of a cluster over sockets: strangers among them, versions, TLS with an authority of one's own."""

import json
import ssl
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import grpc
import numpy as np
import pytest
from qdrant_client import grpc as q

from handsim import HandsimError
from handsim.errors import UnavailableError
from index import ExactIndex, IndexSettings, SearchOptions, open_catalog
from index.server.address import CA_VARIABLE, ServerAddress, read_ca
from index.server.client import Connection, connect
from tests.index.builders import SmallData
from tests.index.server.small_cluster import SmallCluster

pytestmark = pytest.mark.slow


class Greeter:
    """Says what it is, over gRPC and REST: Qdrant, or something else."""

    def __init__(
        self, cluster: dict[str, Any] | None = None, *, certificate: Path | None = None, **answers: Any
    ) -> None:
        """``cluster`` is what it says of its cluster, a field of ``answers`` what it says at ``/``."""
        self.answers = {"title": "qdrant - vector search engine", "version": "1.18.3", **answers}
        self.cluster = cluster or {"status": "disabled"}
        self._rest = ThreadingHTTPServer(("127.0.0.1", 0), _make_handler(self))
        self.port = self._rest.server_port
        handler = grpc.method_handlers_generic_handler(
            "qdrant.Qdrant",
            {"HealthCheck": grpc.unary_unary_rpc_method_handler(self._greet, None, lambda reply: reply)},
        )
        self._grpc = grpc.server(ThreadPoolExecutor(2), handlers=[handler])
        if certificate is None:
            self.grpc_port = self._grpc.add_insecure_port("127.0.0.1:0")
        else:
            pem, key = certificate.read_bytes(), certificate.with_suffix(".key").read_bytes()
            credentials = grpc.ssl_server_credentials([(key, pem)])
            self.grpc_port = self._grpc.add_secure_port("127.0.0.1:0", credentials)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, certificate.with_suffix(".key"))
            self._rest.socket = context.wrap_socket(self._rest.socket, server_side=True)
        self.scheme = "http" if certificate is None else "https"

    def _greet(self, request: Any, context: Any) -> bytes:
        reply: bytes = q.HealthCheckReply(**self.answers).SerializeToString()
        return reply

    def __enter__(self) -> "Greeter":
        self._grpc.start()
        Thread(target=self._rest.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._grpc.stop(grace=0).wait()
        self._rest.shutdown()
        self._rest.server_close()


def _make_handler(greeter: Greeter) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = greeter.answers if self.path == "/" else {"result": greeter.cluster, "status": "ok"}
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, format: str, *args: object) -> None:
            """Not to the terminal."""

    return Handler


def node(peer: int, *others: int) -> dict[str, Any]:
    """What a node of a cluster says of it."""
    return {
        "status": "enabled",
        "peer_id": peer,
        "peers": {str(one): {"uri": f"http://node-{one}:6335/"} for one in (peer, *others)},
        "raft_info": {"term": 1, "commit": 1, "pending_operations": 0, "leader": peer, "is_voter": True},
        "consensus_thread_status": {"consensus_thread_status": "stopped"},
        "message_send_failures": {},
    }


def address_of(*greeters: Greeter, host: str = "127.0.0.1", patience_s: float = 0) -> ServerAddress:
    hosts = ",".join(f"{host}:{greeter.port}" for greeter in greeters)
    ports = ",".join(str(greeter.grpc_port) for greeter in greeters)
    return ServerAddress.parse(f"{greeters[0].scheme}://{hosts}?grpc_port={ports}&patience={patience_s}")


Start = Callable[..., Greeter]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a greeter that is stopped at the end."""
    with ExitStack() as stack:
        yield lambda *arguments, **options: stack.enter_context(Greeter(*arguments, **options))


def ask(connection: Connection) -> str:
    return connection.call(lambda client: client.info()).version


def test_an_address_with_all_nodes_of_a_cluster_is_opened_while_some_are_down(start: Start) -> None:
    silent = Greeter()  # its sockets take calls, and nothing answers
    a, b = start(node(1, 2, 3)), start(node(2, 1, 3))
    began = time.monotonic()
    connection = connect(address_of(silent, a, b), None)
    assert ask(connection) == "1.18.3"
    connection.close()
    assert time.monotonic() - began < 5, "nobody waits for one node while another answers"


@pytest.mark.parametrize(
    ("stranger", "message"),
    [
        ({"cluster": node(7, 8)}, "is a node of another cluster than http://127.0.0.1:"),
        ({"cluster": {"status": "disabled"}}, "is a server of its own and no node of a cluster"),
        ({"version": "1.15.9"}, "runs Qdrant 1.15.9; handsim needs 1.16"),
    ],
)
def test_a_stranger_among_the_nodes_is_refused_and_named(
    start: Start, stranger: dict[str, Any], message: str
) -> None:
    own, other = start(node(1, 2)), start(**stranger)
    with pytest.raises(HandsimError, match=message) as caught:
        connect(address_of(own, other, patience_s=60), None)
    assert f"http://127.0.0.1:{other.port}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_stranger_that_comes_later_is_refused_when_it_is_asked(start: Start) -> None:
    own, late = Greeter(node(1, 2), version="1.17.1"), Greeter(node(7, 8))
    with own:
        connection = connect(address_of(own, late), None)
    with late, pytest.raises(HandsimError, match="is a node of another cluster than"):
        ask(connection)
    connection.close()


@pytest.mark.filterwarnings("ignore:no gRPC at port 1 of")
@pytest.mark.parametrize("ports", ["", "?grpc_port=1"], ids=["gRPC", "REST"])
def test_a_reader_goes_on_whichever_node_is_killed(small: SmallData, ports: str) -> None:
    oracle = ExactIndex(small.pool, small.embedding)
    hands = small.pool.hand_ids[::7]
    with SmallCluster() as cluster:
        hosts = ",".join(f"127.0.0.1:{cluster.port(number)}" for number in range(3))
        with open_catalog(f"http://{hosts}/hands{ports}") as catalog:
            catalog.build(small.pool, small.embedding, IndexSettings(replicas=3))
            with catalog.current() as version:
                for number in range(3):
                    cluster.kill(number)
                    found = version.search_hands(hands, 3, options=SearchOptions(exact=True))
                    true = oracle.search_hands(hands, 3)
                    np.testing.assert_allclose(found.distances, true.distances, rtol=1e-4, atol=1e-5)
                    cluster.start(number)
                    cluster.await_recovery(number)


class _NoQdrant(BaseHTTPRequestHandler):
    """Another program's answer; the path chooses which."""

    answer = b"<html>Welcome</html>"
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, format: str, *args: object) -> None:
        """Not to the terminal."""


@pytest.mark.parametrize(
    ("status", "answer"), [(200, b"<html>Welcome</html>"), (200, b'{"name": "another"}'), (404, b"nothing")]
)
def test_what_is_no_qdrant_server_is_refused_in_one_line(status: int, answer: bytes) -> None:
    handler = type("Handler", (_NoQdrant,), {"status": status, "answer": answer})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    message = (
        rf"http://127.0.0.1:{server.server_port} is no Qdrant server \(.*\); check the address and its port"
    )
    with pytest.raises(HandsimError, match=message) as caught:
        connect(ServerAddress.parse(f"http://127.0.0.1:{server.server_port}?grpc_port=1"), None)
    assert "\n" not in str(caught.value)
    server.shutdown()
    server.server_close()


def make_certificates(folder: Path) -> Path:
    """An authority, ``ca.pem``, and what it signed for ``localhost``, ``server.pem`` and ``server.key``."""
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    authority = ["-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=an authority"]
    server = ["-keyout", "server.key", "-out", "server.pem", "-subj", "/CN=a server"]
    signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "subjectAltName=DNS:localhost"]
    for arguments in (authority, [*server, *signed]):
        command = ["openssl", "req", "-x509", *curve, *arguments]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "server.pem"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.mark.parametrize("over_grpc", [True, False])
def test_an_authority_of_ones_own_opens_a_server_over_both_protocols(
    start: Start, certificate: Path, monkeypatch: pytest.MonkeyPatch, over_grpc: bool
) -> None:
    greeter = start(certificate=certificate)
    monkeypatch.setenv(CA_VARIABLE, str(certificate.with_name("ca.pem")))
    if not over_grpc:
        greeter.grpc_port = 1
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "no gRPC at port 1")
        connection = connect(address_of(greeter, host="localhost"), "a-key", ca=read_ca())
    assert ask(connection) == "1.18.3"
    connection.close()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_certificate_that_does_not_fit_is_refused_at_once(
    start: Start, certificate: Path, host: str
) -> None:
    """That of an unknown authority; that for another name."""
    greeter = start(certificate=certificate)
    ca = None if host == "localhost" else certificate.with_name("ca.pem")
    message = rf"at https://{host}:{greeter.port} has a certificate that does not fit \(.*{CA_VARIABLE}"
    with pytest.raises(HandsimError, match=message) as caught:
        connect(address_of(greeter, host=host, patience_s=60), None, ca=ca)
    assert not isinstance(caught.value, UnavailableError)
    assert "\n" not in str(caught.value)


def test_a_server_without_tls_is_told_apart(start: Start, certificate: Path) -> None:
    greeter = start()
    greeter.scheme = "https"
    with pytest.raises(HandsimError, match=r"does not speak TLS there .*; an address of a server without it"):
        connect(address_of(greeter, patience_s=60), None)

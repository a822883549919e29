"""Which calls are repeated, on which node, how long anybody waits, and who is told."""

import math
import threading
import time
from collections.abc import Callable

import grpc
import pytest
from qdrant_client import QdrantClient
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse

from handsim import HandsimError
from handsim.errors import HandsimWarning, UnavailableError
from index.server.client import Connection
from index.server.failures import DeniedError
from index.server.nodes import _RETRY_THREAD, NodeClient, NodeClients, check_version
from tests.index.server.test_failures import RpcError, http_error

AWAY = RpcError(grpc.StatusCode.UNAVAILABLE, "Connection refused")


def memory_client(reason_for_rest: str = "") -> NodeClient:
    """Two that differ."""
    return NodeClient(QdrantClient(":memory:"), QdrantClient(":memory:"), reason_for_rest)


class FailingServer:
    """Raises an error some times, then answers."""

    def __init__(self, error: Exception, times: int, patience_s: float = 60) -> None:
        self.pauses: list[float] = []
        self.told: list[tuple[str | None, float]] = []
        self.connection = Connection(
            QdrantClient(":memory:"),
            "http://there:6333",
            sleep=self.pauses.append,
            patience_s=patience_s,
            on_wait=lambda error, seconds: self.told.append((str(error) if error else None, seconds)),
        )
        self._error = error
        self._left = times

    def answer(self, client: QdrantClient) -> str:
        if self._left:
            self._left -= 1
            raise self._error
        return "an answer"


@pytest.mark.parametrize("error", [AWAY, ResourceExhaustedResponse("slower", retry_after_s=3)], ids=repr)
def test_a_call_is_repeated_while_its_error_may_pass(error: Exception) -> None:
    server = FailingServer(error, times=2)
    assert server.connection.call(server.answer) == "an answer"
    assert len(server.pauses) == 2
    if isinstance(error, ResourceExhaustedResponse):
        assert min(server.pauses) >= 3, "as long as the server asks for"


@pytest.mark.parametrize("patience_s", [5.0, 300.0])
def test_pauses_grow_and_nobody_waits_longer_than_patience(patience_s: float) -> None:
    server = FailingServer(AWAY, 1000, patience_s)
    message = rf"there:6333 does not answer \(Connection refused; waited for {patience_s:.0f} s\); start it"
    started = time.monotonic()
    with pytest.raises(UnavailableError, match=message):
        server.connection.call(server.answer)
    # What the calls themselves took on a busy machine counts, too.
    assert patience_s - 0.5 - (time.monotonic() - started) < math.fsum(server.pauses) < patience_s + 0.5
    assert 0.1 < server.pauses[0] < 0.5
    assert max(server.pauses) <= 12
    assert max(server.pauses) > 3 * server.pauses[0]


def test_a_call_that_took_all_patience_until_its_deadline_is_made_once_more() -> None:
    server = FailingServer(AWAY, times=1, patience_s=0.05)

    def hang(client: QdrantClient) -> str:
        time.sleep(0.06)
        return server.answer(client)

    assert server.connection.call(hang) == "an answer"


@pytest.mark.parametrize("error", [http_error(403), http_error(400), http_error(500)], ids=repr)
def test_other_errors_are_raised_at_once_and_hold_no_request(error: Exception) -> None:
    server = FailingServer(error, times=1)
    with pytest.raises(HandsimError) as caught:
        server.connection.call(server.answer)
    assert server.pauses == []
    assert server.told == []
    assert not isinstance(caught.value, UnavailableError)
    assert "http://there:6333" in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_an_error_of_our_own_keeps_its_type() -> None:
    server = FailingServer(TypeError("ours"), times=1)
    with pytest.raises(TypeError, match="ours"):
        server.connection.call(server.answer)


def test_without_retries_there_is_one_try() -> None:
    server = FailingServer(AWAY, times=1)
    with pytest.raises(UnavailableError):
        server.connection.without_retries().call(server.answer)
    assert server.pauses == []


def test_a_wait_is_told_once_with_its_reason_and_its_longest_and_so_is_its_end() -> None:
    server = FailingServer(AWAY, times=6)
    server.connection.call(server.answer)
    (waiting, longest_s), (answered, waited_s) = server.told
    assert waiting is not None
    assert "http://there:6333 does not answer (Connection refused" in waiting
    assert 58 < longest_s < 60
    assert answered is None
    assert waited_s == pytest.approx(math.fsum(server.pauses), abs=0.5)


def test_a_short_wait_is_not_worth_a_word() -> None:
    server = FailingServer(AWAY, times=1)
    server.connection.call(server.answer)
    assert server.told == []


def test_a_person_hears_within_two_seconds_of_a_server_that_is_down() -> None:
    heard_after_s: list[float] = []
    started = time.monotonic()

    def hear(error: UnavailableError | None, seconds: float) -> None:
        heard_after_s.append(time.monotonic() - started)

    server = FailingServer(AWAY, times=1000)
    connection = Connection(QdrantClient(":memory:"), "there", patience_s=2.5, on_wait=hear)
    with pytest.raises(UnavailableError):
        connection.call(server.answer)
    assert heard_after_s
    assert heard_after_s[0] < 2


def test_a_node_that_never_answers_is_told_too() -> None:
    told: list[UnavailableError | None] = []

    def open_slowly() -> NodeClient:
        time.sleep(1.3)
        return memory_client()

    connection = Connection(
        NodeClients([open_slowly]), "there", on_wait=lambda error, seconds: told.append(error)
    )
    connection.open()
    assert [str(error) for error in told] == ["the Qdrant server at there has not answered yet", "None"]


def test_many_threads_that_wait_are_told_of_once() -> None:
    told: list[float] = []
    away = threading.Event()
    all_wait = threading.Barrier(3)

    def answer(client: QdrantClient) -> None:
        if not away.is_set():
            raise AWAY

    def sleep(seconds: float) -> None:
        if seconds > 1 and not away.is_set():
            all_wait.wait(10)
            away.set()

    connection = Connection(
        QdrantClient(":memory:"), "there", sleep=sleep, on_wait=lambda error, seconds: told.append(seconds)
    )
    threads = [threading.Thread(target=connection.call, args=(answer,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == 2


class Cluster:
    """Nodes that are up or down."""

    def __init__(self, names: str) -> None:
        self.clients = {name: memory_client() for name in names}
        self.down: set[str] = set()
        self.asked: list[str] = []
        self.pauses: list[float] = []
        self.connection = Connection(
            NodeClients([self.opener(name) for name in names]),
            "http://cluster",
            sleep=self.pauses.append,
            patience_s=5,
        )

    def opener(self, name: str) -> Callable[[], NodeClient]:
        def connect() -> NodeClient:
            self.ask(name)
            return self.clients[name]

        return connect

    def ask(self, name: str) -> str:
        self.asked.append(name)
        if name in self.down:
            raise AWAY
        return name

    def call(self) -> str:
        """The name of the node that answers."""
        self.asked.clear()
        names = {id(client.general): name for name, client in self.clients.items()}
        return self.connection.call(lambda client: self.ask(names[id(client)]))


def test_the_next_node_is_asked_at_once_when_one_dies() -> None:
    cluster = Cluster("abc")
    assert cluster.call() == "a"
    cluster.down.add("a")
    assert cluster.call() == "b"
    assert cluster.call() == "b"
    assert cluster.asked == ["b"], "the dead one is not asked again"
    cluster.down = {"b", "c"}
    assert cluster.call() == "a", "it is back"
    assert cluster.pauses == []


def test_all_nodes_are_tried_before_each_pause() -> None:
    cluster = Cluster("abc")
    cluster.down = set("abc")
    with pytest.raises(
        UnavailableError, match=r"http://cluster does not answer \(Connection refused; waited"
    ):
        cluster.call()
    assert len(cluster.asked) == 3 * (len(cluster.pauses) + 1)
    assert set(cluster.asked[:3]) == set("abc")
    assert math.fsum(cluster.pauses) == pytest.approx(5, abs=0.5)


def test_without_retries_each_node_is_tried() -> None:
    cluster = Cluster("ab")
    cluster.down.add("a")
    assert cluster.connection.without_retries().call(lambda client: "an answer") == "an answer"


def test_a_refusal_is_not_tried_on_another_node() -> None:
    cluster = Cluster("ab")

    def deny(client: QdrantClient) -> None:
        cluster.asked.append("denied")
        raise RpcError(grpc.StatusCode.PERMISSION_DENIED)

    with pytest.raises(DeniedError):
        cluster.connection.call(deny)
    assert cluster.asked.count("denied") == 1


def test_a_node_that_hangs_is_left_soon_where_a_server_answers_within_seconds() -> None:
    nodes = [memory_client(), memory_client()]
    connection = Connection(
        NodeClients([lambda: nodes[0], lambda: nodes[1]]), "http://cluster", sleep=lambda seconds: None
    )
    asked: list[QdrantClient] = []

    def hang(client: QdrantClient) -> str:
        asked.append(client)
        if len(asked) % 4:
            raise RpcError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
        return "an answer"

    connection.read(hang)
    (general, quick, _), (other_general, other_quick, _) = nodes
    assert asked == [quick, other_quick, general, other_general], "all are slow: they get their time"
    asked.clear()
    connection.call(hang)
    assert {*map(id, asked)} == {id(general), id(other_general)}, "a write always has its time"


def test_grpc_is_tried_again_where_it_did_not_answer_at_first() -> None:
    now = [0.0]
    over_rest, missed, over_grpc = memory_client("no gRPC at port 1"), memory_client("no"), memory_client()
    opened = [over_grpc, missed, over_rest]
    nodes = NodeClients([opened.pop], clock=lambda: now[0])

    def ask_after(seconds: float) -> NodeClient:
        now[0] += seconds
        client = nodes.client(0)
        for thread in threading.enumerate():
            if thread.name == _RETRY_THREAD:
                thread.join()
        return client

    with pytest.warns(HandsimWarning, match="^no gRPC at port 1: going on over REST"):
        assert ask_after(0) is over_rest
    assert ask_after(29) is over_rest
    assert len(opened) == 2, "not at every call"
    assert [ask_after(2), ask_after(31), ask_after(1), ask_after(99)] == [
        over_rest,
        over_rest,
        over_grpc,
        over_grpc,
    ]
    nodes.close()


@pytest.mark.parametrize("version", ["1.15.9", "0.40.0", "unknown"])
def test_servers_without_metadata_are_refused(version: str) -> None:
    with pytest.raises(HandsimError, match=f"runs Qdrant {version}; handsim needs 1.16 or newer"):
        check_version(version, "http://there:6333")
    for newer in ("1.16.0", "1.16.3-dev", "2.0"):
        check_version(newer, "http://there:6333")

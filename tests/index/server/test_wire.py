"""An index over sockets: keys, versions of the server, a server that goes away, a builder that is killed."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from threading import Event, Lock
from typing import Any

import grpc
import numpy as np
import pytest

from handsim import HandsimError
from handsim.errors import NotThereError, UnavailableError
from index import ExactIndex, Filter, SearchOptions, open_catalog, verify
from index.server import nodes
from index.server.address import KEY_VARIABLE, ServerAddress
from index.server.catalog import ServerCatalog
from index.server.client import connect
from index.server.version import ServerVersion
from tests.index.builders import SmallData
from tests.index.server.refusals import Refusal
from tests.index.server.small_server import SmallServer

pytestmark = pytest.mark.slow

KEY = "a-key-that-nobody-may-see"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallServer]:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    with SmallServer(key=KEY, read_key="only-reading") as server:
        yield server


def connect_to(server: SmallServer, sleep: Callable[[float], None]) -> ServerCatalog:
    """Its index, with another way to sleep."""
    return ServerCatalog(connect(ServerAddress.parse(server.address), KEY, sleep=sleep))


def test_every_search_goes_over_the_wire(server: SmallServer, small: SmallData) -> None:
    oracle = ExactIndex(small.pool, small.embedding)
    hands = small.pool.hand_ids[::7]
    with open_catalog(server.address) as catalog:
        catalog.build(small.pool, small.embedding)
        with catalog.current() as version:
            for options in (
                SearchOptions(exact=True, with_payload=True),
                SearchOptions(filter=Filter(sides=("right",), min_score=0.3), one_per_video=True),
                SearchOptions(filter=Filter(labels=())),
                SearchOptions(min_distance=0.1, max_distance=3.0),
            ):
                neighbors, true = (
                    one.search_hands(hands, 3, other_video=True, options=options) for one in (version, oracle)
                )
                np.testing.assert_allclose(neighbors.distances, true.distances, rtol=1e-4, atol=1e-5)
                assert neighbors.payloads == true.payloads
            recommended = version.recommend(hands[:2], hands[-1:], 3)
            np.testing.assert_allclose(
                recommended.distances, oracle.recommend(hands[:2], hands[-1:], 3).distances, rtol=1e-4
            )
            assert version.search_hands(hands, 3, options=SearchOptions(diversity=0.5)).is_found.all()
            sample = version.sample(20, Filter(sides=("left",)))
            assert small.pool.is_left[small.pool.rows(sample)].all()
            assert verify(version, read_all=True).problems() == []
    assert server.memory.count("hands-catalog").count == 0, "readers and builders released their leases"


def test_the_graph_is_built_after_the_last_hand_is_written(
    server: SmallServer, small: SmallData, small_requests: None
) -> None:
    with open_catalog(server.address) as catalog:
        catalog.build(small.pool, small.embedding)
    of_version = [(name, request) for name, request in server.calls if "hands-v0001" in str(request)]
    names = [name for name, _ in of_version]
    first, last = names.index("Upsert"), len(names) - names[::-1].index("Upsert")
    assert names[:first].count("CreateFieldIndex") == 5
    assert names[first:last].count("Upsert") == 12
    created = of_version[names.index("Create")][1]
    assert created.optimizers_config.indexing_threshold == 0
    assert created.hnsw_config.ef_construct == 100
    switched_on = next(request for name, request in of_version[last:] if name == "Update")
    assert switched_on.optimizers_config.indexing_threshold == 256


@pytest.mark.parametrize("key", [f"wrong{KEY}", ""])
def test_a_wrong_key_is_reported_after_one_call(
    server: SmallServer, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, key)
    with pytest.raises(HandsimError, match=KEY_VARIABLE) as caught:
        open_catalog(server.address)
    assert "\n" not in str(caught.value)
    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is None
    assert len(server.calls) == 1, "one call, without retries"


def test_a_key_that_may_only_read_reads_and_none_is_shown(
    server: SmallServer, small: SmallData, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_catalog(server.address) as catalog:
        catalog.build(small.pool, small.embedding)
        assert not any(KEY in repr(one) for one in (catalog, catalog.address, vars(catalog)))
    monkeypatch.setenv(KEY_VARIABLE, "only-reading")
    with open_catalog(server.address) as catalog:
        with pytest.warns(UserWarning, match="may only read, .* v0001 .*`handsim index prune` may remove it"):
            version = catalog.current()
        with version:
            assert version.search_hands(small.pool.hand_ids[:2], 3).is_found.all()
        for write in (
            lambda: catalog.build(small.pool, small.embedding),
            lambda: catalog.publish("v0001"),
            lambda: catalog.remove("v0001"),
            catalog.drop,
        ):
            with pytest.raises(HandsimError, match=f"does not admit this .*{KEY_VARIABLE}"):
                write()


def test_a_token_that_expires_in_the_middle_ends_a_build_in_one_line_and_a_new_one_goes_on(
    server: SmallServer, small: SmallData, small_requests: None
) -> None:
    expired = Refusal(grpc.StatusCode.PERMISSION_DENIED, "ExpiredSignature")

    def expire(done: int, total: int) -> None:
        if done == 20:
            server.refuse(expired, ["Upsert"], times=1000)

    with open_catalog(server.address) as catalog:
        with pytest.raises(
            HandsimError, match=f"the token has expired .*; put a new one into {KEY_VARIABLE}"
        ):
            catalog.build(small.pool, small.embedding, progress=expire)
        server.scripts.clear()
        assert catalog.build(small.pool, small.embedding).points == 60


def test_an_old_server_is_refused() -> None:
    with SmallServer(version="1.15.5") as server:
        message = f":{server.port} runs Qdrant 1.15.5; handsim needs 1.16 or newer: upgrade it$"
        with pytest.raises(HandsimError, match=f"^http://127.0.0.1{message}"):
            open_catalog(server.address)


def test_without_grpc_it_goes_on_over_rest(small: SmallData) -> None:
    with SmallServer(grpc=False) as server:
        message = f"no gRPC at port {server.grpc_port} of 127.0.0.1: going on over REST"
        with pytest.warns(UserWarning, match=message):
            catalog = open_catalog(server.address)
        with catalog:
            catalog.build(small.pool, small.embedding)
            assert catalog.add(small.grown_pool, in_place=True).points == 90
            with catalog.current() as version:
                assert verify(version, read_all=True).problems() == []
            catalog.build(small.pool, small.embedding)
            assert (catalog.rollback(), catalog.prune(1)) == ("v0001", ([], []))
            catalog.drop()
            with pytest.raises(NotThereError, match="there is no index"):
                catalog.current()


def test_a_query_leaves_a_node_that_takes_it_and_never_answers(
    server: SmallServer, small: SmallData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "_READ_TIMEOUT_S", 1)
    answered = Event()
    answer = server.answer

    def hang_once(name: str, request: Any) -> Any:
        if name == "QueryBatch" and not answered.is_set():
            answered.wait(30)
        return answer(name, request)

    with open_catalog(server.address) as catalog:
        catalog.build(small.pool, small.embedding)
        with catalog.current() as version:
            assert isinstance(version, ServerVersion)
            monkeypatch.setattr(server, "answer", hang_once)
            monkeypatch.setattr(version._connection, "sleep", lambda seconds: answered.set())
            assert version.search_hands(small.pool.hand_ids[:3], 2).is_found.all()
    assert answered.is_set(), "it was asked again"


def test_a_server_that_is_down_is_waited_for_some_time() -> None:
    server = SmallServer()
    pauses: list[float] = []
    with pytest.raises(UnavailableError, match=f"127.0.0.1:{server.port} does not answer .*; start it"):
        connect_to(server, pauses.append)
    assert 30 < sum(pauses) <= 60
    assert all(0 < pause <= 12 for pause in pauses)


def test_a_build_outlives_a_restart_of_the_server(
    server: SmallServer, small: SmallData, small_requests: None
) -> None:
    stops: list[int] = []
    lock = Lock()

    def restart(seconds: float) -> None:
        """Sleep as the product does; meanwhile the server is started again."""
        with lock:
            if server.rest is None:
                server.start()
        time.sleep(seconds)

    def stop(done: int, total: int) -> None:
        if done >= 20 and not stops:
            stops.append(done)
            server.stop()

    with connect_to(server, restart) as catalog:
        built = catalog.build(small.pool, small.embedding, progress=stop)
        assert stops == [20]
        with catalog.current() as version:
            assert (built.points, verify(version, read_all=True).altered) == (60, False)


def test_a_server_that_stays_away_ends_the_build(
    server: SmallServer, small: SmallData, small_requests: None
) -> None:
    def stop(done: int, total: int) -> None:
        if done == 20:
            server.stop()

    pauses: list[float] = []
    with connect_to(server, pauses.append) as catalog, pytest.raises(UnavailableError, match="start it"):
        catalog.build(small.pool, small.embedding, progress=stop)
    assert 20 <= server.memory.count("hands-v0001").count < 60


BUILDER = """
import os, signal, sys
import index.server.build
from handsim import Pool, PoseEmbedding
from index import open_catalog

def die(done, total):
    if done >= 20:
        os.kill(os.getpid(), signal.SIGKILL)

index.server.build._HANDS_PER_REQUEST = 5
pool = Pool.open(sys.argv[1])
open_catalog(sys.argv[2]).build(pool, PoseEmbedding.fit(pool), progress=die)
"""


def test_a_killed_build_changes_nothing_and_is_resumed(server: SmallServer, small: SmallData) -> None:
    with open_catalog(server.address) as catalog:
        catalog.build(small.pool, small.embedding)
        command = [sys.executable, "-c", BUILDER, str(small.pool.path), server.address]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
        written_before = server.memory.count("hands-v0002").count
        assert 20 <= written_before < 60
        assert catalog.active_builder() is None, "its process no longer runs"
        assert [(info.name, info.is_current) for info in catalog.versions()] == [("v0001", True)]
        with catalog.current() as version:
            assert version.search_hands(small.pool.hand_ids[:1], 1).is_found.all()
        before = len(server.calls)
        assert catalog.build(small.pool, small.embedding).name == "v0002"
        written = [request for name, request in server.calls[before:] if name == "Upsert"]
        to_version = [len(one.points) for one in written if one.collection_name == "hands-v0002"]
        assert sum(to_version) == 60 - written_before

"""Every step of a builder may be repeated, and may be its last: a node is lost, an answer, or patience."""

import itertools
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from handsim.errors import HandsimError, UnavailableError
from index import IndexSettings, verify
from index.info import Remnant
from index.points import PoolPoints
from index.server.catalog import ServerCatalog
from index.server.client import Connection
from index.server.collection import VersionCollection
from tests.index.builders import MemoryServer, PoolColumns, SmallData

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("small_requests")]

T = TypeVar("T")
Ask = Callable[[Callable[[QdrantClient], T]], T]
"""`Connection.call` or `Connection.read`."""


class RepeatingConnection(Connection):
    """Loses the first answer to every request, and repeats it."""

    def call(self, request: Callable[[QdrantClient], T]) -> T:
        super().call(request)
        return super().call(request)

    def read(self, request: Callable[[QdrantClient], T]) -> T:
        super().read(request)
        return super().read(request)


class EndingConnection(Connection):
    """Answers ``calls`` requests, does one more without an answer, and is gone."""

    calls = 0
    made = 0

    def call(self, request: Callable[[QdrantClient], T]) -> T:
        return self._until_the_end(super().call, request)

    def read(self, request: Callable[[QdrantClient], T]) -> T:
        return self._until_the_end(super().read, request)

    def _until_the_end(self, ask: Ask[T], request: Callable[[QdrantClient], T]) -> T:
        EndingConnection.made += 1
        if EndingConnection.made <= self.calls + 1:
            answer = ask(request)
            if EndingConnection.made <= self.calls:
                return answer
        raise UnavailableError("it is gone")


def connect(qdrant: MemoryServer, kind: type[Connection]) -> ServerCatalog:
    connection = kind(qdrant.client, "memory", sleep=qdrant.sleep, clock=lambda: qdrant.now, max_concurrent=1)
    return ServerCatalog(connection, "hands")


def test_requests_whose_answers_are_lost_are_repeated_without_harm(
    qdrant: MemoryServer, small: SmallData
) -> None:
    catalog = connect(qdrant, RepeatingConnection)
    assert catalog.build(small.pool, small.embedding).name == "v0001"
    assert catalog.build(small.pool, small.other_embedding).name == "v0002"
    assert catalog.rollback() == "v0001"
    assert catalog.add(small.grown_pool).name == "v0003"
    assert catalog.publications() == ["v0003", "v0001"]
    fewer = PoolColumns(small.grown_pool, np.arange(4, 90), {10: "fist"})
    assert catalog.add(fewer, in_place=True).points == 86
    with catalog.current() as version:
        assert verify(version, read_all=True).problems() == []
    assert catalog.prune(1) == (["v0001", "v0002"], [])
    assert [info.name for info in catalog.versions()] == ["v0003"]
    catalog.drop()
    assert qdrant.collections() == []


def test_a_build_that_gave_up_at_any_step_is_finished_by_the_next(
    qdrant: MemoryServer, small: SmallData
) -> None:
    few = PoolColumns(small.pool, np.arange(0, 60, 5), {})
    for calls in itertools.count():
        EndingConnection.calls, EndingConnection.made = calls, 0
        try:
            connect(qdrant, EndingConnection).build(few, small.embedding)
        except UnavailableError:
            qdrant.now += 301  # its lease expires; where the process has ended, others see that at once
        else:
            break
        catalog = qdrant.catalog()
        if catalog.current_name() is None:
            built = catalog.build(few, small.embedding)
            assert (built.name, built.is_current, built.points) == ("v0001", True, 12), calls
        assert [info.name for info in catalog.versions()] == ["v0001"], calls
        assert catalog.remnants() == []
        with catalog.current() as version:
            assert not verify(version, sample=1, read_all=True).altered, calls
        catalog.drop()
    assert calls > 40


def stop_at(count: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done >= count:
            raise KeyboardInterrupt

    return progress


def stop_a_build(qdrant: MemoryServer, small: SmallData) -> ServerCatalog:
    """A server with a build of ``small.pool`` that ended in the middle."""
    catalog = qdrant.catalog()
    with pytest.raises(KeyboardInterrupt):
        catalog.build(small.pool, small.embedding, progress=stop_at(20))
    return catalog


def test_an_unfinished_build_of_hands_that_changed_since_is_not_continued(
    qdrant: MemoryServer, small: SmallData
) -> None:
    catalog = stop_a_build(qdrant, small)
    turned = PoolColumns(small.pool, np.arange(60), {})
    turned.keypoints = turned.keypoints + np.float32(0.01)
    assert catalog.build(turned, small.embedding).name == "v0001"
    with catalog.current() as version:
        assert not verify(version, read_all=True).altered
        expected = small.embedding.transform(turned.keypoints[:3])
        np.testing.assert_allclose(version.vectors(turned.hand_ids[:3]), expected, atol=1e-6)


def test_what_ended_processes_left_is_named_and_pruned_but_not_what_a_builder_writes(
    qdrant: MemoryServer, small: SmallData
) -> None:
    catalog = stop_a_build(qdrant, small)
    written = qdrant.client.count("hands-v0001").count
    assert catalog.remnants() == [Remnant("v0001", False, written, 60)]
    sentences: list[str] = []

    def prune(done: int, total: int) -> None:
        catalog.prune(1, sentences.append)
        with pytest.raises(HandsimError, match="is being built by"):
            catalog.remove("v0001")

    catalog.write_version(
        PoolPoints(small.pool, small.embedding), small.embedding, IndexSettings(), prune, "v0001"
    )
    assert (sentences, [info.points for info in catalog.versions()]) == ([], [60])
    with pytest.raises(KeyboardInterrupt):
        catalog.build(small.grown_pool, small.embedding, progress=stop_at(20))
    VersionCollection(qdrant.connection(), "hands-v0001").update_metadata(state="removing")
    catalog.prune(1, sentences.append)
    assert sentences[0] == "removing v0001 (removed in part)"
    assert sentences[1].startswith("removing v0002 (unfinished: ")
    assert qdrant.collections() == ["hands-catalog"]
    stop_a_build(qdrant, small)
    assert catalog.remove("v0002")
    assert qdrant.collections() == ["hands-catalog"]


class ReleaseRefusingConnection(Connection):
    """Refuses to delete points, as a cluster that is just losing a node."""

    def call(self, request: Callable[[QdrantClient], T]) -> T:
        if "delete" in request.__code__.co_names:
            raise HandsimError("2 out of 3 shards failed to apply operation")
        return super().call(request)


def test_a_lease_that_cannot_be_released_does_not_end_a_build(qdrant: MemoryServer, small: SmallData) -> None:
    assert connect(qdrant, ReleaseRefusingConnection).build(small.pool, small.embedding).is_current


def test_versions_restored_without_their_catalog_can_be_published_read_and_dropped(
    qdrant: MemoryServer, small: SmallData
) -> None:
    catalog = qdrant.catalog()
    catalog.build(small.pool, small.embedding)
    qdrant.client.delete_collection("hands-catalog")
    alias = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name="hands"))
    qdrant.client.update_collection_aliases(change_aliases_operations=[alias])
    with pytest.raises(HandsimError, match="has v0001, which is not current; `handsim index publish v0001`"):
        catalog.current()
    catalog.publish("v0001")
    catalog.current().close()
    qdrant.client.delete_collection("hands-catalog")
    catalog.drop()
    assert qdrant.collections() == []

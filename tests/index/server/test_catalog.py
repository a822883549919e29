"""Builds on a server that are stopped, resumed, taken over; the wait for its graph; what else is there."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from qdrant_client import QdrantClient, models

from handsim import HandsimError
from handsim.embedding import embedding_from_json
from handsim.errors import NotThereError
from index import IndexSettings, verify
from index.points import PoolPoints, Progress
from index.server.build import VersionWriter
from index.server.collection import VersionCollection, VersionRecord
from index.server.leases import ExclusiveLease, LeaseRegistry, Role
from tests.index.builders import MemoryServer, SmallData


def acquire(qdrant: MemoryServer, role: Role) -> ExclusiveLease:
    """The lease of another process."""
    registry = LeaseRegistry(qdrant.connection(), "hands", "memory/hands")
    registry.create()
    return ExclusiveLease(registry, role)


def stop_at(count: int) -> Progress:
    """Ends a build in the middle."""

    def progress(done: int, total: int) -> None:
        if done >= count:
            raise KeyboardInterrupt

    return progress


@pytest.fixture
def stopped(qdrant: MemoryServer, small: SmallData) -> MemoryServer:
    """A server with a build of ``small.pool`` that stopped after 20 of 60 hands."""
    with pytest.raises(KeyboardInterrupt):
        qdrant.catalog().build(small.pool, small.embedding, progress=stop_at(20))
    assert 20 <= qdrant.client.count("hands-v0001").count < 60
    return qdrant


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("small_requests")]


def test_an_addition_in_place_that_was_stopped_is_repaired(qdrant: MemoryServer, small: SmallData) -> None:
    catalog = qdrant.catalog()
    catalog.build(small.pool, small.embedding)
    with pytest.raises(KeyboardInterrupt):
        catalog.add(small.grown_pool, in_place=True, progress=stop_at(5))
    assert 60 < qdrant.client.count("hands-v0001").count < 90
    assert catalog.info("v0001").points == 60
    assert catalog.add(small.grown_pool, in_place=True).points == 90
    with catalog.current() as version:
        assert not verify(version, read_all=True).altered

    # Stopped after the last hand was written, before the record was: no hand is new, but the record is old.
    collection = VersionCollection(qdrant.connection(), "hands-v0001")
    collection.update_metadata(state="growing", points=60, checksum="60-0")
    assert catalog.add(small.grown_pool, in_place=True).points == 90
    with catalog.current() as version:
        assert not verify(version, read_all=True).altered


def test_a_stopped_build_is_resumed(stopped: MemoryServer, small: SmallData) -> None:
    catalog = stopped.catalog()
    assert catalog.versions() == []
    for read in (lambda: catalog.open("v0001"), lambda: catalog.publish("v0001")):
        with pytest.raises(
            NotThereError, match=r"no version 'v0001' that is complete, only v0001 \(unfinished"
        ):
            read()
    with pytest.raises(NotThereError, match="no complete version yet, but an unfinished one; `handsim index"):
        catalog.current()
    (point, *_), _ = stopped.client.scroll("hands-v0001", limit=1)
    stopped.client.set_payload("hands-v0001", {"touched": True}, [point.id])
    present, sentences = stopped.client.count("hands-v0001").count, list[str]()
    resumed = catalog.build(small.pool, small.embedding, announce=sentences.append)
    assert sentences == [
        f"writing 60 hands, some 0.0 MB; v0001 was begun and has {present} of them, {60 - present} are left"
    ]
    assert (resumed.name, resumed.points) == ("v0001", 60)
    (point,) = stopped.client.retrieve("hands-v0001", [point.id])
    assert (point.payload or {})["touched"], "a hand that is there is not written again"
    assert resumed.checksum == catalog.build(small.pool, small.embedding).checksum


def test_a_stopped_build_of_other_hands_is_removed(stopped: MemoryServer, small: SmallData) -> None:
    catalog = stopped.catalog()
    assert catalog.build(small.grown_pool, small.embedding).points == 90
    assert stopped.collections() == ["hands-catalog", "hands-v0001"]
    with pytest.raises(KeyboardInterrupt):
        catalog.build(small.pool, small.embedding, progress=stop_at(20))
    catalog.sweep()
    assert stopped.collections() == ["hands-catalog", "hands-v0001"]


def test_an_unfinished_version_with_strange_hands_is_removed(stopped: MemoryServer, small: SmallData) -> None:
    catalog = stopped.catalog()
    stopped.client.upsert("hands-v0001", [models.PointStruct(id=1, vector=[0.0] * 14)])
    with pytest.raises(HandsimError, match=r"held 61 hands and not 60.*`handsim index build` again"):
        catalog.build(small.pool, small.embedding)
    assert catalog.build(small.pool, small.embedding).points == 60


def test_a_builder_whose_lease_expired_gives_way(
    qdrant: MemoryServer, small: SmallData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may only have slept: the lid of a laptop was closed."""
    catalog = qdrant.catalog()
    leases: list[ExclusiveLease] = []

    def lease(role: Role) -> ExclusiveLease:
        leases.append(acquire(qdrant, role))
        return leases[-1]

    def sleep_and_lose_the_lease(done: int, total: int) -> None:
        if done == 20:
            qdrant.now += 301
            other = acquire(qdrant, "builder")
            leases[-1].renew()
            other.release()

    monkeypatch.setattr(catalog, "_lease", lease)
    with pytest.raises(HandsimError, match="another process took over building memory/hands"):
        catalog.build(small.pool, small.embedding, progress=sleep_and_lose_the_lease)
    assert qdrant.catalog().versions() == []


def test_publishing_waits_for_another_publisher(qdrant: MemoryServer, small: SmallData) -> None:
    catalog = qdrant.catalog()
    catalog.build(small.pool, small.embedding)
    before = qdrant.now
    with (
        acquire(qdrant, "publisher"),
        pytest.raises(HandsimError, match=f"is being published by process {os.getpid()} on"),
    ):
        catalog.publish("v0001")
    assert 5 < qdrant.now - before < 60
    catalog.publish("v0001")


POINTS = 100_000


@dataclass(frozen=True)
class ScriptedCollection(VersionCollection):
    """A collection that reports one state after the other, and the last one for ever."""

    states: Sequence[models.CollectionInfo] = ()
    thresholds: list[int] = field(default_factory=list)
    reports: list[models.CollectionInfo] = field(default_factory=list)

    def read_info(self) -> models.CollectionInfo:
        self.reports.append(self.states[min(len(self.reports), len(self.states) - 1)])
        return self.reports[-1]

    def set_indexing_threshold(self, threshold_kb: int) -> None:
        self.thresholds.append(threshold_kb)


def state(status: str, indexed: int, segments: int = 1, error: str = "") -> models.CollectionInfo:
    client = QdrantClient(":memory:")
    client.create_collection(
        "any", vectors_config=models.VectorParams(size=14, distance=models.Distance.EUCLID)
    )
    optimizers: Any = models.OptimizersStatusOneOf1(error=error) if error else "ok"
    return client.get_collection("any").model_copy(
        update={
            "status": models.CollectionStatus(status),
            "optimizer_status": optimizers,
            "indexed_vectors_count": indexed,
            "segments_count": segments,
        }
    )


def wait(qdrant: MemoryServer, small: SmallData, *infos: models.CollectionInfo) -> ScriptedCollection:
    record = replace(
        VersionRecord.draft(small.embedding, IndexSettings(), PoolPoints(small.pool, small.embedding)),
        points=POINTS,
    )
    collection = ScriptedCollection(qdrant.connection(), "hands-v0001", infos)
    with acquire(qdrant, "builder") as lease:
        VersionWriter(collection, record, lease).await_indexed()
    return collection


def test_green_before_the_graph_is_there_does_not_count_and_a_restarted_server_is_asked_again(
    qdrant: MemoryServer, small: SmallData
) -> None:
    states = [state("green", 0), state("yellow", 0), state("yellow", 60_000), state("green", POINTS)]
    collection = wait(qdrant, small, *states)
    assert (collection.reports, collection.thresholds) == (states, [256])
    collection = wait(qdrant, small, state("grey", 0), state("yellow", 0), state("green", POINTS))
    assert collection.thresholds == [256, 256]


def test_segments_too_small_for_a_graph_are_not_waited_for(qdrant: MemoryServer, small: SmallData) -> None:
    # 256 KB are 4,681 vectors of 14 numbers: with two segments so many may stay without a graph.
    assert len(wait(qdrant, small, state("green", POINTS - 4000, segments=2)).reports) == 1
    before = qdrant.now
    assert len(wait(qdrant, small, state("green", 0)).reports) == 5
    assert 0.5 < qdrant.now - before < 10


def test_an_error_of_the_server_is_reported_in_one_line(qdrant: MemoryServer, small: SmallData) -> None:
    for report, message in (
        (
            state("yellow", 0, error="No space left\non device"),
            r"cannot index .* \(No space left on device\)",
        ),
        (state("red", 0), "calls hands-v0001 red"),
    ):
        with pytest.raises(HandsimError, match=rf"^.*{message}.*$"):
            wait(qdrant, small, report)


@pytest.fixture
def built(qdrant: MemoryServer, small: SmallData) -> MemoryServer:
    """A server with v0001 and v0002, the current one."""
    catalog = qdrant.catalog()
    for _ in range(2):
        catalog.build(small.pool, small.embedding)
    return qdrant


def test_the_metadata_of_a_collection_hold_its_embedding(built: MemoryServer, small: SmallData) -> None:
    metadata = built.client.get_collection("hands-v0001").config.metadata or {}
    restored = embedding_from_json(json.loads(metadata["embedding"]))
    assert restored.fingerprint == metadata["embedding_fingerprint"] == small.embedding.fingerprint
    assert (metadata["format"], metadata["version"]) == ("handsim-index-version", 1)


def test_a_lease_of_a_killed_reader_expires(built: MemoryServer) -> None:
    catalog = built.catalog()
    built.catalog().open("v0001")  # and never closed
    built.now += 119
    assert not catalog.remove("v0001")
    assert [info.name for info in catalog.versions()] == ["v0001", "v0002"]
    built.now += 2
    assert catalog.remove("v0001")
    catalog.sweep()
    assert built.client.count("hands-catalog").count == 0


def test_two_indexes_do_not_see_each_other_and_a_dropped_one_leaves_no_collection(
    built: MemoryServer, small: SmallData
) -> None:
    with pytest.raises(NotThereError):
        built.catalog("hand").current()
    built.catalog("hands-v").build(small.pool, small.embedding)
    built.catalog("hands").drop()
    assert [info.name for info in built.catalog("hands-v").versions()] == ["v0001"]
    assert built.collections() == ["hands-v-catalog", "hands-v-v0001"]


def test_collections_of_other_programs_are_left_alone(qdrant: MemoryServer, small: SmallData) -> None:
    vectors = models.VectorParams(size=2, distance=models.Distance.DOT)
    for name in ("theirs", "mine-catalog", "hands-v0001x", "hands-2"):
        qdrant.client.create_collection(name, vectors_config=vectors)
    with pytest.raises(HandsimError, match=r"collection theirs is another program's; .*another name"):
        qdrant.catalog("theirs").build(small.pool, small.embedding)
    with pytest.raises(HandsimError, match=r"collection mine-catalog is another program's"):
        qdrant.catalog("mine")
    qdrant.catalog().build(small.pool, small.embedding)
    qdrant.catalog().drop()
    assert qdrant.collections() == ["hands-2", "hands-v0001x", "mine-catalog", "theirs"]


def test_an_alias_that_points_to_no_version_is_repaired_by_publishing(built: MemoryServer) -> None:
    catalog = built.catalog()
    vectors = models.VectorParams(size=2, distance=models.Distance.DOT)
    built.client.create_collection("elsewhere", vectors_config=vectors)
    alias = models.CreateAlias(collection_name="elsewhere", alias_name="hands")
    operation = models.CreateAliasOperation(create_alias=alias)
    built.client.update_collection_aliases(change_aliases_operations=[operation])
    with pytest.raises(HandsimError, match="points to elsewhere, which is no version of memory/hands"):
        catalog.current()
    catalog.publish("v0001")
    assert catalog.current_name() == "v0001"
    # Somebody removes the collection under it: the server removes the alias, too.
    built.client.delete_collection("hands-v0001")
    with pytest.raises(NotThereError, match="has v0002, which is not current; `handsim index publish v0002`"):
        catalog.current()
    catalog.publish("v0002")
    # It points to an unfinished version.
    VersionCollection(built.connection(), "hands-v0002").update_metadata(state="building")
    with pytest.raises(NotThereError, match=r"no version 'v0002' .*`handsim index build`"):
        catalog.current()


def test_newer_formats_are_refused(built: MemoryServer) -> None:
    VersionCollection(built.connection(), "hands-v0002").update_metadata(version=2)
    with pytest.raises(HandsimError, match="hands-v0002 has format 2, this handsim reads up to 1; upgrade"):
        built.catalog().current()
    VersionCollection(built.connection(), "hands-catalog").update_metadata(version=7)
    with pytest.raises(HandsimError, match="memory/hands has format 7, this handsim reads up to 1; upgrade"):
        built.catalog()


DAMAGE: dict[str, dict[str, object]] = {
    "another program's": {"format": None},
    "no settings": {"settings": None},
    "no dimension": {"dimension": None},
    "embedding garbled": {"embedding": "{"},
    "embedding of another kind": {"embedding": "{}"},
    "another embedding": {"embedding_fingerprint": "0" * 16},
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_reported_in_one_line(built: MemoryServer, kind: str) -> None:
    VersionCollection(built.connection(), "hands-v0002").update_metadata(**DAMAGE[kind])
    with pytest.raises(HandsimError, match=r"^.*hands-v0002 is damaged .*`handsim index build`.*$"):
        built.catalog().current()
    assert built.client.count("hands-catalog").count == 0, "who failed to open it has no lease"

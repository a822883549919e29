"""Builders on a server that are stopped, taken up, replaced, and kept apart."""

import os

import pytest
from qdrant_client import models

from handsim import HandsimError, Pool, PoseEmbedding
from handsim.errors import NotThereError
from index import verify
from index.points import Progress
from index.server.collection import VersionCollection
from index.server.leases import ExclusiveLease, LeaseRegistry, Role
from tests.index.builders import MemoryServer


class StoppedError(Exception):
    """Stands for a process that is told to end in the middle."""


def stop_at(count: int) -> Progress:
    def progress(done: int, total: int) -> None:
        if done >= count:
            raise StoppedError

    return progress


def test_an_addition_in_place_that_was_stopped_is_settled(
    qdrant: MemoryServer,
    small_pool: Pool,
    grown_pool: Pool,
    small_embedding: PoseEmbedding,
    small_requests: None,
) -> None:
    catalog = qdrant.catalog()
    catalog.build(small_pool, small_embedding)
    with pytest.raises(StoppedError):
        catalog.add(grown_pool, in_place=True, progress=stop_at(5))
    assert 60 < qdrant.client.count("hands-v0001").count < 90
    assert catalog.info("v0001").points == 60
    assert catalog.add(grown_pool, in_place=True).points == 90
    with catalog.current() as version:
        assert not verify(version, read_all=True).altered

    # Stopped when all were written, but not yet counted: nothing is new, and yet something is to be done.
    VersionCollection(qdrant.connection(), "hands-v0001").update_metadata(
        state="growing", points=60, checksum="60-0"
    )
    assert catalog.add(grown_pool, in_place=True).points == 90
    with catalog.current() as version:
        assert not verify(version, read_all=True).altered


def test_a_stopped_build_is_taken_up(
    qdrant: MemoryServer, small_pool: Pool, small_embedding: PoseEmbedding, small_requests: None
) -> None:
    catalog = qdrant.catalog()
    catalog.build(small_pool, small_embedding)
    with pytest.raises(StoppedError):
        catalog.build(small_pool, small_embedding, progress=stop_at(20))
    assert 20 <= qdrant.client.count("hands-v0002").count < 60
    assert [(info.name, info.is_current) for info in catalog.versions()] == [("v0001", True)]
    with pytest.raises(NotThereError, match="no version 'v0002'"):
        catalog.open("v0002")

    was_there, _ = qdrant.client.scroll("hands-v0002", limit=1)
    qdrant.client.set_payload("hands-v0002", {"touched": True}, [was_there[0].id])
    taken_up = catalog.build(small_pool, small_embedding)
    assert (taken_up.name, taken_up.points) == ("v0002", 60)
    assert taken_up.checksum == catalog.info("v0001").checksum
    (still,) = qdrant.client.retrieve("hands-v0002", [was_there[0].id])
    assert (still.payload or {})["touched"], "what was there is not written again"


def test_a_stopped_build_of_something_else_is_thrown_away(
    qdrant: MemoryServer,
    small_pool: Pool,
    grown_pool: Pool,
    small_embedding: PoseEmbedding,
    small_requests: None,
) -> None:
    catalog = qdrant.catalog()
    with pytest.raises(StoppedError):
        catalog.build(small_pool, small_embedding, progress=stop_at(20))
    assert catalog.build(grown_pool, small_embedding).points == 90
    assert qdrant.collections() == ["hands-catalog", "hands-v0001"]
    with pytest.raises(StoppedError):
        catalog.build(small_pool, small_embedding, progress=stop_at(20))
    catalog.sweep()
    assert qdrant.collections() == ["hands-catalog", "hands-v0001"]


def test_a_draft_with_other_hands_in_it_is_refused(
    qdrant: MemoryServer, small_pool: Pool, small_embedding: PoseEmbedding, small_requests: None
) -> None:
    catalog = qdrant.catalog()
    with pytest.raises(StoppedError):
        catalog.build(small_pool, small_embedding, progress=stop_at(20))
    qdrant.client.upsert("hands-v0001", [models.PointStruct(id=1, vector=[0.0] * 14)])
    with pytest.raises(HandsimError, match=r"held 61 hands and not 60.*`handsim index build` again"):
        catalog.build(small_pool, small_embedding)
    assert catalog.build(small_pool, small_embedding).points == 60


def test_two_builders(qdrant: MemoryServer, small_pool: Pool, small_embedding: PoseEmbedding) -> None:
    catalog = qdrant.catalog()
    told = []

    def build_again(done: int, total: int) -> None:
        told.append(qdrant.catalog().active_builder())
        with pytest.raises(HandsimError, match=f"is being built by process {os.getpid()} on .*; wait"):
            qdrant.catalog().build(small_pool, small_embedding)

    catalog.build(small_pool, small_embedding, progress=build_again)
    assert len(told) == 1
    assert str(told[0]).startswith(f"process {os.getpid()} on ")
    assert catalog.active_builder() is None
    assert [info.name for info in catalog.versions()] == ["v0001"]


def test_a_builder_that_was_taken_for_dead_gives_way(
    qdrant: MemoryServer, small_pool: Pool, small_embedding: PoseEmbedding, small_requests: None
) -> None:
    """It may only have slept: the lid of a laptop was closed."""

    def sleep_and_be_replaced(done: int, total: int) -> None:
        if done == 20:
            qdrant.clock.now += 301
            registry = LeaseRegistry(qdrant.connection(), "hands", "memory/hands")
            thief = ExclusiveLease(qdrant.connection(), registry, "builder", "memory/hands")
            sleeper.renew()
            thief.release()

    sleeper: ExclusiveLease
    catalog = qdrant.catalog()
    make = catalog._lease

    def claim(role: Role) -> ExclusiveLease:
        nonlocal sleeper
        sleeper = make(role)
        return sleeper

    catalog._lease = claim  # type: ignore[method-assign]  # to have its heart beat by hand
    with pytest.raises(HandsimError, match="another process took over building memory/hands"):
        catalog.build(small_pool, small_embedding, progress=sleep_and_be_replaced)
    assert qdrant.catalog().versions() == []


def test_publishing_waits_for_another_publisher(
    qdrant: MemoryServer, small_pool: Pool, small_embedding: PoseEmbedding
) -> None:
    catalog = qdrant.catalog()
    catalog.build(small_pool, small_embedding)
    registry = LeaseRegistry(qdrant.connection(), "hands", "memory/hands")
    with (
        ExclusiveLease(qdrant.connection(), registry, "publisher", "memory/hands"),
        pytest.raises(HandsimError, match=f"is being published by process {os.getpid()} on"),
    ):
        catalog.publish("v0001")
    catalog.publish("v0001")

"""Builders on a server that are stopped, taken up, replaced, and kept apart."""

import os

import pytest
from qdrant_client import models

from handsim import HandsimError, Pool, PoseEmbedding
from handsim.errors import NotThereError
from index import verify
from index.points import Progress
from index.server.collection import VersionCollection
from index.server.leases import Claim, Register, Role
from tests.index.server.conftest import Desk


class StoppedError(Exception):
    """Stands for a process that is told to end in the middle."""


def stop_at(count: int) -> Progress:
    def progress(done: int, total: int) -> None:
        if done >= count:
            raise StoppedError

    return progress


def test_an_addition_in_place_that_was_stopped_is_settled(
    desk: Desk, small_pool: Pool, grown_pool: Pool, small_embedding: PoseEmbedding, small_requests: None
) -> None:
    catalog = desk.catalog()
    catalog.build(small_pool, small_embedding)
    with pytest.raises(StoppedError):
        catalog.add(grown_pool, in_place=True, progress=stop_at(5))
    assert 60 < desk.client.count("hands-v0001").count < 90
    assert catalog.info("v0001").points == 60
    assert catalog.add(grown_pool, in_place=True).points == 90
    with catalog.current() as version:
        assert not verify(version, read_all=True).altered

    # Stopped when all were written, but not yet counted: nothing is new, and yet something is to be done.
    VersionCollection(desk.connection(), "hands-v0001").note(state="growing", points=60, checksum="60-0")
    assert catalog.add(grown_pool, in_place=True).points == 90
    with catalog.current() as version:
        assert not verify(version, read_all=True).altered


def test_a_stopped_build_is_taken_up(
    desk: Desk, small_pool: Pool, small_embedding: PoseEmbedding, small_requests: None
) -> None:
    catalog = desk.catalog()
    catalog.build(small_pool, small_embedding)
    with pytest.raises(StoppedError):
        catalog.build(small_pool, small_embedding, progress=stop_at(20))
    assert 20 <= desk.client.count("hands-v0002").count < 60
    assert [(info.name, info.is_current) for info in catalog.versions()] == [("v0001", True)]
    with pytest.raises(NotThereError, match="no version 'v0002'"):
        catalog.open("v0002")

    was_there, _ = desk.client.scroll("hands-v0002", limit=1)
    desk.client.set_payload("hands-v0002", {"touched": True}, [was_there[0].id])
    taken_up = catalog.build(small_pool, small_embedding)
    assert (taken_up.name, taken_up.points) == ("v0002", 60)
    assert taken_up.checksum == catalog.info("v0001").checksum
    (still,) = desk.client.retrieve("hands-v0002", [was_there[0].id])
    assert (still.payload or {})["touched"], "what was there is not written again"


def test_a_stopped_build_of_something_else_is_thrown_away(
    desk: Desk, small_pool: Pool, grown_pool: Pool, small_embedding: PoseEmbedding, small_requests: None
) -> None:
    catalog = desk.catalog()
    with pytest.raises(StoppedError):
        catalog.build(small_pool, small_embedding, progress=stop_at(20))
    assert catalog.build(grown_pool, small_embedding).points == 90
    assert desk.names() == ["hands-catalog", "hands-v0001"]
    with pytest.raises(StoppedError):
        catalog.build(small_pool, small_embedding, progress=stop_at(20))
    catalog.sweep()
    assert desk.names() == ["hands-catalog", "hands-v0001"]


def test_a_draft_with_other_hands_in_it_is_refused(
    desk: Desk, small_pool: Pool, small_embedding: PoseEmbedding, small_requests: None
) -> None:
    catalog = desk.catalog()
    with pytest.raises(StoppedError):
        catalog.build(small_pool, small_embedding, progress=stop_at(20))
    desk.client.upsert("hands-v0001", [models.PointStruct(id=1, vector=[0.0] * 14)])
    with pytest.raises(HandsimError, match=r"held 61 hands and not 60.*`handsim index build` again"):
        catalog.build(small_pool, small_embedding)
    assert catalog.build(small_pool, small_embedding).points == 60


def test_two_builders(desk: Desk, small_pool: Pool, small_embedding: PoseEmbedding) -> None:
    catalog = desk.catalog()
    told = []

    def build_again(done: int, total: int) -> None:
        told.append(desk.catalog().under_way())
        with pytest.raises(HandsimError, match=f"is being built by process {os.getpid()} on .*; wait"):
            desk.catalog().build(small_pool, small_embedding)

    catalog.build(small_pool, small_embedding, progress=build_again)
    assert len(told) == 1
    assert str(told[0]).startswith(f"process {os.getpid()} on ")
    assert catalog.under_way() is None
    assert [info.name for info in catalog.versions()] == ["v0001"]


def test_a_builder_that_was_taken_for_dead_gives_way(
    desk: Desk, small_pool: Pool, small_embedding: PoseEmbedding, small_requests: None
) -> None:
    """It may only have slept: the lid of a laptop was closed."""

    def sleep_and_be_replaced(done: int, total: int) -> None:
        if done == 20:
            desk.clock.now += 301
            register = Register(desk.connection(), "hands", "memory/hands")
            thief = Claim(desk.connection(), register, "builder", "memory/hands")
            sleeper.beat()
            thief.release()

    sleeper: Claim
    catalog = desk.catalog()
    make = catalog._claim

    def claim(role: Role) -> Claim:
        nonlocal sleeper
        sleeper = make(role)
        return sleeper

    catalog._claim = claim  # type: ignore[method-assign]  # to have its heart beat by hand
    with pytest.raises(HandsimError, match="another process took over building memory/hands"):
        catalog.build(small_pool, small_embedding, progress=sleep_and_be_replaced)
    assert desk.catalog().versions() == []


def test_publishing_waits_for_another_publisher(
    desk: Desk, small_pool: Pool, small_embedding: PoseEmbedding
) -> None:
    catalog = desk.catalog()
    catalog.build(small_pool, small_embedding)
    register = Register(desk.connection(), "hands", "memory/hands")
    with (
        Claim(desk.connection(), register, "publisher", "memory/hands"),
        pytest.raises(HandsimError, match=f"is being published by process {os.getpid()} on"),
    ):
        catalog.publish("v0001")
    catalog.publish("v0001")

"""Versions on a server: built, published, rolled back, extended, removed, by several at once."""

import json
import os

import numpy as np
import pytest
from qdrant_client import models

from handsim import HandsimError, Pool, PoseEmbedding
from handsim.embedding import embedding_from_facts
from handsim.errors import NotThereError
from index import LiveIndex, verify
from index.points import Progress
from index.server.collection import VersionCollection
from index.server.heart import Claim
from index.server.presence import Role
from index.server.register import Register
from tests.index.server.conftest import Desk


def names(desk: Desk) -> list[str]:
    return sorted(collection.name for collection in desk.client.get_collections().collections)


def test_nothing_built_yet(desk: Desk) -> None:
    catalog = desk.catalog()
    assert catalog.versions() == []
    assert catalog.publications() == []
    assert catalog.under_way() is None
    with pytest.raises(NotThereError, match="`handsim index build`"):
        catalog.current()
    with pytest.raises(NotThereError, match=r"no version 'v0001' \(it has: none\)"):
        catalog.publish("v0001")
    with pytest.raises(NotThereError, match="there is no index at memory/hands yet"):
        catalog.rollback()
    catalog.sweep()
    catalog.drop()
    assert names(desk) == []


def test_build_publish_and_go_back(desk: Desk, small_pool: Pool, small_embedding: PoseEmbedding) -> None:
    catalog = desk.catalog()
    calls: list[tuple[int, int]] = []
    first = catalog.build(
        small_pool, small_embedding, progress=lambda done, total: calls.append((done, total))
    )
    assert calls[-1] == (60, 60)
    assert (first.name, first.points, first.dimension, first.is_current) == ("v0001", 60, 14, True)
    assert first.embedding_fingerprint == small_embedding.fingerprint
    assert first.recall_at_1 == 1.0
    assert first.bytes_on_disk is None

    other = PoseEmbedding.fit(small_pool, components=5)
    with LiveIndex(desk.catalog()) as live:
        with live.version() as version:
            assert version.embedding.fingerprint == small_embedding.fingerprint
        catalog.build(small_pool, other, publish=False)
        assert [info.is_current for info in catalog.versions()] == [True, False]
        with live.version() as before:
            catalog.publish("v0002")
            assert before.info.name == "v0001"
            assert before.search_hands(small_pool.hand_ids[:1], 1).found.all()
        with live.version() as after:
            assert after.embedding.fingerprint == other.fingerprint
    assert catalog.publications() == ["v0002", "v0001"]
    assert catalog.rollback() == "v0001"
    assert catalog.publications() == ["v0001"]
    with pytest.raises(HandsimError, match="only version"):
        catalog.rollback()
    # What was rolled back is no longer among those to go back to.
    catalog.build(small_pool, other)
    assert catalog.publications() == ["v0003", "v0001"]


def test_a_version_is_what_was_written(desk: Desk, small_pool: Pool, small_embedding: PoseEmbedding) -> None:
    desk.catalog().build(small_pool, small_embedding)
    with desk.catalog().current() as version:
        found = verify(version, read_all=True, pool_ids=small_pool.hand_ids)
        assert (found.duplicates, found.altered) == (0, False)
        assert (found.missing_from_index, found.missing_from_pool) == (0, 0)
        assert found.problems() == []
    # What the collection says of itself is what the embedding says.
    info = desk.client.get_collection("hands-v0001")
    metadata = info.config.metadata or {}
    restored = embedding_from_facts(json.loads(metadata["embedding"]))
    assert restored.fingerprint == small_embedding.fingerprint
    assert metadata["embedding_fingerprint"] == small_embedding.fingerprint
    assert (metadata["format"], metadata["version"]) == ("handsim-index-version", 1)


def test_prune_spares_what_is_read(desk: Desk, small_pool: Pool, small_embedding: PoseEmbedding) -> None:
    catalog = desk.catalog()
    for _ in range(4):
        catalog.build(small_pool, small_embedding)
    reader = desk.catalog().open("v0002")
    assert catalog.prune(1) == (["v0001", "v0003"], ["v0002"])
    with pytest.raises(HandsimError, match="v0004 is the current version"):
        catalog.remove("v0004")
    with pytest.raises(HandsimError, match="a reader has v0002 of memory/hands open"):
        catalog.drop()
    assert reader.search_hands(small_pool.hand_ids[:1], 1).found.all()
    reader.close()
    reader.close()
    assert catalog.prune(1) == (["v0002"], [])
    assert [info.name for info in catalog.versions()] == ["v0004"]
    catalog.build(small_pool, small_embedding, publish=False)
    assert catalog.remove("v0005")
    assert catalog.build(small_pool, small_embedding).name == "v0006", "numbers are never used twice"
    catalog.drop()
    assert names(desk) == []


def test_a_reader_that_was_killed_holds_nothing(
    desk: Desk, small_pool: Pool, small_embedding: PoseEmbedding
) -> None:
    catalog = desk.catalog()
    catalog.build(small_pool, small_embedding)
    catalog.build(small_pool, small_embedding)
    desk.catalog().open("v0001")  # and is never heard of again
    desk.clock.now += 119
    assert not catalog.remove("v0001")
    assert [info.name for info in catalog.versions()] == ["v0001", "v0002"]
    desk.clock.now += 2
    assert catalog.remove("v0001")
    catalog.sweep()
    assert desk.client.count("hands-catalog").count == 0


def test_hands_are_added_to_a_copy(
    desk: Desk, small_pool: Pool, grown_pool: Pool, small_embedding: PoseEmbedding
) -> None:
    catalog = desk.catalog()
    first = catalog.build(small_pool, small_embedding)
    assert catalog.add(small_pool) == first
    second = catalog.add(grown_pool)
    assert (second.name, second.points, second.is_current) == ("v0002", 90, True)
    assert second.checksum == catalog.build(grown_pool, small_embedding).checksum
    assert catalog.info("v0001").points == 60


def test_hands_are_added_in_place(
    desk: Desk, small_pool: Pool, grown_pool: Pool, small_embedding: PoseEmbedding
) -> None:
    catalog = desk.catalog()
    catalog.build(small_pool, small_embedding)
    with desk.catalog().current() as reader:
        grown = catalog.add(grown_pool, in_place=True)
        assert (grown.name, grown.points) == ("v0001", 90)
        new = np.setdiff1d(grown_pool.hand_ids, small_pool.hand_ids)
        assert reader.search_hands(new[:3], 1).found.all()
    with catalog.current() as version:
        assert not verify(version, read_all=True).altered


class StoppedError(Exception):
    """Stands for a process that is told to end in the middle."""


def stop_at(count: int) -> Progress:
    def progress(done: int, total: int) -> None:
        if done >= count:
            raise StoppedError

    return progress


@pytest.fixture
def small_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.server.upload._HANDS_AT_ONCE", 5)


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
    assert names(desk) == ["hands-catalog", "hands-v0001"]
    with pytest.raises(StoppedError):
        catalog.build(small_pool, small_embedding, progress=stop_at(20))
    catalog.sweep()
    assert names(desk) == ["hands-catalog", "hands-v0001"]


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


def test_two_indexes_do_not_see_each_other(
    desk: Desk, small_pool: Pool, small_embedding: PoseEmbedding
) -> None:
    desk.catalog("hands").build(small_pool, small_embedding)
    with pytest.raises(NotThereError):
        desk.catalog("hand").current()
    desk.catalog("hands-v").build(small_pool, small_embedding)
    desk.catalog("hands").drop()
    assert [info.name for info in desk.catalog("hands-v").versions()] == ["v0001"]


def test_collections_of_other_programs_are_left_alone(
    desk: Desk, small_pool: Pool, small_embedding: PoseEmbedding
) -> None:
    vectors = models.VectorParams(size=2, distance=models.Distance.DOT)
    for name in ("theirs", "mine-catalog", "hands-v0001x", "hands-2"):
        desk.client.create_collection(name, vectors_config=vectors)
    with pytest.raises(HandsimError, match=r"collection theirs is another program's; .*another name"):
        desk.catalog("theirs").build(small_pool, small_embedding)
    with pytest.raises(HandsimError, match=r"collection mine-catalog is another program's"):
        desk.catalog("mine")
    desk.catalog().build(small_pool, small_embedding)
    desk.catalog().drop()
    assert names(desk) == ["hands-2", "hands-v0001x", "mine-catalog", "theirs"]


def test_an_alias_that_points_astray(desk: Desk, small_pool: Pool, small_embedding: PoseEmbedding) -> None:
    catalog = desk.catalog()
    catalog.build(small_pool, small_embedding)
    catalog.build(small_pool, small_embedding)
    vectors = models.VectorParams(size=2, distance=models.Distance.DOT)
    desk.client.create_collection("elsewhere", vectors_config=vectors)

    def point(to: str) -> None:
        target = models.CreateAlias(collection_name=to, alias_name="hands")
        operation = models.CreateAliasOperation(create_alias=target)
        desk.client.update_collection_aliases(change_aliases_operations=[operation])

    point("elsewhere")
    with pytest.raises(HandsimError, match="points to elsewhere, which is no version of memory/hands"):
        catalog.current()
    catalog.publish("v0001")
    assert catalog.current_name() == "v0001"
    # Somebody removes the collection under it: the server takes the alias along.
    desk.client.delete_collection("hands-v0001")
    with pytest.raises(NotThereError, match="there is no index at memory/hands yet"):
        catalog.current()
    catalog.publish("v0002")
    # It points to what is only being built.
    VersionCollection(desk.connection(), "hands-v0002").note(state="building")
    with pytest.raises(NotThereError, match=r"no version 'v0002' .*`handsim index build`"):
        catalog.current()


def test_newer_formats_are_refused(desk: Desk, small_pool: Pool, small_embedding: PoseEmbedding) -> None:
    catalog = desk.catalog()
    catalog.build(small_pool, small_embedding)
    VersionCollection(desk.connection(), "hands-v0001").note(version=2)
    with pytest.raises(HandsimError, match="hands-v0001 has format 2, this handsim reads up to 1; upgrade"):
        catalog.current()
    VersionCollection(desk.connection(), "hands-catalog").note(version=7)
    with pytest.raises(HandsimError, match="memory/hands has format 7, this handsim reads up to 1; upgrade"):
        desk.catalog()


DAMAGE: dict[str, dict[str, object]] = {
    "not ours": {"format": None},
    "settings gone": {"settings": None},
    "no dimension": {"dimension": None},
    "embedding garbage": {"embedding": "{"},
    "embedding of another kind": {"embedding": "{}"},
    "another embedding": {"embedding_fingerprint": "0" * 16},
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_told_in_one_line(
    desk: Desk, small_pool: Pool, small_embedding: PoseEmbedding, kind: str
) -> None:
    desk.catalog().build(small_pool, small_embedding)
    VersionCollection(desk.connection(), "hands-v0001").note(**DAMAGE[kind])
    with pytest.raises(HandsimError) as caught:
        desk.catalog().current()
    message = str(caught.value)
    assert "\n" not in message
    assert "hands-v0001 is damaged" in message
    assert "`handsim index build`" in message
    assert desk.client.count("hands-catalog").count == 0, "nobody who failed to open it holds it"

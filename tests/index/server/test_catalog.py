"""What else is on a server: other indexes, other programs, killed readers, newer formats, damage."""

import json

import pytest
from qdrant_client import models

from handsim import HandsimError, Pool, PoseEmbedding
from handsim.embedding import embedding_from_json
from handsim.errors import NotThereError
from index.server.collection import VersionCollection
from tests.index.builders import MemoryServer


@pytest.fixture
def built(qdrant: MemoryServer, small_pool: Pool, small_embedding: PoseEmbedding) -> MemoryServer:
    """A server with v0001 and v0002, the current one."""
    catalog = qdrant.catalog()
    for _ in range(2):
        catalog.build(small_pool, small_embedding)
    return qdrant


def test_the_metadata_of_a_collection_hold_its_embedding(
    built: MemoryServer, small_embedding: PoseEmbedding
) -> None:
    metadata = built.client.get_collection("hands-v0001").config.metadata or {}
    restored = embedding_from_json(json.loads(metadata["embedding"]))
    assert restored.fingerprint == metadata["embedding_fingerprint"] == small_embedding.fingerprint
    assert (metadata["format"], metadata["version"]) == ("handsim-index-version", 1)


def test_a_lease_of_a_killed_reader_expires(built: MemoryServer) -> None:
    catalog = built.catalog()
    built.catalog().open("v0001")  # and never closed
    built.clock.now += 119
    assert not catalog.remove("v0001")
    assert [info.name for info in catalog.versions()] == ["v0001", "v0002"]
    built.clock.now += 2
    assert catalog.remove("v0001")
    catalog.sweep()
    assert built.client.count("hands-catalog").count == 0


def test_a_dropped_index_leaves_no_collection(built: MemoryServer) -> None:
    built.catalog().drop()
    assert built.collections() == []


def test_two_indexes_do_not_see_each_other(
    built: MemoryServer, small_pool: Pool, small_embedding: PoseEmbedding
) -> None:
    with pytest.raises(NotThereError):
        built.catalog("hand").current()
    built.catalog("hands-v").build(small_pool, small_embedding)
    built.catalog("hands").drop()
    assert [info.name for info in built.catalog("hands-v").versions()] == ["v0001"]


def test_collections_of_other_programs_are_left_alone(
    qdrant: MemoryServer, small_pool: Pool, small_embedding: PoseEmbedding
) -> None:
    vectors = models.VectorParams(size=2, distance=models.Distance.DOT)
    for name in ("theirs", "mine-catalog", "hands-v0001x", "hands-2"):
        qdrant.client.create_collection(name, vectors_config=vectors)
    with pytest.raises(HandsimError, match=r"collection theirs is another program's; .*another name"):
        qdrant.catalog("theirs").build(small_pool, small_embedding)
    with pytest.raises(HandsimError, match=r"collection mine-catalog is another program's"):
        qdrant.catalog("mine")
    qdrant.catalog().build(small_pool, small_embedding)
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
    with pytest.raises(NotThereError, match="there is no index at memory/hands yet"):
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
    with pytest.raises(HandsimError) as caught:
        built.catalog().current()
    message = str(caught.value)
    assert "\n" not in message
    assert "hands-v0002 is damaged" in message
    assert "`handsim index build`" in message
    assert built.client.count("hands-catalog").count == 0, "who failed to open it has no lease"

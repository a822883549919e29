"""What else may be on a server: other indexes, other programs, newer formats, damage."""

import pytest
from qdrant_client import models

from handsim import HandsimError, Pool, PoseEmbedding
from handsim.errors import NotThereError
from index.server.collection import VersionCollection
from tests.index.builders import MemoryServer


def test_two_indexes_do_not_see_each_other(
    qdrant: MemoryServer, small_pool: Pool, small_embedding: PoseEmbedding
) -> None:
    qdrant.catalog("hands").build(small_pool, small_embedding)
    with pytest.raises(NotThereError):
        qdrant.catalog("hand").current()
    qdrant.catalog("hands-v").build(small_pool, small_embedding)
    qdrant.catalog("hands").drop()
    assert [info.name for info in qdrant.catalog("hands-v").versions()] == ["v0001"]


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


def test_an_alias_that_points_astray(
    qdrant: MemoryServer, small_pool: Pool, small_embedding: PoseEmbedding
) -> None:
    catalog = qdrant.catalog()
    catalog.build(small_pool, small_embedding)
    catalog.build(small_pool, small_embedding)
    vectors = models.VectorParams(size=2, distance=models.Distance.DOT)
    qdrant.client.create_collection("elsewhere", vectors_config=vectors)

    def point(to: str) -> None:
        target = models.CreateAlias(collection_name=to, alias_name="hands")
        operation = models.CreateAliasOperation(create_alias=target)
        qdrant.client.update_collection_aliases(change_aliases_operations=[operation])

    point("elsewhere")
    with pytest.raises(HandsimError, match="points to elsewhere, which is no version of memory/hands"):
        catalog.current()
    catalog.publish("v0001")
    assert catalog.current_name() == "v0001"
    # Somebody removes the collection under it: the server takes the alias along.
    qdrant.client.delete_collection("hands-v0001")
    with pytest.raises(NotThereError, match="there is no index at memory/hands yet"):
        catalog.current()
    catalog.publish("v0002")
    # It points to what is only being built.
    VersionCollection(qdrant.connection(), "hands-v0002").update_metadata(state="building")
    with pytest.raises(NotThereError, match=r"no version 'v0002' .*`handsim index build`"):
        catalog.current()


def test_newer_formats_are_refused(
    qdrant: MemoryServer, small_pool: Pool, small_embedding: PoseEmbedding
) -> None:
    catalog = qdrant.catalog()
    catalog.build(small_pool, small_embedding)
    VersionCollection(qdrant.connection(), "hands-v0001").update_metadata(version=2)
    with pytest.raises(HandsimError, match="hands-v0001 has format 2, this handsim reads up to 1; upgrade"):
        catalog.current()
    VersionCollection(qdrant.connection(), "hands-catalog").update_metadata(version=7)
    with pytest.raises(HandsimError, match="memory/hands has format 7, this handsim reads up to 1; upgrade"):
        qdrant.catalog()


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
    qdrant: MemoryServer, small_pool: Pool, small_embedding: PoseEmbedding, kind: str
) -> None:
    qdrant.catalog().build(small_pool, small_embedding)
    VersionCollection(qdrant.connection(), "hands-v0001").update_metadata(**DAMAGE[kind])
    with pytest.raises(HandsimError) as caught:
        qdrant.catalog().current()
    message = str(caught.value)
    assert "\n" not in message
    assert "hands-v0001 is damaged" in message
    assert "`handsim index build`" in message
    assert qdrant.client.count("hands-catalog").count == 0, "nobody who failed to open it holds it"

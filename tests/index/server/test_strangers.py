"""What else may be on a server: other indexes, other programs, newer formats, damage."""

import pytest
from qdrant_client import models

from handsim import HandsimError, Pool, PoseEmbedding
from handsim.errors import NotThereError
from index.server.collection import VersionCollection
from tests.index.server.conftest import Desk


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
    assert desk.names() == ["hands-2", "hands-v0001x", "mine-catalog", "theirs"]


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

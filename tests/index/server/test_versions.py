"""Versions on a server: built, published, rolled back, extended, removed, by several at once."""

import json

import numpy as np
import pytest

from handsim import HandsimError, Pool, PoseEmbedding
from handsim.embedding import embedding_from_json
from handsim.errors import NotThereError
from index import LiveIndex, verify
from tests.index.builders import MemoryServer


def test_nothing_built_yet(qdrant: MemoryServer) -> None:
    catalog = qdrant.catalog()
    assert catalog.versions() == []
    assert catalog.publications() == []
    assert catalog.active_builder() is None
    with pytest.raises(NotThereError, match="`handsim index build`"):
        catalog.current()
    with pytest.raises(NotThereError, match=r"no version 'v0001' \(it has: none\)"):
        catalog.publish("v0001")
    with pytest.raises(NotThereError, match="there is no index at memory/hands yet"):
        catalog.rollback()
    catalog.sweep()
    catalog.drop()
    assert qdrant.collections() == []


def test_build_publish_and_go_back(
    qdrant: MemoryServer, small_pool: Pool, small_embedding: PoseEmbedding
) -> None:
    catalog = qdrant.catalog()
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
    with LiveIndex(qdrant.catalog()) as live:
        with live.version() as version:
            assert version.embedding.fingerprint == small_embedding.fingerprint
        catalog.build(small_pool, other, publish=False)
        assert [info.is_current for info in catalog.versions()] == [True, False]
        with live.version() as before:
            catalog.publish("v0002")
            assert before.info.name == "v0001"
            assert before.search_hands(small_pool.hand_ids[:1], 1).is_found.all()
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


def test_a_version_is_what_was_written(
    qdrant: MemoryServer, small_pool: Pool, small_embedding: PoseEmbedding
) -> None:
    qdrant.catalog().build(small_pool, small_embedding)
    with qdrant.catalog().current() as version:
        found = verify(version, read_all=True, pool_ids=small_pool.hand_ids)
        assert (found.duplicates, found.altered) == (0, False)
        assert (found.missing_from_index, found.missing_from_pool) == (0, 0)
        assert found.problems() == []
    # What the collection says of itself is what the embedding says.
    info = qdrant.client.get_collection("hands-v0001")
    metadata = info.config.metadata or {}
    restored = embedding_from_json(json.loads(metadata["embedding"]))
    assert restored.fingerprint == small_embedding.fingerprint
    assert metadata["embedding_fingerprint"] == small_embedding.fingerprint
    assert (metadata["format"], metadata["version"]) == ("handsim-index-version", 1)


def test_prune_spares_what_is_read(
    qdrant: MemoryServer, small_pool: Pool, small_embedding: PoseEmbedding
) -> None:
    catalog = qdrant.catalog()
    for _ in range(4):
        catalog.build(small_pool, small_embedding)
    reader = qdrant.catalog().open("v0002")
    assert catalog.prune(1) == (["v0001", "v0003"], ["v0002"])
    with pytest.raises(HandsimError, match="v0004 is the current version"):
        catalog.remove("v0004")
    with pytest.raises(HandsimError, match="a reader has v0002 of memory/hands open"):
        catalog.drop()
    assert reader.search_hands(small_pool.hand_ids[:1], 1).is_found.all()
    reader.close()
    reader.close()
    assert catalog.prune(1) == (["v0002"], [])
    assert [info.name for info in catalog.versions()] == ["v0004"]
    catalog.build(small_pool, small_embedding, publish=False)
    assert catalog.remove("v0005")
    assert catalog.build(small_pool, small_embedding).name == "v0006", "numbers are never used twice"
    catalog.drop()
    assert qdrant.collections() == []


def test_a_reader_that_was_killed_holds_nothing(
    qdrant: MemoryServer, small_pool: Pool, small_embedding: PoseEmbedding
) -> None:
    catalog = qdrant.catalog()
    catalog.build(small_pool, small_embedding)
    catalog.build(small_pool, small_embedding)
    qdrant.catalog().open("v0001")  # and is never heard of again
    qdrant.clock.now += 119
    assert not catalog.remove("v0001")
    assert [info.name for info in catalog.versions()] == ["v0001", "v0002"]
    qdrant.clock.now += 2
    assert catalog.remove("v0001")
    catalog.sweep()
    assert qdrant.client.count("hands-catalog").count == 0


def test_hands_are_added_to_a_copy(
    qdrant: MemoryServer, small_pool: Pool, grown_pool: Pool, small_embedding: PoseEmbedding
) -> None:
    catalog = qdrant.catalog()
    first = catalog.build(small_pool, small_embedding)
    assert catalog.add(small_pool) == first
    second = catalog.add(grown_pool)
    assert (second.name, second.points, second.is_current) == ("v0002", 90, True)
    assert second.checksum == catalog.build(grown_pool, small_embedding).checksum
    assert catalog.info("v0001").points == 60


def test_hands_are_added_in_place(
    qdrant: MemoryServer, small_pool: Pool, grown_pool: Pool, small_embedding: PoseEmbedding
) -> None:
    catalog = qdrant.catalog()
    catalog.build(small_pool, small_embedding)
    with qdrant.catalog().current() as reader:
        grown = catalog.add(grown_pool, in_place=True)
        assert (grown.name, grown.points) == ("v0001", 90)
        new = np.setdiff1d(grown_pool.hand_ids, small_pool.hand_ids)
        assert reader.search_hands(new[:3], 1).is_found.all()
    with catalog.current() as version:
        assert not verify(version, read_all=True).altered

"""A copied index, between directories and servers in all directions: every version, hand by hand the same."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from qdrant_client import models

from handsim import HandsimError, Pool
from handsim.errors import NotThereError
from index import Catalog, open_catalog, verify
from index.copy import Placement, copy_catalog
from tests.index.builders import MemoryServer, SmallData, copy_index, memory_catalog
from tests.index.server.small_server import SmallServer

pytestmark = pytest.mark.slow

NAMES = ["v0001", "v0002", "v0003"]


@pytest.fixture(params=["directory", "server"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Catalog]:
    with memory_catalog() if request.param == "server" else open_catalog(tmp_path / "copy") as catalog:
        yield catalog


@pytest.fixture
def source(three_versions: Path) -> Catalog:
    """An embedded index with three versions, only to be read."""
    return open_catalog(three_versions)


def assert_same(copied: Catalog, original: Catalog, pool: Pool) -> None:
    """Every version has the same facts and payloads, and finds the same."""
    assert [info.name for info in copied.versions()] == [info.name for info in original.versions()]
    assert copied.publications() == original.publications()
    for info in original.versions():
        with copied.open(info.name) as copy, original.open(info.name) as version:
            for field in ("points", "dimension", "embedding_fingerprint", "checksum", "settings"):
                assert getattr(copy.info, field) == getattr(version.info, field)
            payloads = version.payloads(pool.hand_ids)
            # The engines may differ in the last digit of a score.
            assert copy.payloads(pool.hand_ids) == [
                {**payload, "score": pytest.approx(payload["score"])} for payload in payloads
            ]
            ours, theirs = (
                one.search_hands(pool.hand_ids[::9], 4, other_video=True) for one in (copy, version)
            )
            np.testing.assert_allclose(ours.distances, theirs.distances, rtol=1e-4)


def test_all_versions_are_copied_once_and_published_in_the_same_order(
    published: Catalog, target: Catalog, small: SmallData
) -> None:
    published.publish("v0002")
    copies: list[int] = []

    def progress(done: int, total: int) -> None:
        assert done <= total == 60
        copies.extend([done] * (done == total))

    assert copy_catalog(published, target, progress=progress) == NAMES
    assert copies == [60] * 3
    assert_same(target, published, small.pool)
    assert target.publications() == ["v0002", "v0003", "v0001"]
    assert target.rollback() == "v0003"
    assert copy_catalog(published, target, progress=progress) == NAMES
    assert len(copies) == 3, "nothing is copied twice"
    assert target.current_name() == "v0002"
    # The copy does not need its original, and its numbers go on.
    published.drop()
    with target.current() as version:
        assert version.search_keypoints(small.pool.keypoints[:1], 1).hand_ids[0, 0] == small.pool.hand_ids[0]
    assert target.build(small.pool, small.embedding).name == "v0004"


def test_an_interrupted_copy_is_resumed(source: Catalog, target: Catalog, small: SmallData) -> None:
    copies: list[str] = []

    def progress(done: int, total: int) -> None:
        if done == total:
            copies.append("one")
            if len(copies) == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_catalog(source, target, progress=progress)
    assert [info.name for info in target.versions()] == ["v0001"]
    assert target.publications() == [], "nothing is published before all is there"
    assert copy_catalog(source, target, progress=progress) == NAMES
    assert len(copies) == 4, "a version that is there is not copied again"
    assert_same(target, source, small.pool)


def test_a_server_is_sent_no_hand_twice_after_an_interruption(
    small: SmallData, small_requests: None, tmp_path: Path
) -> None:
    source = open_catalog(tmp_path / "index")
    source.build(small.pool, small.embedding)

    def interrupt(done: int, _: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    with SmallServer() as server, open_catalog(server.address) as target:
        with pytest.raises(KeyboardInterrupt):
            copy_catalog(source, target, progress=interrupt)
        copy_catalog(source, target)
        sent = [
            point.id.num
            for name, request in server.calls
            if name == "Upsert" and request.collection_name == "hands-v0001"
            for point in request.points
        ]
        assert len(sent) == len(set(sent)) == 60
        # The way back: the version that was being written begins anew.
        with open_catalog(tmp_path / "back") as back:
            with pytest.raises(KeyboardInterrupt):
                copy_catalog(target, back, progress=lambda *_: interrupt(20, 60))
            assert back.versions() == []
            assert copy_catalog(target, back) == back.publications() == ["v0001"]


def test_a_copy_knows_what_the_last_verification_measured(
    catalog: Catalog, target: Catalog, small: SmallData
) -> None:
    catalog.build(small.pool, small.embedding)
    with catalog.open("v0001") as version:
        measured = replace(verify(version, sample=20), recall_at_1=0.995)
    catalog.record_verification("v0001", measured)
    copy_catalog(catalog, target)
    assert target.read_verification("v0001") == measured
    assert target.info("v0001").recall_at_1 == 0.995
    own = replace(measured, recall_at_1=1.0, verified_at="2100-01-01T00:00:00+00:00")
    target.record_verification("v0001", own)
    copy_catalog(catalog, target)
    assert target.read_verification("v0001") == own, "a later one of the copy itself stays"


def test_a_copy_may_have_other_parts_than_its_original(source: Catalog, qdrant: MemoryServer) -> None:
    with qdrant.catalog() as target:
        copy_catalog(source, target, Placement(shards=6, replicas=2, on_disk=True))
        settings = target.info("v0001").settings
        assert settings == replace(source.info("v0001").settings, shards=6, replicas=2, on_disk=True)
        copy_catalog(source, target)
        message = (
            "has v0001 already, with --shards 6 --replicas 2 and vectors on disk; leave the options out, "
        )
        message += "or copy to an empty place"
        with pytest.raises(HandsimError, match=message):
            copy_catalog(source, target, Placement(shards=3))
        with pytest.raises(HandsimError, match="shards is 0; it lies between 1 and 1024"):
            copy_catalog(source, target, Placement(shards=0))


def test_versions_that_are_pruned_or_published_meanwhile_do_not_end_a_copy(
    three_versions: Path, tmp_path: Path
) -> None:
    source = open_catalog(copy_index(three_versions, tmp_path / "index"))
    target = open_catalog(tmp_path / "copy")

    def meddle(done: int, total: int) -> None:
        if done == total and len(source.versions()) == 3:
            source.remove("v0002")
            source.publish("v0001")

    assert copy_catalog(source, target, progress=meddle) == ["v0001", "v0003"]
    assert target.publications() == ["v0003", "v0001"], "as it was when the copy began"


def test_a_copy_inside_its_original_is_refused(source: Catalog) -> None:
    assert source.root is not None
    with pytest.raises(HandsimError, match=r"/copy is inside .* and would be lost with it; name a place out"):
        copy_catalog(source, open_catalog(source.root / "copy"))


def test_another_version_of_the_same_name_is_not_overwritten(
    source: Catalog, target: Catalog, small: SmallData
) -> None:
    own = target.build(small.pool, small.other_embedding)
    message = f"{target.address} has a v0001 of its own; copy to an empty place"
    with pytest.raises(HandsimError, match=message):
        copy_catalog(source, target)
    assert target.versions() == [own]


def test_a_copy_that_was_altered_is_reported(source: Catalog, qdrant: MemoryServer, small: SmallData) -> None:
    with qdrant.catalog() as target:
        copy_catalog(source, target)
        moved = models.PointVectors(id=int(small.pool.hand_ids[5]), vector=np.ones(5).tolist())
        qdrant.client.update_vectors("hands-v0002", [moved])
        message = (
            r"^v0002 at memory/hands differs from its original \(60-.*`handsim index verify v0002` tells"
        )
        with pytest.raises(HandsimError, match=message):
            copy_catalog(source, target)


def test_an_original_that_was_altered_is_not_published(three_versions: Path, tmp_path: Path) -> None:
    source = copy_index(three_versions, tmp_path / "index")
    file = source / "v0002" / "hands.arrow"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    target = open_catalog(tmp_path / "copy")
    with pytest.raises(HandsimError, match="`handsim index verify v0002` tells which of them is whole"):
        copy_catalog(open_catalog(source), target)
    assert target.current_name() is None


def test_a_copy_of_no_version_is_refused_and_of_an_unpublished_one_unpublished(
    catalog: Catalog, target: Catalog, small: SmallData
) -> None:
    with pytest.raises(NotThereError, match=r"there is no index at .*; `handsim index build` makes one"):
        copy_catalog(catalog, target)
    built = catalog.build(small.pool, small.embedding, publish=False)
    assert copy_catalog(catalog, target) == ["v0001"]
    assert target.publications() == []
    assert copy_catalog(catalog, catalog) == ["v0001"], "a copy onto itself changes nothing"
    assert catalog.versions() == [built]

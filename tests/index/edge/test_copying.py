"""Indexes moved: from a directory to a server and back, all versions, hand by hand the same."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from qdrant_client import models

from handsim import HandsimError, Pool, PoseEmbedding
from handsim.errors import NotThereError
from index import Catalog, open_catalog
from index.copy import copy_catalog
from tests.index.builders import MemoryServer, copy_index

NAMES = ["v0001", "v0002", "v0003"]


@pytest.fixture(params=["directory", "server"])
def target(request: pytest.FixtureRequest, tmp_path: Path, qdrant: MemoryServer) -> Iterator[Catalog]:
    with qdrant.catalog() if request.param == "server" else open_catalog(tmp_path / "copy") as catalog:
        yield catalog


def assert_same(copied: Catalog, original: Catalog, pool: Pool) -> None:
    """Every version says the same of itself and of hands, and finds the same."""
    assert [info.name for info in copied.versions()] == [info.name for info in original.versions()]
    for info in original.versions():
        with copied.open(info.name) as copy, original.open(info.name) as version:
            for fact in (
                "points",
                "dimension",
                "embedding_fingerprint",
                "checksum",
                "settings",
                "is_current",
            ):
                assert getattr(copy.info, fact) == getattr(version.info, fact)
            assert copy.payloads(pool.hand_ids) == version.payloads(pool.hand_ids)
            own, theirs = (
                one.search_hands(pool.hand_ids[::9], 4, other_video=True) for one in (copy, version)
            )
            np.testing.assert_allclose(own.distances, theirs.distances, rtol=1e-4)


def test_all_versions_and_which_are_current(published: Catalog, target: Catalog, small_pool: Pool) -> None:
    published.publish("v0002")
    calls: list[tuple[int, int]] = []
    assert copy_catalog(published, target, progress=lambda *done: calls.append(done)) == NAMES
    assert calls == [(60, 60)] * 3
    assert_same(target, published, small_pool)
    assert target.publications() == published.publications() == ["v0002", "v0003", "v0001"]
    assert target.rollback() == "v0003"
    calls.clear()
    assert copy_catalog(published, target, progress=lambda *done: calls.append(done)) == NAMES
    assert calls == [], "nothing is copied twice"
    assert target.current_name() == "v0002"


def test_there_and_back_again(
    three_versions: Path, qdrant: MemoryServer, small_pool: Pool, tmp_path: Path
) -> None:
    here, back = open_catalog(three_versions), open_catalog(tmp_path / "back")
    with qdrant.catalog() as there:
        copy_catalog(here, there)
        assert copy_catalog(there, back) == NAMES
    assert_same(back, here, small_pool)
    assert back.publications() == here.publications()


def test_going_on_after_an_interruption(published: Catalog, target: Catalog, small_pool: Pool) -> None:
    copied = 0

    def interrupt(done: int, total: int) -> None:
        nonlocal copied
        copied += 1
        if copied == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_catalog(published, target, progress=interrupt)
    assert [info.name for info in target.versions()] == ["v0001"]
    calls: list[int] = []
    assert copy_catalog(published, target, progress=lambda done, total: calls.append(done)) == NAMES
    assert calls == [60, 60], "what was there already is not copied again"
    assert_same(target, published, small_pool)
    assert target.publications() == published.publications()


def test_numbers_go_on_behind_the_copied_ones(
    published: Catalog, target: Catalog, small_pool: Pool, small_embedding: PoseEmbedding
) -> None:
    copy_catalog(published, target)
    assert target.build(small_pool, small_embedding).name == "v0004"


def test_versions_that_were_never_published(
    target: Catalog, small_pool: Pool, small_embedding: PoseEmbedding, tmp_path: Path
) -> None:
    source = open_catalog(tmp_path / "unpublished")
    source.build(small_pool, small_embedding, publish=False)
    assert copy_catalog(source, target) == ["v0001"]
    assert target.publications() == []


def test_another_version_of_the_same_name(
    published: Catalog, target: Catalog, small_pool: Pool, other_embedding: PoseEmbedding
) -> None:
    own = target.build(small_pool, other_embedding)
    with pytest.raises(
        HandsimError, match=f"{target.address} has a v0001 of its own; copy to an empty place"
    ):
        copy_catalog(published, target)
    assert target.versions() == [own]


def test_a_copy_that_was_altered(published: Catalog, qdrant: MemoryServer, small_pool: Pool) -> None:
    with qdrant.catalog() as target:
        copy_catalog(published, target)
        hand_id = int(small_pool.hand_ids[5])
        moved = models.PointVectors(id=hand_id, vector=np.ones(5).tolist())
        qdrant.client.update_vectors("hands-v0002", [moved])
        with pytest.raises(HandsimError) as caught:
            copy_catalog(published, target)
    said = str(caught.value)
    assert said.startswith("v0002 at memory/hands differs from its original (60-")
    assert said.endswith("`handsim index drop v0002 --index memory/hands` and copy again")


def test_nothing_to_copy_and_nowhere_to_copy_to(
    three_versions: Path, target: Catalog, tmp_path: Path
) -> None:
    with pytest.raises(NotThereError, match=r"there is no index at .*; `handsim index build` makes one"):
        copy_catalog(open_catalog(tmp_path / "nothing"), target)
    here = open_catalog(three_versions)
    assert copy_catalog(here, here) == NAMES, "onto itself changes nothing"


def test_a_copy_does_not_need_its_original(three_versions: Path, small_pool: Pool, tmp_path: Path) -> None:
    source = open_catalog(copy_index(three_versions, tmp_path / "source"))
    target = open_catalog(tmp_path / "copy")
    copy_catalog(source, target)
    source.drop()
    with target.current() as version:
        assert version.search_keypoints(small_pool.keypoints[:1], 1).hand_ids[0, 0] == small_pool.hand_ids[0]

"""What every catalog promises, embedded or on a server, of its versions and of which one is current."""

import os
from pathlib import Path

import numpy as np
import pytest

from handsim import HandsimError, Pool, PoolWriter
from handsim.errors import NotThereError
from index import Catalog, Filter, IndexSettings, SearchOptions, Verification, verify
from index.edge.catalog import EdgeCatalog
from index.points import PoolPoints
from tests.index.builders import PoolColumns, SmallData

pytestmark = pytest.mark.slow


def names(catalog: Catalog) -> list[str]:
    return [info.name for info in catalog.versions()]


def test_without_a_version_there_is_nothing_to_read_add_to_publish_or_remove(
    catalog: Catalog, small: SmallData, tmp_path: Path
) -> None:
    with PoolWriter(tmp_path / "empty"):
        pass
    with pytest.raises(HandsimError, match="there are no hands"):
        catalog.build(Pool.open(tmp_path / "empty"), small.embedding)
    assert (catalog.versions(), catalog.publications()) == ([], [])
    assert catalog.active_builder() is None
    for read in (catalog.current, catalog.current_info, catalog.rollback, lambda: catalog.add(small.pool)):
        with pytest.raises(NotThereError, match=r"there is no index at .* yet; `handsim index build`"):
            read()
    for name in (catalog.open, catalog.info, catalog.publish, catalog.remove):
        with pytest.raises(NotThereError, match=r"'v0001' \(it has: none\); `handsim index build`"):
            name("v0001")
    catalog.sweep()
    catalog.drop()


def test_a_reader_keeps_its_version_when_another_is_published(catalog: Catalog, small: SmallData) -> None:
    calls: list[tuple[int, int]] = []
    first = catalog.build(small.pool, small.embedding, progress=lambda *done: calls.append(done))
    assert calls[-1] == (60, 60)
    assert (first.name, first.points, first.dimension, first.is_current) == ("v0001", 60, 14, True)
    assert (first.embedding_fingerprint, first.recall_at_1) == (small.embedding.fingerprint, 1.0)
    catalog.build(small.pool, small.other_embedding, publish=False)
    assert [info.is_current for info in catalog.versions()] == [True, False]
    with catalog.current() as reader:
        catalog.publish("v0002")
        assert [info.is_current for info in catalog.versions()] == [False, True]
        assert catalog.current_info() == catalog.info("v0002")
        with catalog.current() as version:
            for name, one, embedding in (
                ("v0001", reader, small.embedding),
                ("v0002", version, small.other_embedding),
            ):
                assert (one.info.name, one.embedding.fingerprint) == (name, embedding.fingerprint)
                nearest = one.search_keypoints(small.pool.keypoints[:2], 1).hand_ids[:, 0]
                assert nearest.tolist() == small.pool.hand_ids[:2].tolist()


def test_a_build_that_ended_before_it_was_published_is_finished_by_the_next(
    catalog: Catalog, small: SmallData
) -> None:
    catalog.write_version(PoolPoints(small.pool, small.embedding), small.embedding, IndexSettings())
    assert catalog.info("v0001").recall_at_1 is None
    with pytest.raises(NotThereError, match="has v0001, which is not current; `handsim index publish v0001`"):
        catalog.current()
    sentences: list[str] = []
    relabelled = PoolColumns(small.pool, np.arange(60), {10: "fist"})
    for pool, settings, name in (
        (relabelled, IndexSettings(), "v0002"),
        (small.pool, IndexSettings(m=8), "v0003"),
    ):
        built = catalog.build(pool, small.embedding, settings, publish=False, announce=sentences.append)
        assert (built.name, built.recall_at_1) == (name, 1.0)
    assert sentences == ["writing 60 hands, some 0.0 MB"] * 2
    calls: list[tuple[int, int]] = []
    for publish in (False, True):
        finished = catalog.build(
            small.pool,
            small.embedding,
            publish=publish,
            progress=lambda *done: calls.append(done),
            announce=sentences.append,
        )
        assert (finished.name, finished.is_current, finished.recall_at_1) == ("v0001", publish, 1.0)
    assert (
        sentences[2:] == ["v0001 holds exactly these hands and is not published: nothing is written anew"] * 2
    )
    assert not calls


def test_an_addition_that_ended_before_it_was_published_is_finished_by_the_next(
    published: Catalog, small: SmallData
) -> None:
    added = published.add(small.grown_pool, publish=False)
    assert (added.name, added.is_current) == ("v0004", False)
    calls: list[tuple[int, int]] = []
    finished = published.add(small.grown_pool, progress=lambda *done: calls.append(done))
    assert (finished.name, finished.is_current, calls) == ("v0004", True, [])


def test_a_verification_is_listed(published: Catalog) -> None:
    with published.current() as version:
        measured = verify(version, sample=20)
    published.record_verification("v0003", Verification(**{**vars(measured), "recall_at_1": 0.5}))
    assert published.versions()[-1].recall_at_1 == published.info("v0003").recall_at_1 == 0.5
    with pytest.raises(NotThereError, match="v0009"):
        published.record_verification("v0009", measured)


def test_a_second_builder_is_refused(catalog: Catalog, small: SmallData) -> None:
    builders: list[str | None] = []

    def build_again(done: int, total: int) -> None:
        builders.append(catalog.active_builder())
        with pytest.raises(HandsimError, match=f"is being built by process {os.getpid()} on .*; wait"):
            catalog.build(small.pool, small.embedding)

    catalog.build(small.pool, small.embedding, progress=build_again)
    assert [str(builder).partition(" on ")[0] for builder in builders] == [f"process {os.getpid()}"]
    assert catalog.active_builder() is None
    assert names(catalog) == ["v0001"]


def test_rolling_back_goes_through_the_publications_until_none_is_left(published: Catalog) -> None:
    assert published.publications() == ["v0003", "v0002", "v0001"]
    for _ in range(2):
        published.publish("v0001")
        assert published.publications() == ["v0001", "v0003", "v0002"]
    assert (published.rollback(), published.rollback()) == ("v0003", "v0002")
    assert published.publications() == ["v0002"]
    with published.current() as version:
        assert version.info.name == "v0002"
    with pytest.raises(HandsimError, match=r"v0002 is the only version .*list.* `handsim index publish`"):
        published.rollback()
    assert published.current_name() == "v0002"


def test_a_build_is_published_after_all_that_was_published_rolled_back_and_removed_meanwhile(
    published: Catalog, small: SmallData
) -> None:
    def change(done: int, total: int) -> None:
        published.publish("v0001")
        assert (published.rollback(), published.rollback()) == ("v0003", "v0002")
        assert published.remove("v0003")

    assert published.build(small.pool, small.embedding, progress=change).name == "v0004"
    assert published.publications() == ["v0004", "v0002"], "what was rolled back is not gone back to"
    assert (published.current_info().points, published.rollback()) == (60, "v0002")


def test_removed_versions_are_not_gone_back_to_and_their_numbers_never_used_again(
    published: Catalog, small: SmallData
) -> None:
    with pytest.raises(HandsimError, match=r"^v0003 is the current version; publish another one first"):
        published.remove("v0003")
    with pytest.raises(NotThereError, match=r"no version 'v0009' \(it has: v0001, v0002, v0003\)"):
        published.remove("v0009")
    assert published.remove("v0002")
    assert published.rollback() == "v0001"
    assert published.publications() == ["v0001"]
    assert published.remove("v0003")
    assert names(published) == ["v0001"]
    assert published.build(small.pool, small.embedding, publish=False).name == "v0004"
    assert published.remove("v0004")
    assert published.build(small.pool, small.embedding).name == "v0005"


def test_pruning_keeps_the_newest_and_the_current_one(published: Catalog) -> None:
    assert published.prune(5) == ([], [])
    published.publish("v0001")
    assert published.prune(1) == (["v0002"], [])
    assert names(published) == ["v0001", "v0003"]
    for keep in (0, -1):
        with pytest.raises(HandsimError, match=f"^keep is {keep}; keep at least 1 version"):
            published.prune(keep)


def test_a_version_that_is_read_is_not_removed(published: Catalog, small: SmallData) -> None:
    with published.open("v0001") as reader:
        assert published.prune(1) == (["v0002"], ["v0001"])
        assert not published.remove("v0001")
        with pytest.raises(HandsimError, match=f"a reader has v0001 of {published.address} open; end it"):
            published.drop()
        assert (names(published), published.current_name()) == (["v0001", "v0003"], "v0003"), "all as before"
        assert reader.search_hands(small.pool.hand_ids[:1], 1).is_found.all()
    reader.close()  # a second time changes nothing
    assert published.prune(1) == (["v0001"], [])


def test_a_dropped_index_can_be_built_anew(published: Catalog, small: SmallData) -> None:
    for _ in range(2):
        published.drop()
        assert names(published) == []
    with pytest.raises(NotThereError, match="`handsim index build` makes one"):
        published.current()
    assert published.build(small.pool, small.embedding).name == "v0001"


def test_new_hands_go_into_a_copy_of_the_current_version(published: Catalog, small: SmallData) -> None:
    calls: list[tuple[int, int]] = []
    added = published.add(small.grown_pool, progress=lambda *done: calls.append(done))
    assert (added.name, added.points, added.is_current) == ("v0004", 90, True)
    assert published.info("v0003").points == 60
    new = np.setdiff1d(small.grown_pool.hand_ids, small.pool.hand_ids)
    with published.current() as version:
        assert version.embedding.fingerprint == small.embedding.fingerprint
        expected = small.embedding.transform(small.grown_pool.keypoints[small.grown_pool.rows(new)])
        np.testing.assert_allclose(version.vectors(new), expected, atol=1e-6)
        in_new_video = SearchOptions(filter=Filter(videos=("video 5",)))
        assert version.search_hands(small.pool.hand_ids[:1], 20, options=in_new_video).is_found.sum() == 15
        measured = verify(version, read_all=True, pool_ids=small.grown_pool.hand_ids)
        assert (measured.problems(), measured.missing_from_index) == ([], 0)
    assert published.add(small.grown_pool) == added, "no hand is new"
    assert published.build(small.grown_pool, small.embedding).checksum == added.checksum


@pytest.mark.parametrize("in_place", [False, True])
def test_removed_hands_are_left_out_and_relabelled_ones_get_their_label(
    published: Catalog, small: SmallData, in_place: bool
) -> None:
    if in_place and isinstance(published, EdgeCatalog):
        pytest.skip("an embedded version never changes")
    rows = np.arange(4, len(small.grown_pool))  # four removed, thirty new ones
    pool = PoolColumns(small.grown_pool, rows, {10: "fist", 11: None})
    difference = published.compare(pool)
    assert (len(difference.new), len(difference.removed)) == (30, 4)
    added = published.add(pool, difference=difference, in_place=in_place)
    assert (added.name, added.points) == ("v0003" if in_place else "v0004", 86)
    with published.current() as version:
        indexed = np.concatenate([page.hand_ids for page in version.scroll()])
        assert sorted(indexed.tolist()) == sorted(pool.hand_ids.tolist())
        labels = [payload["label"] for payload in version.payloads(small.grown_pool.hand_ids[10:12])]
        assert labels == ["fist", None]
        measured = verify(version, read_all=True, pool_ids=pool.hand_ids)
        assert (measured.problems(), measured.missing_from_pool) == ([], 0)
    assert not published.compare(pool)
    strangers = PoolColumns(small.grown_pool, np.arange(4), {})
    with pytest.raises(HandsimError, match=f"none of the 86 hands of {added.name} is in the pool"):
        published.add(strangers)


def test_new_hands_get_the_embedding_of_the_current_version(published: Catalog, small: SmallData) -> None:
    published.publish("v0002")
    added = published.add(small.grown_pool, publish=False)
    assert (added.name, added.points, added.dimension, added.is_current) == ("v0004", 90, 5, False)
    assert added.embedding_fingerprint == small.other_embedding.fingerprint
    assert published.current_name() == "v0002"

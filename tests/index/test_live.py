"""A live index that readers use while versions are published, on both catalogs."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

import pytest

from handsim import HandsimError
from handsim.errors import NotThereError
from index import Catalog, IndexVersion, LiveIndex
from tests.index.builders import SmallData, memory_catalog

pytestmark = pytest.mark.slow


def test_it_moves_to_the_new_version_between_two_queries(catalog: Catalog, small: SmallData) -> None:
    catalog.build(small.pool, small.embedding)
    with LiveIndex(catalog) as live:
        with live.version() as first:
            assert first.info.name == "v0001"
        with live.version() as again:
            assert again is first, "nothing is opened twice"
            catalog.build(small.pool, small.other_embedding)
            assert catalog.current_name() == "v0002"
            with live.version() as second:
                assert (second.info.name, second.info.dimension) == ("v0002", 5)
            # Who is within a block keeps the version it began with.
            nearest = again.search_keypoints(small.pool.keypoints[:1], 1).hand_ids
            assert (nearest[0, 0], again.info.dimension) == (small.pool.hand_ids[0], 14)
        with live.version() as version:
            assert version is second
        assert catalog.rollback() == "v0001"
        with live.version() as version:
            assert version.info.name == "v0001"


def test_a_version_that_grew_in_place_counts_as_a_new_one(small: SmallData) -> None:
    catalog = memory_catalog()
    catalog.build(small.pool, small.embedding)
    with LiveIndex(catalog) as live:
        with live.version() as before:
            assert len(before) == 60
            grown = catalog.add(small.grown_pool, in_place=True)
            assert (grown.name, grown.points) == ("v0001", 90)
            found = before.search_hands(small.grown_pool.hand_ids, 1).is_found
            assert found.all(), "open readers find them, too"
        with live.version() as after:
            assert after.info == catalog.info("v0001")
            assert after.search_hands(small.pool.hand_ids[:1], 90).is_found.sum() == 89
        assert catalog.prune(1) == ([], [])
    catalog.drop()


def test_other_threads_go_on_with_the_old_version_while_one_opens_the_new_one(
    catalog: Catalog, small: SmallData, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog.build(small.pool, small.embedding)
    catalog.build(small.pool, small.embedding, publish=False)
    is_opening, may_open, open_version = Event(), Event(), catalog.open

    def open_slowly(name: str) -> IndexVersion:
        is_opening.set()
        assert may_open.wait(60)
        return open_version(name)

    with LiveIndex(catalog) as live, ThreadPoolExecutor(2) as threads:

        def read() -> str:
            with live.version() as version:
                assert version.search_hands(small.pool.hand_ids[:1], 1).is_found.all()
                return version.info.name

        assert read() == "v0001"
        catalog.publish("v0002")
        monkeypatch.setattr(catalog, "open", open_slowly)
        try:
            first = threads.submit(read)
            assert is_opening.wait(60)
            assert threads.submit(read).result(60) == "v0001"
        finally:
            may_open.set()
        assert first.result(60) == "v0002"
    catalog.drop()


def test_the_old_version_is_closed_after_its_last_user(catalog: Catalog, small: SmallData) -> None:
    catalog.build(small.pool, small.embedding)
    with LiveIndex(catalog) as live:
        with live.version() as one, live.version() as other:
            assert one is other
            catalog.build(small.pool, small.embedding)
            with live.version() as newer:
                assert newer.info.name == "v0002"
            assert catalog.prune(1) == ([], ["v0001"])
            assert one.search_hands(small.pool.hand_ids[:1], 1).is_found.all()
        assert catalog.prune(1) == (["v0001"], [])
        # The current one stays open between two queries.
        catalog.build(small.pool, small.embedding)
        assert catalog.prune(1) == ([], ["v0002"])
        with live.version() as version:
            assert catalog.prune(1) == (["v0002"], [])
            live.close()  # waits for no reader and interrupts none
            assert version.search_hands(small.pool.hand_ids[:1], 1).is_found.all()
            with pytest.raises(HandsimError, match="a reader has v0003"):
                catalog.drop()
    catalog.drop()


def test_an_index_may_appear_and_be_dropped_meanwhile(catalog: Catalog, small: SmallData) -> None:
    live = LiveIndex(catalog)
    for _ in range(2):
        with pytest.raises(NotThereError, match="`handsim index build` makes one"), live.version():
            pass
    catalog.build(small.pool, small.embedding)
    with live.version() as version:
        assert version.info.dimension == 14
    live.close()
    catalog.drop()
    with pytest.raises(NotThereError, match="`handsim index build` makes one"), live.version():
        pass
    catalog.build(small.pool, small.other_embedding)
    with live.version() as version:
        assert (version.info.name, version.info.dimension) == ("v0001", 5)
    live.close()


def test_threads_share_it(catalog: Catalog, small: SmallData) -> None:
    catalog.build(small.pool, small.embedding)
    catalog.build(small.pool, small.other_embedding, publish=False)
    vectors = {
        "v0001": small.embedding.transform(small.pool.keypoints),
        "v0002": small.other_embedding.transform(small.pool.keypoints),
    }
    together = Barrier(5)
    with LiveIndex(catalog) as live:

        def read(thread: int) -> set[str]:
            together.wait()
            names = set()
            for number in range(40):
                row = (thread * 40 + number) % len(small.pool)
                with live.version() as version:
                    names.add(version.info.name)
                    neighbors = version.search(vectors[version.info.name][[row]], 2)
                    assert small.pool.hand_ids[row] in neighbors.hand_ids
            return names

        def publish() -> None:
            together.wait()
            for number in range(10):
                catalog.publish(f"v000{1 + number % 2}")

        with ThreadPoolExecutor(5) as threads:
            readers = [threads.submit(read, thread) for thread in range(4)]
            threads.submit(publish).result()
            names = set().union(*(reader.result() for reader in readers))
        assert names <= {"v0001", "v0002"}
        with live.version() as version:
            assert version.info.name == "v0002" == catalog.current_name()
    # Nothing is open any more.
    catalog.drop()

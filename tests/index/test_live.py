"""Readers that stay while versions are published under them, in both engines."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from handsim import HandsimError, Pool, PoseEmbedding
from handsim.errors import NotThereError
from index import Catalog, LiveIndex, open_catalog
from tests.index.conftest import memory_catalog, write_pool


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    """60 hands of 4 videos."""
    return write_pool(tmp_path_factory.mktemp("data") / "few", videos=4)


@pytest.fixture(scope="module")
def wide(few: Pool) -> PoseEmbedding:
    return PoseEmbedding.fit(few)


@pytest.fixture(scope="module")
def narrow(few: Pool) -> PoseEmbedding:
    return PoseEmbedding.fit(few, components=5)


@pytest.fixture(params=["edge", "memory"])
def catalog(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Catalog]:
    with memory_catalog() if request.param == "memory" else open_catalog(tmp_path / "index") as catalog:
        yield catalog


def test_it_moves_between_questions(
    catalog: Catalog, few: Pool, wide: PoseEmbedding, narrow: PoseEmbedding
) -> None:
    catalog.build(few, wide)
    with LiveIndex(catalog) as live:
        with live.version() as first:
            assert first.info.name == "v0001"
        with live.version() as again:
            assert again is first, "nothing is opened twice"
            catalog.build(few, narrow)
            assert catalog.current_name() == "v0002"
            with live.version() as second:
                assert (second.info.name, second.info.dimension) == ("v0002", 5)
            # Whoever is in a question stays in the version it began with.
            assert again.search_keypoints(few.keypoints[:1], 1).hand_ids[0, 0] == few.hand_ids[0]
            assert again.info.dimension == 14
        with live.version() as version:
            assert version is second
        assert catalog.rollback() == "v0001"
        with live.version() as version:
            assert version.info.name == "v0001"


def test_the_old_version_is_let_go_with_its_last_user(
    catalog: Catalog, few: Pool, wide: PoseEmbedding
) -> None:
    catalog.build(few, wide)
    with LiveIndex(catalog) as live:
        with live.version() as one, live.version() as other:
            assert one is other
            catalog.build(few, wide)
            with live.version() as newer:
                assert newer.info.name == "v0002"
            assert catalog.prune(1) == ([], ["v0001"])
            assert one.search_hands(few.hand_ids[:1], 1).found.all()
        assert catalog.prune(1) == (["v0001"], [])
        # It holds the current one even between two questions.
        catalog.build(few, wide)
        assert catalog.prune(1) == ([], ["v0002"])
        with live.version():
            pass
        assert catalog.prune(1) == (["v0002"], [])
    catalog.drop()


def test_closing_waits_for_nobody_and_cuts_nobody_off(
    catalog: Catalog, few: Pool, wide: PoseEmbedding
) -> None:
    catalog.build(few, wide)
    live = LiveIndex(catalog)
    with live.version() as version:
        live.close()
        assert version.search_hands(few.hand_ids[:1], 1).found.all()
        with pytest.raises(HandsimError, match="a reader has v0001"):
            catalog.drop()
    live.close()
    catalog.drop()


def test_nothing_published_and_everything_dropped(
    catalog: Catalog, few: Pool, wide: PoseEmbedding, narrow: PoseEmbedding
) -> None:
    live = LiveIndex(catalog)
    for _ in range(2):
        with pytest.raises(NotThereError, match="`handsim index build` makes one"), live.version():
            pass
    catalog.build(few, wide)
    with live.version() as version:
        assert version.info.dimension == 14
    live.close()
    catalog.drop()
    with pytest.raises(NotThereError, match="`handsim index build` makes one"), live.version():
        pass
    catalog.build(few, narrow)
    with live.version() as version:
        assert (version.info.name, version.info.dimension) == ("v0001", 5)
    live.close()


def test_threads_share_it(catalog: Catalog, few: Pool, wide: PoseEmbedding, narrow: PoseEmbedding) -> None:
    catalog.build(few, wide)
    catalog.build(few, narrow, publish=False)
    vectors = {"v0001": wide.transform(few.keypoints), "v0002": narrow.transform(few.keypoints)}
    together = Barrier(5)
    with LiveIndex(catalog) as live:

        def read(thread: int) -> set[str]:
            together.wait()
            seen = set()
            for number in range(40):
                row = (thread * 40 + number) % len(few)
                with live.version() as version:
                    seen.add(version.info.name)
                    found = version.search(vectors[version.info.name][[row]], 2)
                    assert few.hand_ids[row] in found.hand_ids
            return seen

        def publish() -> None:
            together.wait()
            for number in range(10):
                catalog.publish(f"v000{1 + number % 2}")

        with ThreadPoolExecutor(5) as threads:
            readers = [threads.submit(read, thread) for thread in range(4)]
            threads.submit(publish).result()
            seen = set().union(*(reader.result() for reader in readers))
        assert seen <= {"v0001", "v0002"}
        with live.version() as version:
            assert version.info.name == "v0002" == catalog.current_name()
    # Everybody has left: nothing is held any more.
    catalog.drop()

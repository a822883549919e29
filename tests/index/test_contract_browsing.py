"""What every engine promises of questions without likeness, and of several asked at once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from handsim import HandsimError, Pool, PoseEmbedding
from index import Filter, IndexVersion, SearchOptions
from tests.index.oracle import FILTERS


def passing(pool: Pool, name: str) -> list[int]:
    """The hands that pass a filter, by rising id."""
    passes = FILTERS[name][1]
    return sorted(int(pool.hand_ids[row]) for row in range(len(pool)) if passes(pool, row))


@pytest.mark.parametrize("name", FILTERS)
def test_a_sample_is_of_different_hands_that_pass(version: IndexVersion, pool: Pool, name: str) -> None:
    expected = passing(pool, name)
    for count in (1, 20, len(pool), 10 * len(pool)):
        sample = version.sample(count, FILTERS[name][0])
        assert sample.dtype == np.uint64
        assert len(set(sample.tolist())) == len(sample) == min(count, len(expected))
        assert set(sample.tolist()) <= set(expected)


def test_every_draw_is_another_one(version: IndexVersion) -> None:
    # Twenty of 900: the same twenty twice has a chance of less than 1e-40.
    assert set(version.sample(20).tolist()) != set(version.sample(20).tolist())


def test_a_sample_of_none_is_refused(version: IndexVersion) -> None:
    for count in (0, -3):
        with pytest.raises(HandsimError, match=f"a random sample of {count} hands .*; ask for at least 1"):
            version.sample(count)


@pytest.mark.parametrize(
    ("name", "batch"),
    [("videos", 1), ("none", 150), ("none", 900), ("none", 5000), ("score", 7), ("nothing passes", 7)],
)
def test_scrolling_meets_every_hand_once_by_rising_id(
    version: IndexVersion, pool: Pool, name: str, batch: int
) -> None:
    expected = passing(pool, name)
    pages = list(version.scroll(FILTERS[name][0], batch=batch))
    assert [hand_id for page in pages for hand_id in page.hand_ids.tolist()] == expected
    assert all(0 < len(page) <= batch for page in pages)
    assert len(pages) == -(-len(expected) // batch)


def test_scrolling_starts_anywhere(version: IndexVersion, pool: Pool) -> None:
    ids = np.sort(pool.hand_ids)
    for start, expected in (
        (int(ids[-3]), ids[-3:]),
        (int(ids[-3]) + 1, ids[-2:]),
        (int(ids[-1]) + 1, ids[:0]),
        (0, ids),
    ):
        pages = [page.hand_ids for page in version.scroll(start=start, batch=400, with_payload=False)]
        assert np.concatenate([ids[:0], *pages]).tolist() == expected.tolist()


def test_scrolling_brings_what_was_asked_for(
    version: IndexVersion, pool: Pool, embedding: PoseEmbedding
) -> None:
    for vectors in (False, True):
        for payload in (False, True):
            page = next(version.scroll(batch=9, with_vectors=vectors, with_payload=payload))
            rows = pool.rows(page.hand_ids)
            if vectors:
                np.testing.assert_allclose(page.vectors, embedding.transform(pool.keypoints[rows]), atol=1e-6)
            else:
                assert page.vectors.shape == (9, 0)
            assert page.payloads == (version.payloads(page.hand_ids) if payload else [])


def test_scrolling_by_nothing_is_refused(version: IndexVersion) -> None:
    with pytest.raises(HandsimError, match="scrolling goes by 0 hands; go by at least 1"):
        next(version.scroll(batch=0))


def test_how_many_are_linked_is_known(version: IndexVersion) -> None:
    assert 0 <= version.indexed_points() <= len(version)


Answer = list[list[int]]


def test_threads_ask_at_once(version: IndexVersion, pool: Pool) -> None:
    def alike(rows: NDArray[np.intp]) -> Answer:
        options = SearchOptions(one_per_video=True, filter=Filter(sides=("right",)))
        found = version.search_hands(pool.hand_ids[rows], 4, other_video=True, options=options)
        return found.hand_ids.tolist()  # type: ignore[no-any-return]  # numpy types tolist() as Any

    def like(rows: NDArray[np.intp]) -> Answer:
        return version.recommend(pool.hand_ids[rows], k=4).hand_ids.tolist()  # type: ignore[no-any-return]  # as above

    def walk(rows: NDArray[np.intp]) -> Answer:
        videos = Filter(videos=tuple({str(pool.videos[row]) for row in rows.tolist()}))
        return [page.hand_ids.tolist() for page in version.scroll(videos, batch=10)]

    questions: list[tuple[Callable[[NDArray[np.intp]], Answer], NDArray[np.intp]]] = [
        (ask, np.arange(start, start + 3)) for start in range(0, 800, 200) for ask in (alike, like, walk)
    ]
    alone = [ask(rows) for ask, rows in questions]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda question: question[0](question[1]), questions))
    assert together == alone

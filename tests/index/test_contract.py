"""What every engine promises, compared with distances that are computed one by one."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from handsim import HandsimError, Pool, PoseEmbedding
from handsim.errors import NotThereError
from handsim.metrics.retrieval import recall_at_k
from index import NO_HAND, Filter, IndexVersion, SearchOptions
from index.query import MMR_CANDIDATES
from tests.index.builders import group_hands
from tests.index.oracle import (
    EF,
    FILTERS,
    admits_for,
    assert_a_hand_a_video,
    assert_sound,
    nearest,
    true_distances,
)

BANDS = {
    "anywhere": (0.0, np.inf),
    "from the first on": (0.0, 0.3),
    "other people in the same pose": (0.29, 0.45),
    "behind hundreds of nearer hands": (6.55, 7.0),
    "no further bound": (7.0, np.inf),
    "no hand is there": (1.2, 4.0),
    "of no width": (0.3, 0.3),
}
CONDITIONS = [
    ("none", False, False),
    ("score", True, False),
    ("all at once", True, True),
    ("none", False, True),
]


def within(band: tuple[float, float], options: SearchOptions) -> SearchOptions:
    far = band[1] if np.isfinite(band[1]) else None
    return replace(options, min_distance=band[0], max_distance=far, ef=EF)


@pytest.mark.parametrize(
    ("name", "other_video", "one_per_video", "where"),
    [
        *product(FILTERS, [False, True], [False, True], ["anywhere"]),
        *((*conditions, where) for conditions, where in product(CONDITIONS, [*BANDS][1:])),
    ],
)
def test_answers_are_the_nearest_of_those_admitted_in_a_band_of_distances(
    version: IndexVersion,
    pool: Pool,
    embedding: PoseEmbedding,
    name: str,
    other_video: bool,
    one_per_video: bool,
    where: str,
) -> None:
    rows = np.arange(3, len(pool), 224)
    filter, admits = FILTERS[name][0], admits_for(pool, name, other_video=other_video)
    true = true_distances(pool, embedding, rows, 7, admits, per_video=one_per_video, band=BANDS[where])
    for exact in (False, True):
        options = within(BANDS[where], SearchOptions(filter, one_per_video, exact=exact))
        neighbors = version.search_hands(pool.hand_ids[rows], 7, other_video=other_video, options=options)
        assert_sound(pool, embedding, rows, neighbors, admits)
        if one_per_video:
            assert_a_hand_a_video(pool, neighbors)
        if exact:
            # Distances, not ids: of two hands equally near an engine may return either.
            np.testing.assert_allclose(neighbors.distances, true, rtol=1e-4, atol=1e-5)
        else:
            assert recall_at_k(neighbors.distances, true, 7) >= 0.9


@pytest.mark.parametrize(("one_per_video", "where"), [(False, "anywhere"), (True, "from the first on")])
def test_duplicates_of_the_query_are_left_out_and_the_next_hands_move_up(
    version: IndexVersion, pool: Pool, embedding: PoseEmbedding, one_per_video: bool, where: str
) -> None:
    """Of each query its nearest hands of several videos; the duplicates of others are let through."""
    rows = np.arange(3, len(pool), 224)
    admits = admits_for(pool, "none", other_video=True)
    options = within(BANDS["anywhere"], SearchOptions(one_per_video=True, exact=True))
    nearest = version.search_hands(pool.hand_ids[rows], 6, other_video=True, options=options)
    members = [pool.rows(ids[[0, 1, 3]]).tolist() for ids in nearest.hand_ids[:-1]]
    groups = {row: {row, *others} for row, others in zip(rows[:-1].tolist(), members, strict=True)}

    def admits_others(query: int, row: int) -> bool:
        return admits(query, row) and row not in groups.get(query, ())

    found = group_hands(*(pool.hand_ids[list(group)].tolist() for group in groups.values()))
    options = within(BANDS[where], SearchOptions(one_per_video=one_per_video, exact=True))
    neighbors = version.search_hands(
        pool.hand_ids[rows], 5, other_video=True, options=options, duplicates=found
    )
    assert_sound(pool, embedding, rows, neighbors, admits_others)
    true = true_distances(pool, embedding, rows, 5, admits_others, per_video=one_per_video, band=BANDS[where])
    np.testing.assert_allclose(neighbors.distances, true, rtol=1e-4, atol=1e-5)


def test_answers_are_among_the_hands_of_a_list_whatever_else_it_names(
    version: IndexVersion, pool: Pool, embedding: PoseEmbedding
) -> None:
    """As a condition of the engine, and as hands that are passed over: a short list, a long one, none."""
    rows = np.arange(3, len(pool), 224)
    for members in (range(0, 40, 4), range(0, len(pool), 2), range(0)):
        ids = pool.hand_ids[members.start : members.stop : members.step].tolist()

        def admits(query: int, row: int, members: range = members) -> bool:
            return row in members and pool.videos[query] != pool.videos[row]

        true = true_distances(pool, embedding, rows, 5, admits)
        filter = Filter(hands=frozenset([1, *ids]))  # the index knows no hand 1
        among = np.array(sorted([1, *ids]), dtype=np.uint64)
        exact = SearchOptions(exact=True)
        for neighbors in (
            version.search_hands(
                pool.hand_ids[rows], 5, other_video=True, options=SearchOptions(filter, exact=True)
            ),
            version.search_hands(pool.hand_ids[rows], 5, other_video=True, options=exact, among=among),
        ):
            assert_sound(pool, embedding, rows, neighbors, admits)
            np.testing.assert_allclose(neighbors.distances, true, rtol=1e-4, atol=1e-5)
        assert sum(map(len, version.scroll(filter))) == len(ids)


def test_no_answer_is_among_the_hands_of_a_list_that_is_left_out(
    version: IndexVersion, pool: Pool, embedding: PoseEmbedding
) -> None:
    rows = np.arange(3, len(pool), 224)
    for members in (range(0, 40, 4), range(0, len(pool), 2), range(0)):
        ids = pool.hand_ids[members.start : members.stop : members.step].tolist()

        def admits(query: int, row: int, members: range = members) -> bool:
            return row not in members and query != row

        true = true_distances(pool, embedding, rows, 5, admits)
        filter = Filter(not_hands=frozenset([1, *ids]))  # the index knows no hand 1
        options = SearchOptions(filter, exact=True)
        neighbors = version.search_hands(pool.hand_ids[rows], 5, options=options)
        assert_sound(pool, embedding, rows, neighbors, admits)
        np.testing.assert_allclose(neighbors.distances, true, rtol=1e-4, atol=1e-5)
        assert sum(map(len, version.scroll(filter))) == len(pool) - len(ids)


def test_a_search_by_keypoints_is_one_by_their_vectors(
    version: IndexVersion, pool: Pool, embedding: PoseEmbedding
) -> None:
    rows = np.arange(5)
    by_vector = version.search(embedding.transform(pool.keypoints[rows]), 3)
    for keypoints in (pool.keypoints[rows], pool.keypoints[rows, :, :2]):
        by_keypoints = version.search_keypoints(keypoints, 3)
        np.testing.assert_array_equal(by_keypoints.hand_ids, by_vector.hand_ids)
    np.testing.assert_array_equal(by_vector.hand_ids[:, 0], pool.hand_ids[rows])
    np.testing.assert_allclose(by_vector.distances[:, 0], 0, atol=1e-5)


def test_a_query_has_its_own_exclusions(version: IndexVersion, pool: Pool, embedding: PoseEmbedding) -> None:
    vectors = embedding.transform(pool.keypoints[[0, 0, 0]])
    videos = [pool.videos[0], None, "unknown"]
    hands = np.array([pool.hand_ids[1], pool.hand_ids[0], NO_HAND], dtype=np.uint64)
    options = SearchOptions(with_payload=True)
    neighbors = version.search(vectors, 4, not_videos=videos, not_hands=hands, options=options)
    assert all(neighbor.payload and neighbor.payload["video"] != videos[0] for neighbor in neighbors[0])
    assert pool.hand_ids[0] not in neighbors.hand_ids[1]
    assert neighbors.hand_ids[2, 0] == pool.hand_ids[0]
    assert [len(neighbors[query]) for query in range(3)] == [4, 4, 4]


def test_payloads_are_what_the_pool_knows(version: IndexVersion, pool: Pool) -> None:
    rows = [0, 4, len(pool) - 1]
    expected = [
        {
            "video": pool.videos[row],
            "source": pool.sources[row],
            "side": "left" if pool.is_left[row] else "right",
            "label": pool.labels[row],
            "score": pytest.approx(float(pool.scores[row])),
            "frame": int(pool.frames[row]),
        }
        for row in rows
    ]
    assert version.payloads(pool.hand_ids[rows]) == expected
    neighbors = version.search_keypoints(pool.keypoints[rows], 1, options=SearchOptions(with_payload=True))
    assert [neighbors[place][0].payload for place in range(3)] == expected
    assert version.search_keypoints(pool.keypoints[rows], 1).payloads is None


def test_vectors_come_from_the_embedding(version: IndexVersion, pool: Pool, embedding: PoseEmbedding) -> None:
    rows = [7, 3, 7]
    np.testing.assert_allclose(
        version.vectors(pool.hand_ids[rows]), embedding.transform(pool.keypoints[rows]), atol=1e-6
    )
    assert version.embedding.fingerprint == embedding.fingerprint == version.info.embedding_fingerprint
    assert len(version) == len(pool) == version.info.points
    assert 0 <= version.indexed_points() <= len(version)


def test_no_queries_get_no_answers(version: IndexVersion, pool: Pool) -> None:
    assert version.search_hands(np.empty(0, dtype=np.uint64), 3).hand_ids.shape == (0, 3)
    per_video = SearchOptions(one_per_video=True)
    assert version.search_keypoints(np.empty((0, 21, 2)), 3, options=per_video).hand_ids.shape == (0, 3)


def test_k_may_be_the_whole_index(version: IndexVersion, pool: Pool) -> None:
    neighbors = version.search_hands(pool.hand_ids[:1], len(pool), options=SearchOptions(exact=True))
    assert neighbors.is_found.sum() == len(pool) - 1
    assert (np.diff(neighbors.distances[0, :-1]) >= 0).all()


def test_queries_that_do_not_fit_are_refused(version: IndexVersion, pool: Pool) -> None:
    vectors, one = np.zeros((2, 14), dtype=np.float32), pool.hand_ids[:1]
    refused: list[tuple[str, Callable[[], object]]] = [
        (r"shape \[2, 13\]; this index takes \[Q, 14\]", lambda: version.search(vectors[:, :13], 1)),
        ("query vector 1 holds NaN", lambda: version.search([[0.0] * 14, [np.nan] * 14], 1)),
        (r"not labelled \(NaN\)", lambda: version.search_keypoints(np.full((1, 21, 3), np.nan), 1)),
        ("NaN or infinity", lambda: version.search_keypoints(np.full((1, 21, 3), np.inf), 1)),
        ("shape", lambda: version.search_keypoints(np.zeros((1, 20, 3)), 1)),
        ("not_videos has 1 entries for 2", lambda: version.search(vectors, 1, not_videos=["video 1"])),
        ("not_hands has 1 entries for 2 queries", lambda: version.search(vectors, 1, not_hands=one)),
        ("scrolling goes by 0 hands; go by at least 1", lambda: next(version.scroll(batch=0))),
    ]
    for message, search in refused:
        with pytest.raises(HandsimError, match=message):
            search()
    for k in (0, -1, 901):
        with pytest.raises(HandsimError, match=rf"^k is {k}; this index of 900 hands answers 1 to 900$"):
            version.search_hands(one, k)
    for count in (0, -3):
        with pytest.raises(HandsimError, match=f"a random sample of {count} hands .*; ask for at least 1"):
            version.sample(count)
    for read in (version.search_hands, version.vectors, version.payloads):
        with pytest.raises(NotThereError, match="no hand 000000000000007b in index version"):
            read(np.array([pool.hand_ids[0], 123], dtype=np.uint64))


# Hands of poses that several videos share; the same video twice; a negative amid the positives' pose.
POSITIVE = np.array([0, 1, 310, 500])
NEGATIVE = {"none": np.empty(0, dtype=np.intp), "one": np.array([7]), "three": np.array([150, 312, 800])}


@pytest.mark.parametrize(
    ("name", "other_video", "one_per_video", "band"),
    [
        ("none", False, False, (0.0, np.inf)),
        ("none", True, False, (0.0, np.inf)),
        ("all at once", False, True, (0.0, np.inf)),
        ("score", True, True, (0.3, 6.0)),
        ("none", False, False, (5.5, 5.9)),
        ("nothing passes", False, False, (0.0, np.inf)),
    ],
)
@pytest.mark.parametrize("negative", NEGATIVE)
def test_a_recommendation_is_nearer_to_a_positive_than_to_any_negative(
    version: IndexVersion,
    pool: Pool,
    embedding: PoseEmbedding,
    negative: str,
    name: str,
    other_video: bool,
    one_per_video: bool,
    band: tuple[float, float],
) -> None:
    vectors = embedding.transform(pool.keypoints).astype(np.float64)
    near = np.linalg.norm(vectors[:, None] - vectors[POSITIVE], axis=2).min(axis=1)
    far = np.linalg.norm(vectors[:, None] - vectors[NEGATIVE[negative]], axis=2).min(axis=1, initial=np.inf)
    filter, passes = FILTERS[name]
    examples = {*POSITIVE.tolist(), *NEGATIVE[negative].tolist()}
    videos = {pool.videos[row] for row in POSITIVE.tolist()} if other_video else set()
    admitted = [
        row
        for row in range(len(pool))
        if near[row] < far[row]
        and band[0] <= near[row] <= band[1]
        and row not in examples
        and pool.videos[row] not in videos
        and passes(pool, row)
    ]
    true = nearest(pool, near, admitted, 9, per_video=one_per_video)
    for exact in (False, True):
        neighbors = version.recommend(
            pool.hand_ids[POSITIVE],
            pool.hand_ids[NEGATIVE[negative]],
            9,
            other_video=other_video,
            options=within(band, SearchOptions(filter, one_per_video, exact=exact, with_payload=True)),
        )
        others = pool.rows(neighbors.hand_ids[neighbors.is_found]).tolist()
        assert len(set(others)) == len(others)
        assert set(others) <= set(admitted)
        np.testing.assert_allclose(
            neighbors.distances[neighbors.is_found], near[others], rtol=1e-4, atol=1e-5
        )
        assert (np.diff(neighbors.distances[0, : len(others)]) >= 0).all()
        payload_videos = [hit.payload and hit.payload["video"] for hit in neighbors[0]]
        assert payload_videos == [pool.videos[row] for row in others]
        if one_per_video:
            assert_a_hand_a_video(pool, neighbors)
        if exact:
            np.testing.assert_allclose(neighbors.distances, [true], rtol=1e-4, atol=1e-5)
        else:
            assert recall_at_k(neighbors.distances, np.array([true]), 9) >= 0.75


def test_a_recommendation_by_one_example_is_a_search(version: IndexVersion, pool: Pool) -> None:
    alike = version.recommend(pool.hand_ids[40], k=5, other_video=True)
    neighbors = version.search_hands(pool.hand_ids[40:41], 5, other_video=True)
    assert alike.hand_ids.tolist() == neighbors.hand_ids.tolist()
    np.testing.assert_allclose(alike.distances, neighbors.distances, rtol=1e-4)
    assert alike.payloads is None


def test_a_recommendation_may_hold_every_hand_but_the_examples(version: IndexVersion, pool: Pool) -> None:
    neighbors = version.recommend(pool.hand_ids[:2], k=len(pool), options=SearchOptions(exact=True))
    assert set(neighbors.hand_ids[neighbors.is_found].tolist()) == set(pool.hand_ids[2:].tolist())
    contradiction = version.recommend(pool.hand_ids[:1], pool.hand_ids[:1], 5)
    assert not contradiction.is_found.any(), "a hand that is positive and negative recommends nothing"


def test_examples_that_do_not_fit_are_refused(version: IndexVersion, pool: Pool) -> None:
    for positives, options in (((), SearchOptions()), (pool.hand_ids[:1], SearchOptions(diversity=0.5))):
        with pytest.raises(HandsimError, match="at least one positive hand, and takes no diversity"):
            version.recommend(positives, pool.hand_ids[:1], options=options)
    known, unknown = pool.hand_ids[:1], np.array([123], dtype=np.uint64)
    for positive, negative in ((unknown, known), (known, unknown)):
        with pytest.raises(NotThereError, match="no hand 000000000000007b in index version"):
            version.recommend(positive, negative)
    for k in (0, len(pool) + 1):
        with pytest.raises(HandsimError, match=f"^k is {k}; this index of 900 hands"):
            version.recommend(pool.hand_ids[:1], k=k)


def spread(vectors: NDArray[np.float64]) -> float:
    """Sum of the distances between vectors [n, D]."""
    return float(np.linalg.norm(vectors[:, None] - vectors, axis=2).sum())


def marginal_relevance(
    vectors: NDArray[np.float64], query: int, candidates: list[int], k: int, diversity: float
) -> list[int]:
    """Rows chosen one by one: the most alike to the query, less its likeness to one chosen before."""

    def likeness(one: int, other: int) -> float:
        return -float(((vectors[one] - vectors[other]) ** 2).sum())

    def relevance(row: int) -> float:
        nearest = max((likeness(row, other) for other in chosen), default=0.0)
        return (1 - diversity) * likeness(query, row) - diversity * nearest

    chosen: list[int] = []
    while len(chosen) < k:
        chosen.append(max((row for row in candidates if row not in chosen), key=relevance))
    return chosen


@pytest.mark.parametrize("diversity", [0.5, 0.9])
@pytest.mark.parametrize(("name", "other_video"), [("none", True), ("score", True), ("none", False)])
def test_diversity_is_maximal_marginal_relevance(
    version: IndexVersion,
    pool: Pool,
    embedding: PoseEmbedding,
    name: str,
    other_video: bool,
    diversity: float,
) -> None:
    k, rows = 6, np.array([0, 305, 610])
    filter, admits = FILTERS[name][0], admits_for(pool, name, other_video=other_video)
    vectors = embedding.transform(pool.keypoints).astype(np.float64)
    for exact in (True, False):
        options = SearchOptions(filter, exact=exact, ef=EF)
        plain, neighbors = (
            version.search_hands(pool.hand_ids[rows], k, other_video=other_video, options=each)
            for each in (options, replace(options, diversity=diversity))
        )
        assert_sound(pool, embedding, rows, neighbors, admits)
        for place, row in enumerate(rows.tolist()):
            others = pool.rows(neighbors.hand_ids[place])
            assert spread(vectors[others]) > spread(vectors[pool.rows(plain.hand_ids[place])])
            if exact:
                by_distance = np.linalg.norm(vectors - vectors[row], axis=1).argsort().tolist()
                admitted = [other for other in by_distance if admits(row, other)][: k * MMR_CANDIDATES]
                expected = marginal_relevance(vectors, row, admitted, k, diversity)
                assert set(others.tolist()) == set(expected)


def test_next_to_no_diversity_finds_the_nearest(version: IndexVersion, pool: Pool) -> None:
    hardly = SearchOptions(diversity=1e-6, exact=True, with_payload=True)
    plain = version.search_hands(pool.hand_ids[:3], 5, options=SearchOptions(exact=True))
    neighbors = version.search_hands(pool.hand_ids[:3], 5, options=hardly)
    np.testing.assert_allclose(neighbors.distances, plain.distances, rtol=1e-4, atol=1e-5)
    frames = [[hit.payload and hit.payload["frame"] for hit in neighbors[query]] for query in range(3)]
    assert frames == pool.frames[pool.rows(neighbors.hand_ids)].tolist()


def test_diversity_stays_within_a_distance(version: IndexVersion, pool: Pool) -> None:
    near = SearchOptions(diversity=0.9, max_distance=0.5)
    neighbors = version.search_hands(pool.hand_ids[:4], 8, options=near)
    assert (neighbors.distances[neighbors.is_found] <= 0.5).all()
    assert not (neighbors.hand_ids == pool.hand_ids[:4, None]).any()
    assert neighbors.is_found.all()


def passing(pool: Pool, name: str) -> list[int]:
    """The hands that pass a filter, by rising id."""
    return sorted(id for row, id in enumerate(pool.hand_ids.tolist()) if FILTERS[name][1](pool, row))


@pytest.mark.parametrize("name", FILTERS)
def test_a_sample_is_of_different_hands_that_pass(version: IndexVersion, pool: Pool, name: str) -> None:
    expected = passing(pool, name)
    for count in (1, 20, len(pool), 10 * len(pool)):
        sample = version.sample(count, FILTERS[name][0])
        assert sample.dtype == np.uint64
        assert len(set(sample.tolist())) == len(sample) == min(count, len(expected))
        assert set(sample.tolist()) <= set(expected)


def test_every_sample_is_another_one(version: IndexVersion) -> None:
    # Twenty of 900: the same twenty twice has a chance of less than 1e-40.
    assert set(version.sample(20).tolist()) != set(version.sample(20).tolist())


@pytest.mark.parametrize(
    ("name", "batch"),
    [("videos", 1), ("none", 150), ("none", 900), ("none", 5000), ("score", 40), ("nothing passes", 7)],
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


def test_a_page_holds_vectors_and_payloads_on_request(
    version: IndexVersion, pool: Pool, embedding: PoseEmbedding
) -> None:
    for vectors, payload in product((False, True), repeat=2):
        page = next(version.scroll(batch=9, with_vectors=vectors, with_payload=payload))
        expected = embedding.transform(pool.keypoints[pool.rows(page.hand_ids)])
        np.testing.assert_allclose(page.vectors, expected if vectors else np.empty((9, 0)), atol=1e-6)
        assert page.payloads == (version.payloads(page.hand_ids) if payload else [])


Answer = list[list[int]]


def test_threads_may_search_at_once(version: IndexVersion, pool: Pool) -> None:
    def search(rows: NDArray[np.intp]) -> Answer:
        options = SearchOptions(one_per_video=True, filter=Filter(sides=("right",)))
        neighbors = version.search_hands(pool.hand_ids[rows], 4, other_video=True, options=options)
        return neighbors.hand_ids.tolist()  # type: ignore[no-any-return]  # numpy types tolist() as Any

    def recommend(rows: NDArray[np.intp]) -> Answer:
        return version.recommend(pool.hand_ids[rows], k=4).hand_ids.tolist()  # type: ignore[no-any-return]  # as above

    def scroll(rows: NDArray[np.intp]) -> Answer:
        videos = Filter(videos=tuple({str(pool.videos[row]) for row in rows.tolist()}))
        return [page.hand_ids.tolist() for page in version.scroll(videos, batch=10)]

    requests: list[tuple[Callable[[NDArray[np.intp]], Answer], NDArray[np.intp]]] = [
        (run, np.arange(start, start + 3)) for start in (0, 450) for run in (search, recommend, scroll)
    ]
    alone = [run(rows) for run, rows in requests]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda request: request[0](request[1]), requests))
    assert together == alone

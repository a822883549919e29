"""What every engine promises of the richer questions: bands of distance, examples, diversity."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from handsim import HandsimError, Pool, PoseEmbedding
from handsim.errors import NotThereError
from handsim.metrics.retrieval import recall_at_k
from index import IndexVersion, SearchOptions
from index.query import MMR_CANDIDATES
from tests.index.oracle import (
    EF,
    FILTERS,
    assert_a_hand_a_video,
    assert_sound,
    nearest,
    true_distances,
)

BANDS = {
    "from the first on": (0.0, 0.3),
    "other people in the same pose": (0.29, 0.45),
    "behind hundreds of nearer hands": (6.55, 7.0),
    "no further bound": (7.0, np.inf),
    "nobody is there": (1.2, 4.0),
    "of no width": (0.3, 0.3),
}


def within(band: tuple[float, float], options: SearchOptions) -> SearchOptions:
    far = band[1] if np.isfinite(band[1]) else None
    return replace(options, min_distance=band[0], max_distance=far, ef=EF)


@pytest.mark.parametrize(
    ("name", "other_video", "one_per_video"),
    [("none", False, False), ("score", True, False), ("all at once", True, True), ("none", False, True)],
)
@pytest.mark.parametrize("where", BANDS)
def test_bands(
    version: IndexVersion,
    pool: Pool,
    embedding: PoseEmbedding,
    where: str,
    name: str,
    other_video: bool,
    one_per_video: bool,
) -> None:
    rows = np.arange(3, len(pool), 299)
    filter, passes = FILTERS[name]

    def admits(query: int, row: int) -> bool:
        itself = query == row or (other_video and pool.videos[query] == pool.videos[row])
        return not itself and passes(pool, row)

    true = true_distances(pool, embedding, rows, 6, admits, per_video=one_per_video, band=BANDS[where])
    for exact in (False, True):
        options = SearchOptions(filter, one_per_video, exact=exact)
        found = version.search_hands(
            pool.hand_ids[rows], 6, other_video=other_video, options=within(BANDS[where], options)
        )
        assert_sound(pool, embedding, rows, found, admits)
        if one_per_video:
            assert_a_hand_a_video(pool, found)
        if exact:
            np.testing.assert_allclose(found.distances, true, rtol=1e-4, atol=1e-5)
        else:
            assert recall_at_k(found.distances, true, 6) >= 0.9


# Hands of poses that several videos share; the same video twice; a negative amid the positives' pose.
LIKE = np.array([0, 1, 310, 500])
UNLIKE = {"none": np.empty(0, dtype=np.intp), "one": np.array([7]), "three": np.array([150, 312, 800])}


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
@pytest.mark.parametrize("unlike", UNLIKE)
def test_examples(
    version: IndexVersion,
    pool: Pool,
    embedding: PoseEmbedding,
    unlike: str,
    name: str,
    other_video: bool,
    one_per_video: bool,
    band: tuple[float, float],
) -> None:
    vectors = embedding.transform(pool.keypoints).astype(np.float64)
    near = np.linalg.norm(vectors[:, None] - vectors[LIKE], axis=2).min(axis=1)
    far = np.linalg.norm(vectors[:, None] - vectors[UNLIKE[unlike]], axis=2).min(axis=1, initial=np.inf)
    filter, passes = FILTERS[name]
    examples = {*LIKE.tolist(), *UNLIKE[unlike].tolist()}
    videos = {pool.videos[row] for row in LIKE.tolist()} if other_video else set()
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
        found = version.recommend(
            pool.hand_ids[LIKE],
            pool.hand_ids[UNLIKE[unlike]],
            9,
            other_video=other_video,
            options=within(band, SearchOptions(filter, one_per_video, exact=exact, with_payload=True)),
        )
        answered = pool.rows(found.hand_ids[found.is_found]).tolist()
        assert len(set(answered)) == len(answered)
        assert set(answered) <= set(admitted)
        np.testing.assert_allclose(found.distances[found.is_found], near[answered], rtol=1e-4, atol=1e-5)
        assert (np.diff(found.distances[0, : len(answered)]) >= 0).all()
        videos_told = [hit.payload and hit.payload["video"] for hit in found[0]]
        assert videos_told == [pool.videos[row] for row in answered]
        if one_per_video:
            assert_a_hand_a_video(pool, found)
        if exact:
            np.testing.assert_allclose(found.distances, [true], rtol=1e-4, atol=1e-5)
        else:
            assert recall_at_k(found.distances, np.array([true]), 9) >= 0.75


def test_one_example_is_a_search(version: IndexVersion, pool: Pool) -> None:
    alike = version.recommend(pool.hand_ids[40], k=5, other_video=True)
    found = version.search_hands(pool.hand_ids[40:41], 5, other_video=True)
    assert alike.hand_ids.tolist() == found.hand_ids.tolist()
    np.testing.assert_allclose(alike.distances, found.distances, rtol=1e-4)
    assert alike.payloads is None


def test_every_hand_but_the_examples(version: IndexVersion, pool: Pool) -> None:
    found = version.recommend(pool.hand_ids[:2], k=len(pool), options=SearchOptions(exact=True))
    assert set(found.hand_ids[found.is_found].tolist()) == set(pool.hand_ids[2:].tolist())


def test_a_hand_liked_and_disliked_recommends_nothing(version: IndexVersion, pool: Pool) -> None:
    assert not version.recommend(pool.hand_ids[:1], pool.hand_ids[:1], 5).is_found.any()


def test_bad_examples(version: IndexVersion, pool: Pool) -> None:
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
    """Mean distance between vectors [n, D]."""
    return float(
        np.linalg.norm(vectors[:, None] - vectors, axis=2).sum() / (len(vectors) * (len(vectors) - 1))
    )


def marginal_relevance(
    vectors: NDArray[np.float64], query: int, candidates: list[int], k: int, diversity: float
) -> list[int]:
    """Rows chosen one by one: the most alike to the query, less its likeness to one chosen before."""

    def likeness(one: int, other: int) -> float:
        return -float(((vectors[one] - vectors[other]) ** 2).sum())

    chosen: list[int] = []
    while len(chosen) < k:
        chosen.append(
            max(
                (row for row in candidates if row not in chosen),
                key=lambda row: (
                    (1 - diversity) * likeness(query, row)
                    - diversity * max((likeness(row, other) for other in chosen), default=0.0)
                ),
            )
        )
    return chosen


@pytest.mark.parametrize("diversity", [0.5, 0.9])
@pytest.mark.parametrize(("name", "other_video"), [("none", True), ("score", True), ("none", False)])
def test_diversity(
    version: IndexVersion,
    pool: Pool,
    embedding: PoseEmbedding,
    name: str,
    other_video: bool,
    diversity: float,
) -> None:
    k, rows = 6, np.array([0, 305, 610])
    filter, passes = FILTERS[name]
    vectors = embedding.transform(pool.keypoints).astype(np.float64)

    def admits(query: int, row: int) -> bool:
        itself = query == row or (other_video and pool.videos[query] == pool.videos[row])
        return not itself and passes(pool, row)

    for exact in (True, False):
        plain, found = (
            version.search_hands(
                pool.hand_ids[rows],
                k,
                other_video=other_video,
                options=SearchOptions(filter, diversity=wanted, exact=exact, ef=EF),
            )
            for wanted in (0.0, diversity)
        )
        assert_sound(pool, embedding, rows, found, admits)
        for place, row in enumerate(rows.tolist()):
            answered = pool.rows(found.hand_ids[place])
            assert spread(vectors[answered]) > spread(vectors[pool.rows(plain.hand_ids[place])])
            if exact:
                distances = np.linalg.norm(vectors - vectors[row], axis=1)
                admitted = [other for other in range(len(pool)) if admits(row, other)]
                nearest_ten_times = sorted(admitted, key=lambda other: distances[other])[: k * MMR_CANDIDATES]
                expected = marginal_relevance(vectors, row, nearest_ten_times, k, diversity)
                assert set(answered.tolist()) == set(expected)


def test_no_diversity_is_the_nearest(version: IndexVersion, pool: Pool) -> None:
    hardly = SearchOptions(diversity=1e-6, exact=True, with_payload=True)
    plain = version.search_hands(pool.hand_ids[:3], 5, options=SearchOptions(exact=True))
    found = version.search_hands(pool.hand_ids[:3], 5, options=hardly)
    np.testing.assert_allclose(found.distances, plain.distances, rtol=1e-4, atol=1e-5)
    told = [[hit.payload and hit.payload["frame"] for hit in found[query]] for query in range(3)]
    assert told == pool.frames[pool.rows(found.hand_ids)].tolist()


def test_diversity_within_a_distance(version: IndexVersion, pool: Pool) -> None:
    near = SearchOptions(diversity=0.9, max_distance=0.5)
    found = version.search_hands(pool.hand_ids[:4], 8, options=near)
    assert (found.distances[found.is_found] <= 0.5).all()
    assert not (found.hand_ids == pool.hand_ids[:4, None]).any()
    assert found.is_found.all()

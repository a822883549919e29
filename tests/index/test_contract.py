"""What every engine promises, held against distances worked out one by one."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from handsim import HandsimError, Pool, PoseEmbedding
from handsim.errors import NotThereError
from handsim.metrics.retrieval import recall_at_k
from index import NO_HAND, Filter, IndexVersion, Neighbors, SearchOptions

EF = 400
"""Generous: what is tested is the question, not the graph."""

Admits = Callable[[int, int], bool]
"""(row of the query, row of a candidate) -> whether it may be answered."""


def true_distances(
    pool: Pool, embedding: PoseEmbedding, rows: NDArray[np.intp], k: int, admits: Admits, per_video: bool
) -> NDArray[np.float64]:
    """[Q, k] distances of the nearest admitted hands; the slow, obvious way."""
    vectors = embedding.transform(pool.keypoints).astype(np.float64)
    answer = np.full((len(rows), k), np.inf)
    for place, row in enumerate(rows.tolist()):
        best = [
            (float(np.linalg.norm(vectors[row] - vectors[other])), pool.videos[other])
            for other in range(len(pool))
            if admits(row, other)
        ]
        best.sort(key=lambda pair: pair[0])
        kept: list[float] = []
        seen: set[str | None] = set()
        for distance, video in best:
            if not (per_video and video in seen):
                kept.append(distance)
                seen.add(video)
        answer[place, : len(kept[:k])] = kept[:k]
    return answer


def assert_sound(
    pool: Pool, embedding: PoseEmbedding, rows: NDArray[np.intp], found: Neighbors, admits: Admits
) -> None:
    """Hands answered once, all admitted, nearest first, each with its own distance; the rest left over."""
    assert (found.hand_ids[~found.found] == NO_HAND).all()
    vectors = embedding.transform(pool.keypoints)
    for place, row in enumerate(rows.tolist()):
        answered = pool.rows(found.hand_ids[place, found.found[place]])
        assert len(set(answered.tolist())) == len(answered)
        assert all(admits(row, other) for other in answered.tolist())
        distances = found.distances[place, : len(answered)]
        own = np.linalg.norm(vectors[answered] - vectors[row], axis=1)
        np.testing.assert_allclose(distances, own, rtol=1e-4, atol=1e-5)
        assert (np.diff(distances) >= 0).all()


FILTERS: dict[str, tuple[Filter | None, Callable[[Pool, int], bool]]] = {
    "none": (None, lambda pool, row: True),
    "source": (Filter(sources=("100doh",)), lambda pool, row: pool.sources[row] == "100doh"),
    "sides": (Filter(sides=("left",)), lambda pool, row: bool(pool.is_left[row])),
    "videos": (
        Filter(videos=("video 3", "video 8", "never seen")),
        lambda pool, row: pool.videos[row] in ("video 3", "video 8"),
    ),
    "labels": (
        Filter(labels=("pose 1", "pose 5")),
        lambda pool, row: pool.labels[row] in ("pose 1", "pose 5"),
    ),
    "score": (Filter(min_score=0.7), lambda pool, row: bool(pool.scores[row] >= np.float32(0.7))),
    "all at once": (
        Filter(sources=("ego4d",), sides=("right",), min_score=0.5),
        lambda pool, row: bool(
            pool.sources[row] == "ego4d" and not pool.is_left[row] and pool.scores[row] >= np.float32(0.5)
        ),
    ),
    "nothing passes": (Filter(videos=("never seen",)), lambda pool, row: False),
    "no side": (Filter(sides=()), lambda pool, row: False),
}


@pytest.mark.parametrize("one_per_video", [False, True])
@pytest.mark.parametrize("other_video", [False, True])
@pytest.mark.parametrize("name", FILTERS)
def test_answers_are_the_nearest_admitted(
    version: IndexVersion,
    pool: Pool,
    embedding: PoseEmbedding,
    name: str,
    other_video: bool,
    one_per_video: bool,
) -> None:
    rows = np.arange(0, len(pool), 149)
    filter, passes = FILTERS[name]

    def admits(query: int, row: int) -> bool:
        itself = query == row or (other_video and pool.videos[query] == pool.videos[row])
        return not itself and passes(pool, row)

    true = true_distances(pool, embedding, rows, 7, admits, one_per_video)
    for exact in (False, True):
        found = version.search_hands(
            pool.hand_ids[rows],
            7,
            other_video=other_video,
            options=SearchOptions(filter=filter, one_per_video=one_per_video, exact=exact, ef=EF),
        )
        assert_sound(pool, embedding, rows, found, admits)
        if one_per_video:
            videos = pool.videos.codes[pool.rows(found.hand_ids[found.found])]
            queries = np.nonzero(found.found)[0]
            assert len(set(zip(queries.tolist(), videos.tolist(), strict=True))) == len(videos)
        if exact:
            # Distances, not ids: of two hands equally near either may be answered.
            np.testing.assert_allclose(found.distances, true, rtol=1e-4, atol=1e-5)
        else:
            assert recall_at_k(found.distances, true, 7) >= 0.9


def test_vectors_and_keypoints_ask_the_same(
    version: IndexVersion, pool: Pool, embedding: PoseEmbedding
) -> None:
    rows = np.arange(5)
    by_vector = version.search(embedding.transform(pool.keypoints[rows]), 3)
    for keypoints in (pool.keypoints[rows], pool.keypoints[rows, :, :2]):
        by_keypoints = version.search_keypoints(keypoints, 3)
        np.testing.assert_array_equal(by_keypoints.hand_ids, by_vector.hand_ids)
    np.testing.assert_array_equal(by_vector.hand_ids[:, 0], pool.hand_ids[rows])
    np.testing.assert_allclose(by_vector.distances[:, 0], 0, atol=1e-5)


def test_each_query_has_its_own_exclusions(
    version: IndexVersion, pool: Pool, embedding: PoseEmbedding
) -> None:
    vectors = embedding.transform(pool.keypoints[[0, 0, 0]])
    videos = [pool.videos[0], None, "never seen"]
    hands = np.array([pool.hand_ids[1], pool.hand_ids[0], NO_HAND], dtype=np.uint64)
    found = version.search(
        vectors, 4, not_videos=videos, not_hands=hands, options=SearchOptions(with_payload=True)
    )
    assert all(neighbor.payload and neighbor.payload["video"] != videos[0] for neighbor in found[0])
    assert pool.hand_ids[0] not in found.hand_ids[1]
    assert found.hand_ids[2, 0] == pool.hand_ids[0]
    assert [len(found[query]) for query in range(3)] == [4, 4, 4]


def test_payloads_tell_what_the_pool_knows(version: IndexVersion, pool: Pool) -> None:
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
    found = version.search_keypoints(pool.keypoints[rows], 1, options=SearchOptions(with_payload=True))
    assert [found[place][0].payload for place in range(3)] == expected
    assert version.search_keypoints(pool.keypoints[rows], 1).payloads is None


def test_vectors_are_those_of_the_embedding(
    version: IndexVersion, pool: Pool, embedding: PoseEmbedding
) -> None:
    rows = [7, 3, 7]
    np.testing.assert_allclose(
        version.vectors(pool.hand_ids[rows]), embedding.transform(pool.keypoints[rows]), atol=1e-6
    )
    assert version.embedding.fingerprint == embedding.fingerprint == version.info.embedding_fingerprint
    assert len(version) == len(pool) == version.info.points


def test_no_queries_get_no_answers(version: IndexVersion, pool: Pool) -> None:
    assert version.search_hands(np.empty(0, dtype=np.uint64), 3).hand_ids.shape == (0, 3)
    per_video = SearchOptions(one_per_video=True)
    assert version.search_keypoints(np.empty((0, 21, 2)), 3, options=per_video).hand_ids.shape == (0, 3)


def test_every_hand_can_be_asked_for(version: IndexVersion, pool: Pool) -> None:
    found = version.search_hands(pool.hand_ids[:1], len(pool), options=SearchOptions(exact=True))
    assert found.found.sum() == len(pool) - 1
    assert (np.diff(found.distances[0, :-1]) >= 0).all()


@pytest.mark.parametrize("k", [0, -1, 901])
def test_k_out_of_reach(version: IndexVersion, pool: Pool, k: int) -> None:
    with pytest.raises(HandsimError, match=rf"^k is {k}; this index of 900 hands answers 1 to 900$"):
        version.search_hands(pool.hand_ids[:1], k)


def test_bad_queries(version: IndexVersion, pool: Pool) -> None:
    vectors = np.zeros((2, 14), dtype=np.float32)
    with pytest.raises(HandsimError, match=r"shape \[2, 13\]; this index takes \[Q, 14\]"):
        version.search(vectors[:, :13], 1)
    with pytest.raises(HandsimError, match="query vector 1 holds NaN"):
        version.search([[0.0] * 14, [np.nan] * 14], 1)
    with pytest.raises(HandsimError, match="NaN"):
        version.search_keypoints(np.full((1, 21, 3), np.nan), 1)
    with pytest.raises(HandsimError, match="shape"):
        version.search_keypoints(np.zeros((1, 20, 3)), 1)
    with pytest.raises(HandsimError, match="not_videos has 1 entries for 2 queries"):
        version.search(vectors, 1, not_videos=["video 1"])
    with pytest.raises(HandsimError, match="not_hands has 1 entries for 2 queries"):
        version.search(vectors, 1, not_hands=pool.hand_ids[:1])
    with pytest.raises(HandsimError, match="ef is 0"):
        SearchOptions(ef=0)
    for ask in (version.search_hands, version.vectors, version.payloads):
        with pytest.raises(NotThereError, match="no hand 000000000000007b in index version"):
            ask(np.array([pool.hand_ids[0], 123], dtype=np.uint64))

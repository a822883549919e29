"""What every engine promises, held against distances worked out one by one."""

import numpy as np
import pytest

from handsim import HandsimError, Pool, PoseEmbedding
from handsim.errors import NotThereError
from handsim.metrics.retrieval import recall_at_k
from index import NO_HAND, IndexVersion, SearchOptions
from tests.index.oracle import EF, FILTERS, assert_a_hand_a_video, assert_sound, true_distances


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

    true = true_distances(pool, embedding, rows, 7, admits, per_video=one_per_video)
    for exact in (False, True):
        found = version.search_hands(
            pool.hand_ids[rows],
            7,
            other_video=other_video,
            options=SearchOptions(filter=filter, one_per_video=one_per_video, exact=exact, ef=EF),
        )
        assert_sound(pool, embedding, rows, found, admits)
        if one_per_video:
            assert_a_hand_a_video(pool, found)
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
    assert found.is_found.sum() == len(pool) - 1
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

"""Mining in bulk: the same table as an exact index gives, from all hands in memory."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from handsim import HandsimError, Pool, PoseEmbedding
from handsim.errors import NotThereError
from handsim.pool.duplicates import DuplicateGroups
from index import NO_HAND, ExactIndex, MinedPairs, MiningPolicy, mine
from index.bulk import BulkSearch, mine_in_bulk
from index.kd_tree import KdTree
from tests.index.builders import HANDS_PER_VIDEO, group_hands, write_pool

POLICIES = {
    "nearest": MiningPolicy(),
    "ranks": MiningPolicy(top_k=7, first_rank=3),
    "same video": MiningPolicy(top_k=3, other_video=False),
    "one per video": MiningPolicy(top_k=5, one_per_video=True),
    "floor": MiningPolicy(top_k=4, min_distance=0.6),
    "floor, one per video": MiningPolicy(top_k=4, min_distance=0.6, one_per_video=True),
    "band": MiningPolicy(top_k=20, min_distance=0.5, max_distance=0.9),
    "band of one video each": MiningPolicy(top_k=9, one_per_video=True, min_distance=0.5, max_distance=0.9),
    "nothing is near enough": MiningPolicy(max_distance=0.0),
    "duplicates kept": MiningPolicy(top_k=3, keep_duplicates=True),
    "everything": MiningPolicy(top_k=900, other_video=False),
}


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    return write_pool(tmp_path_factory.mktemp("bulk") / "pool")


@pytest.fixture(scope="module")
def embedding(pool: Pool) -> PoseEmbedding:
    return PoseEmbedding.fit(pool)


@pytest.fixture(scope="module")
def duplicates(pool: Pool) -> DuplicateGroups:
    """Each hand with three in other videos: with its nearest among them, for some."""
    nearest = np.random.default_rng(0).permutation(pool.hand_ids).reshape(-1, 4)
    return group_hands(*nearest.tolist())


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_the_table_is_the_one_of_an_exact_index(
    pool: Pool, embedding: PoseEmbedding, duplicates: DuplicateGroups, policy: MiningPolicy
) -> None:
    hands = pool.hand_ids[::-1]
    search = BulkSearch.of_pool(pool, embedding, threads=2)
    batches = mine_in_bulk(search, hands, policy, duplicates=duplicates)
    bulk = MinedPairs.concatenate(batches)
    served = MinedPairs.concatenate(mine(ExactIndex(pool, embedding), hands, policy, duplicates=duplicates))
    np.testing.assert_array_equal(bulk.hand_ids, served.hand_ids)
    np.testing.assert_allclose(bulk.distances, served.distances, atol=1e-6)
    # Of equally near ones either may come first.
    np.testing.assert_array_equal(np.sort(bulk.positives), np.sort(served.positives))
    assert (bulk.too_near, bulk.duplicates) == (served.too_near, served.duplicates)


def brute_force(
    vectors: NDArray[np.float32], query: int, videos: NDArray[np.int32], k: int
) -> NDArray[np.float64]:
    apart = np.linalg.norm(vectors.astype(np.float64) - vectors[query], axis=1)
    smallest = np.sort(apart[videos != videos[query]])[:k]
    return np.pad(smallest, (0, k - len(smallest)), constant_values=np.inf)


@pytest.mark.parametrize("points", [1, 2, 63, 64, 65, 129, 1000])
@pytest.mark.parametrize("dimension", [1, 14, 70])
def test_a_tree_of_any_size_is_exact_also_where_points_are_equal(points: int, dimension: int) -> None:
    random = np.random.default_rng(points)
    vectors = random.normal(size=(points, dimension)).astype(np.float32)
    vectors[random.integers(points, size=points // 3)] = vectors[0]
    videos = random.integers(1 + points // 10, size=points).astype(np.int32)
    queries = random.permutation(points)[: 1 + points // 2]
    found = KdTree(vectors, 2).nearest(
        queries, 3, differ=videos[None], one_of=None, min_distance=0.0, max_distance=np.inf
    )
    for query, rows in zip(queries.tolist(), found, strict=True):
        distances = np.linalg.norm(vectors[rows].astype(np.float64) - vectors[query], axis=1)
        distances[rows < 0] = np.inf
        np.testing.assert_allclose(distances, brute_force(vectors, query, videos, 3), atol=1e-5)
        assert len(set(rows[rows >= 0].tolist())) == (rows >= 0).sum()


def test_progress_counts_the_hands_of_each_block(
    pool: Pool, embedding: PoseEmbedding, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = BulkSearch.of_pool(pool, embedding)
    at_once = MinedPairs.concatenate(mine_in_bulk(search, pool.hand_ids))
    monkeypatch.setattr("index.bulk._HANDS_AT_ONCE", 400)
    calls: list[tuple[int, int]] = []
    batches = list(mine_in_bulk(search, pool.hand_ids, progress=lambda *done: calls.append(done)))
    assert calls == [(400, 900), (800, 900), (900, 900)]
    np.testing.assert_array_equal(MinedPairs.concatenate(batches).positives, at_once.positives)


def test_what_cannot_be_mined_is_refused(pool: Pool, embedding: PoseEmbedding) -> None:
    search = BulkSearch.of_pool(pool, embedding)
    with pytest.raises(HandsimError, match="k is 2000; these 900 hands answer 1 to 900"):
        list(mine_in_bulk(search, pool.hand_ids, MiningPolicy(top_k=2000)))
    with pytest.raises(NotThereError, match="no hand 0000000000000001 among these 900 hands"):
        list(mine_in_bulk(search, np.array([1], dtype=np.uint64)))
    with pytest.raises(HandsimError, match="0 workers cannot mine"):
        BulkSearch.of_pool(pool, embedding, threads=0)
    none = np.empty(0, dtype=np.uint64)
    with pytest.raises(HandsimError, match="there are no hands to search"):
        BulkSearch(none, np.empty((0, 14), np.float32), np.empty(0, np.int32))


def test_a_pool_of_one_video_has_no_positives_of_another(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool", videos=1)
    search = BulkSearch.of_pool(pool, PoseEmbedding.fit(pool))
    (pairs,) = mine_in_bulk(search, pool.hand_ids)
    assert (pairs.positives == NO_HAND).all()
    assert len(pairs) == HANDS_PER_VIDEO

"""Some hands of an index, mined as if it held no others."""

import numpy as np
import pytest

from handsim import Pool, PoseEmbedding
from index import ExactIndex, MiningPolicy
from index.among import search_among
from index.bulk import BulkSearch, mine_in_bulk
from index.mining import MinedPairs
from tests.index.builders import group_hands


@pytest.mark.parametrize("share", [0.1, 0.6])
@pytest.mark.parametrize("one_per_video", [False, True])
def test_positives_are_those_of_an_index_of_these_hands_alone(
    pool: Pool, embedding: PoseEmbedding, share: float, one_per_video: bool
) -> None:
    """Whether few hands are compared in memory, or the others passed over in the graph."""
    is_listed = np.random.default_rng(0).random(len(pool)) < share
    hand_ids = pool.hand_ids[is_listed]
    policy = MiningPolicy(top_k=3, one_per_video=one_per_video, max_quantile=0.9)
    duplicates = group_hands(hand_ids[[0, 5, 9]].tolist())
    search = search_among(ExactIndex(pool, embedding), hand_ids, threads=1)
    assert isinstance(search, BulkSearch) == (share < 0.25)
    mined, alone = (
        MinedPairs.concatenate(mine_in_bulk(each, hand_ids, policy, duplicates=duplicates))
        for each in (search, BulkSearch.of_pool(pool, embedding, rows=np.flatnonzero(is_listed), threads=1))
    )
    np.testing.assert_allclose(mined.distances, alone.distances, rtol=1e-4, atol=1e-5)
    assert np.isin(mined.positives[mined.is_found], hand_ids).all()
    assert (mined.too_near, mined.duplicates) == (alone.too_near, alone.duplicates)

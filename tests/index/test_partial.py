"""Hands with unlabelled joints never get into an index, a measure or an export in silence."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from handsim import HandsimError, Pool, PoolWriter, PoseEmbedding
from handsim.errors import NotThereError
from handsim.hand import format_hand_id
from index import MinedPairs, mine, open_catalog
from index.evaluation import evaluate_retrieval
from index.hand100m import write_hand100m
from tests.handsim.builders import make_hand, make_partial_hand
from tests.index.builders import SMALL_GRAPH, SmallData


def test_hands_with_unlabelled_joints_are_in_no_index_unless_its_embedding_completes_them(
    small: SmallData, tmp_path: Path
) -> None:
    partial = [make_partial_hand(number, [2, 7]) for number in (1, 2)]
    shutil.copytree(small.pool.path, tmp_path / "pool")
    with PoolWriter(tmp_path / "pool") as writer:
        for hand in partial:
            writer.add(hand)
    pool, catalog = Pool.open(tmp_path / "pool"), open_catalog(tmp_path / "index")
    assert catalog.build(pool, small.embedding, SMALL_GRAPH).points == 60
    assert catalog.add(pool).name == "v0001", "nothing that it takes is new"
    with catalog.current() as version, pytest.raises(NotThereError, match="no hand"):
        version.search_hands([partial[0].hand_id])
    completing = PoseEmbedding.fit(pool, unlabelled="complete")
    assert catalog.build(pool, completing, SMALL_GRAPH).points == 62
    with catalog.current() as version:
        assert version.embedding.unlabelled == "complete"
        ids = [hand.hand_id for hand in partial]
        expected = completing.transform(np.stack([hand.keypoints for hand in partial]))
        np.testing.assert_allclose(version.vectors(ids), expected, atol=1e-6)
        report = evaluate_retrieval(version, pool).report
        assert report.sample == 62
        assert report.mined_pose_distance is not None
        assert np.isfinite(report.mined_pose_distance)
        mined = MinedPairs.concatenate(mine(version, pool.hand_ids))
    assert write_hand100m(tmp_path / "pairs.json", pool, [mined]) == 60
    text = (tmp_path / "pairs.json").read_text()
    assert "NaN" not in text
    assert not any(format_hand_id(hand_id) in text for hand_id in ids)
    only_pool = tmp_path / "unknown"
    with PoolWriter(only_pool) as writer:
        writer.add(make_hand(1, side="unknown"))
    with pytest.raises(HandsimError, match=r"all 1 hands are of unknown side.*relabel"):
        catalog.build(Pool.open(only_pool), small.embedding)
    small_pool = tmp_path / "partial"
    with PoolWriter(small_pool) as writer:
        writer.add(partial[0])
    with pytest.raises(HandsimError, match=r"all 1 hands have unlabelled joints.*--unlabelled complete"):
        catalog.build(Pool.open(small_pool), small.embedding)

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from handsim import HandsimError, Pool, PoseEmbedding
from index import ExactIndex, IndexVersion
from index.evaluation import evaluate_retrieval
from tests.index.builders import write_pool


def test_report_of_a_pool_made_of_few_poses(version: IndexVersion, pool: Pool) -> None:
    report = evaluate_retrieval(version, pool, sample=300).report
    assert report.points == 900
    assert report.sample == 300
    assert 0.99 <= report.recall_at_1 <= 1
    assert 0.99 <= report.recall_at_10 <= 1
    assert 200 < report.labelled < 270  # four frames of five have a label
    assert report.precision_at_1 is not None
    assert report.precision_at_1 > 0.7
    assert report.covered == report.cross_video_share == 1
    assert report.cross_video_share_unfiltered < 0.2
    assert report.mined_pose_distance is not None
    assert report.random_pose_distance is not None
    assert report.mined_pose_distance < report.random_pose_distance / 3
    assert 0.9 < report.explained_variance <= 1
    assert json.loads(json.dumps(asdict(report))) == asdict(report)
    assert evaluate_retrieval(version, pool, sample=300).report == report
    assert evaluate_retrieval(version, pool, sample=300, seed=1).report != report


def test_one_video_has_no_other(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool", videos=1)
    embedding = PoseEmbedding.fit(pool, components=4)
    report = evaluate_retrieval(ExactIndex(pool, embedding), pool).report
    assert report.sample == 15
    assert report.covered == 0
    assert report.recall_at_1 == 1
    assert report.precision_at_1 == 0
    assert report.mined_pose_distance is None


def test_an_empty_sample(version: IndexVersion, pool: Pool) -> None:
    with pytest.raises(HandsimError, match="a sample of 0 hands measures nothing"):
        evaluate_retrieval(version, pool, sample=0)

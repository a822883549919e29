"""How good an index is: its neighbours against the pool's labels, and its graph against exact search."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from handsim import HandsimError, Pool, PoolWriter, PoseEmbedding
from index import ExactIndex, IndexSettings, IndexVersion, open_catalog, verify
from index.evaluation import evaluate_retrieval
from tests.handsim.builders import make_hand
from tests.index.builders import SMALL_GRAPH, copy_index, write_pool


def test_in_a_pool_of_few_poses_neighbours_have_the_same_label(embedded: IndexVersion, pool: Pool) -> None:
    report = evaluate_retrieval(embedded, pool, sample=300).report
    assert (report.points, report.sample) == (900, 300)
    assert 0.99 <= report.recall_at_1 <= 1
    assert 0.99 <= report.recall_at_10 <= 1
    assert 200 < report.labelled < 270  # four frames of five have a label
    assert (report.precision_at_1 or 0) > 0.7
    assert (report.without_peer, report.ceiling_at_10) == (6, 1)  # one label is that of a single video
    assert report.covered == report.cross_video_share == 1
    assert report.cross_video_share_unfiltered < 0.2
    assert report.mined_pose_distance is not None
    assert report.random_pose_distance is not None
    assert report.mined_pose_distance < report.random_pose_distance / 3
    assert 0.9 < report.explained_variance <= 1
    assert json.loads(json.dumps(asdict(report))) == asdict(report)
    assert evaluate_retrieval(embedded, pool, sample=300).report == report
    assert evaluate_retrieval(embedded, pool, sample=300, seed=1).report != report


def test_a_single_video_has_no_neighbours_in_others(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool", videos=1)
    embedding = PoseEmbedding.fit(pool, components=4)
    report = evaluate_retrieval(ExactIndex(pool, embedding), pool).report
    assert (report.sample, report.covered) == (15, 0)
    assert (report.recall_at_1, report.precision_at_1, report.ceiling_at_10) == (1, None, None)
    assert report.without_peer == report.labelled > 0  # nothing could have been right
    assert report.mined_pose_distance is None


def test_the_ceiling_of_precision_is_that_of_labels_with_few_peers(tmp_path: Path) -> None:
    with PoolWriter(tmp_path / "pool") as writer:
        for number in range(40):  # in videos of five; "a" has 3 hands in other videos than its own, "b" none
            label = "a" if number in (0, 1, 10, 20) else "b" if number == 30 else None
            writer.add(replace(make_hand(number), label=label))
    pool = Pool.open(tmp_path / "pool")
    report = evaluate_retrieval(ExactIndex(pool, PoseEmbedding.fit(pool, components=4)), pool).report
    assert (report.labelled, report.without_peer) == (5, 1)
    assert report.ceiling_at_10 == pytest.approx((2 + 2 + 3 + 3) / 4 / 10)


def test_an_empty_sample_is_refused(embedded: IndexVersion, pool: Pool) -> None:
    with pytest.raises(HandsimError, match="a sample of 0 hands measures nothing"):
        evaluate_retrieval(embedded, pool, sample=0)
    with pytest.raises(HandsimError, match="a random sample of 0 hands"):
        verify(embedded, sample=0)


def test_a_sound_version_has_no_problems_and_hands_that_only_it_or_the_pool_has_are_counted(
    embedded: IndexVersion, pool: Pool
) -> None:
    measured = verify(embedded, read_all=True, pool_ids=pool.hand_ids)
    assert measured.problems() == []
    assert (measured.points, measured.sample) == (900, 900)
    assert measured.recall_at_1 >= 0.99
    assert (measured.duplicates, measured.altered) == (0, False)
    assert (measured.missing_from_index, measured.missing_from_pool) == (0, 0)
    ids = np.concatenate([pool.hand_ids[2:], np.array([1, 2, 3], dtype=np.uint64)])
    measured = verify(embedded, sample=10, read_all=True, pool_ids=ids)
    assert (measured.missing_from_index, measured.missing_from_pool) == (3, 2)
    assert measured.problems() == []


def test_a_quick_verification_reads_only_its_sample(embedded: IndexVersion) -> None:
    measured = verify(embedded, sample=50)
    assert measured.sample == 50
    assert (measured.duplicates, measured.altered, measured.missing_from_index) == (None, None, None)


@pytest.mark.slow
@pytest.mark.parametrize("pattern", ["matrix.dat", "hands.arrow"])
def test_altered_vectors_are_found_by_reading_all(tmp_path: Path, pattern: str) -> None:
    # So many that the file of their vectors is too large to be checked whole on every opening.
    pool = write_pool(tmp_path / "pool", videos=90)
    catalog = open_catalog(tmp_path / "index")
    catalog.build(pool, PoseEmbedding.fit(pool), SMALL_GRAPH)
    file = max((tmp_path / "index" / "v0001").rglob(pattern), key=lambda file: file.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with catalog.current() as version:
        assert verify(version, sample=10).altered is None
        measured = verify(version, sample=10, read_all=True)
    assert measured.altered
    problem = "ids or vectors are not those that were written; `handsim index build` again"
    assert problem in measured.problems()


@pytest.mark.slow
def test_a_version_with_a_poor_graph_is_not_published(
    built: Path, pool: Pool, embedding: PoseEmbedding, tmp_path: Path
) -> None:
    poor = IndexSettings(m=2, ef_construct=4, ef=1, index_above_kb=1, full_scan_below_kb=10)
    catalog = open_catalog(copy_index(built, tmp_path / "index"))
    with pytest.raises(
        HandsimError,
        match=r"^v0002 is written but not published: recall@1 is 0\.\d{4}, below 0\.981; "
        r"`handsim index build` again with a larger --ef, --ef-construct or --m$",
    ):
        catalog.build(pool, embedding, poor)
    first, second = catalog.versions()
    assert (first.is_current, second.is_current) == (True, False)
    assert (second.recall_at_1 or 1) < 0.9
    with catalog.open("v0002") as version:
        measured = verify(version)
    assert measured.recall_at_1 < 0.9
    (problem,) = measured.problems()
    assert problem.startswith("recall@1 is 0.")
    assert "below 0.99; `handsim index build` again with a larger --ef" in problem
    # A user can publish it nevertheless.
    assert catalog.build(pool, embedding, poor, publish=False).name == "v0003"
    catalog.publish("v0003")

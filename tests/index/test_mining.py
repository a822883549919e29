"""Mined pairs, by one or several processes, and the files they are written to."""

import json
import multiprocessing
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from handsim import HandsimError, Pool, PoolWriter, PoseEmbedding
from handsim.errors import NotThereError
from handsim.hand import format_hand_id, make_hand_id
from index import NO_HAND, IndexVersion, MinedPairs, MiningPolicy, mine, open_catalog
from index.hand100m import box_of_whole_crop, write_hand100m
from index.mining import write_pairs
from tests.index.builders import group_hands, write_pool


def mine_all(embedded: IndexVersion, pool: Pool, policy: MiningPolicy) -> MinedPairs:
    return MinedPairs.concatenate(mine(embedded, pool.hand_ids, policy, ef=400))


def test_the_nearest_hand_of_another_video_has_the_same_pose(embedded: IndexVersion, pool: Pool) -> None:
    calls: list[tuple[int, int]] = []
    batches = mine(embedded, pool.hand_ids, progress=lambda done, total: calls.append((done, total)))
    pairs = MinedPairs.concatenate(batches)
    assert calls[-1] == (len(pool), len(pool))
    np.testing.assert_array_equal(pairs.hand_ids, pool.hand_ids)
    partners = pool.rows(pairs.positives[:, 0])
    assert (pool.videos.codes[partners] != pool.videos.codes).all()
    labels = zip(pool.labels.values(), pool.labels.values(partners), strict=True)
    same = [one == other for one, other in labels if one and other]
    assert np.mean(same) > 0.95  # a pose of a single video has no partner


def test_ranks_are_a_window_of_the_search(embedded: IndexVersion, pool: Pool) -> None:
    uncapped = mine_all(embedded, pool, MiningPolicy(top_k=5))
    window = mine_all(embedded, pool, MiningPolicy(first_rank=3, top_k=5))
    np.testing.assert_array_equal(window.distances, uncapped.distances[:, 2:])


def test_a_distance_cap_leaves_places_over(embedded: IndexVersion, pool: Pool) -> None:
    uncapped = mine_all(embedded, pool, MiningPolicy(top_k=3))
    cap = float(np.median(uncapped.distances))
    capped = mine_all(embedded, pool, MiningPolicy(top_k=3, max_distance=cap))
    np.testing.assert_array_equal(capped.is_found, uncapped.distances <= cap)
    assert (capped.positives[~capped.is_found] == NO_HAND).all()
    assert 0 < capped.is_found.sum() < capped.is_found.size


def test_with_one_per_video_ranks_are_those_of_videos(embedded: IndexVersion, pool: Pool) -> None:
    pairs = mine_all(embedded, pool, MiningPolicy(top_k=4, one_per_video=True))
    videos = pool.videos.codes[pool.rows(pairs.positives.ravel())].reshape(-1, 4)
    together = np.concatenate([pool.videos.codes[:, None], videos], axis=1)
    assert all(len(set(row)) == 5 for row in together.tolist())


def test_the_same_video_may_be_allowed(embedded: IndexVersion, pool: Pool) -> None:
    pairs = mine_all(embedded, pool, MiningPolicy(other_video=False))
    assert (pairs.positives[:, 0] != pool.hand_ids).all()
    partners = pool.rows(pairs.positives[:, 0])
    assert (pool.videos.codes[partners] == pool.videos.codes).mean() > 0.5


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Pool, IndexVersion]]:
    """Five videos of 15 hands, and the first of them again under two other names."""
    path = tmp_path_factory.mktemp("copied")
    pool = write_pool(path / "pool", videos=5)
    with PoolWriter(path / "pool") as writer:
        for name in ("copy", "copy (1)"):
            for hand_id in pool.hand_ids[:15].tolist():
                hand = pool.hand(hand_id)
                again = make_hand_id("test", name, hand.frame, 0)
                writer.add(replace(hand, hand_id=again, video=name))
    pool = Pool.open(path / "pool")
    open_catalog(path / "index").build(pool, PoseEmbedding.fit(pool))
    with open_catalog(path / "index").current() as version:
        yield pool, version


def test_what_is_too_near_is_no_positive_and_the_next_ones_move_up(
    copied: tuple[Pool, IndexVersion], tmp_path: Path
) -> None:
    pool, version = copied
    everything = mine_all(version, pool, MiningPolicy(top_k=4, min_distance=0.0))
    pairs = mine_all(version, pool, MiningPolicy(top_k=2))
    np.testing.assert_array_equal(pairs.distances[:15], everything.distances[:15, 2:])
    np.testing.assert_array_equal(pairs.distances[15:75], everything.distances[15:75, :2])
    assert everything.too_near == everything.duplicates == 0
    assert (pairs.too_near, pairs.duplicates) == (3 * 15 * 2, 0)
    per_video = mine_all(version, pool, MiningPolicy(top_k=2, one_per_video=True))
    assert (per_video.distances >= 0.001).all()
    assert (mine_all(version, pool, MiningPolicy(max_distance=0.0)).positives[:15] == NO_HAND).all()
    write_pairs(tmp_path / "pairs.parquet", [pairs], version.info)
    metadata = pq.read_metadata(tmp_path / "pairs.parquet").metadata
    assert (metadata[b"left_out_too_near"], metadata[b"left_out_duplicates"]) == (b"90", b"0")


def test_duplicates_of_the_anchor_are_no_positives_unless_they_are_kept(
    copied: tuple[Pool, IndexVersion], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.mining._BATCH_HANDS", 40)  # two processes have a batch each, or two
    pool, version = copied
    sets = [pool.hand_ids[[row, 75 + row, 90 + row]].tolist() for row in range(15)]
    copies = group_hands(*sets)
    policy = MiningPolicy(min_distance=0.0)
    for workers in (1, 2):
        batches = mine(version, pool.hand_ids, policy, duplicates=copies, workers=workers, ef=400)
        pairs = MinedPairs.concatenate(batches)
        assert (pairs.too_near, pairs.duplicates) == (0, 45)
        groups = copies.group_of(pool.hand_ids)
        assert (copies.group_of(pairs.positives[:, 0]) != groups)[groups >= 0].all()
        assert (pairs.distances > 0.001).all()
    kept = MiningPolicy(min_distance=0.0, keep_duplicates=True)
    pairs = MinedPairs.concatenate(mine(version, pool.hand_ids, kept, duplicates=copies))
    assert (pairs.distances[:15] == 0).all()


def test_a_quantile_of_the_nearest_distances_is_a_cap(embedded: IndexVersion, pool: Pool) -> None:
    nearest = mine_all(embedded, pool, MiningPolicy()).distances[:, 0]
    for quantile in (0.25, 0.5, 1.0):
        mined = mine_all(embedded, pool, MiningPolicy(top_k=3, max_quantile=quantile))
        cap = np.quantile(nearest, quantile)
        np.testing.assert_array_equal(mined.is_found[:, 0], nearest <= cap)
        assert mined.distances[mined.is_found].max() <= cap
    both = mine_all(embedded, pool, MiningPolicy(max_quantile=0.5, max_distance=float(nearest.min())))
    assert both.is_found.sum() == (nearest == nearest.min()).sum()


def test_a_policy_that_cannot_be_mined_is_refused(embedded: IndexVersion, pool: Pool) -> None:
    for ranks in ((0, 1), (2, 1), (1, 0)):
        with pytest.raises(HandsimError, match=r"^ranks -?\d+ to -?\d+ cannot be mined"):
            MiningPolicy(first_rank=ranks[0], top_k=ranks[1])
    for distance in (-1.0, float("nan")):
        with pytest.raises(HandsimError, match="max_distance"):
            MiningPolicy(max_distance=distance)
        with pytest.raises(HandsimError, match="min_distance"):
            MiningPolicy(min_distance=distance)
    for quantile in (0.0, 1.1, float("nan")):
        with pytest.raises(HandsimError, match="max_quantile is"):
            MiningPolicy(max_quantile=quantile)
    with pytest.raises(HandsimError, match="k is 2000"):
        mine_all(embedded, pool, MiningPolicy(top_k=2000))
    with pytest.raises(NotThereError, match="no hand 0000000000000001"):
        list(mine(embedded, np.array([1], dtype=np.uint64)))


def test_pairs_are_written_as_parquet(embedded: IndexVersion, pool: Pool, tmp_path: Path) -> None:
    pairs = mine_all(embedded, pool, MiningPolicy(top_k=2, max_distance=0.2))
    halves = [
        MinedPairs(pairs.hand_ids[rows], pairs.positives[rows], pairs.distances[rows])
        for rows in (slice(0, 450), slice(450, None))
    ]
    assert write_pairs(tmp_path / "pairs.parquet", halves, embedded.info) == pairs.is_found.sum()
    table = pq.read_table(tmp_path / "pairs.parquet")
    assert table.schema.metadata[b"embedding_fingerprint"].decode() == embedded.embedding.fingerprint
    rows, ranks = np.nonzero(pairs.is_found)
    np.testing.assert_array_equal(table["hand_id"], pairs.hand_ids[rows])
    np.testing.assert_array_equal(table["positive_id"], pairs.positives[rows, ranks])
    np.testing.assert_array_equal(table["rank"], ranks + 1)
    np.testing.assert_array_equal(table["distance"], pairs.distances[rows, ranks])


def test_an_unfinished_file_is_not_left_behind(embedded: IndexVersion, pool: Pool, tmp_path: Path) -> None:
    unknown = np.array([1], dtype=np.uint64)
    with pytest.raises(NotThereError):
        write_pairs(tmp_path / "pairs.parquet", mine(embedded, unknown), embedded.info)
    with pytest.raises(NotThereError):
        write_hand100m(tmp_path / "pairs.json", pool, mine(embedded, unknown))
    assert list(tmp_path.iterdir()) == []


def test_pairs_are_written_in_hand100ms_layout(embedded: IndexVersion, pool: Pool, tmp_path: Path) -> None:
    pairs = mine_all(embedded, pool, MiningPolicy(top_k=2, max_distance=0.2))
    assert write_hand100m(tmp_path / "hands.json", pool, [pairs]) == len(pool)
    file = json.loads((tmp_path / "hands.json").read_text())
    names = {image["id"]: image["file_name"] for image in file["images"]}
    assert len(names) == len(file["annotations"]) == len(pool)
    for row, annotation in enumerate(file["annotations"]):
        assert int(annotation["hand_id"]) == pool.hand_ids[row], "decimal: SiMHand's reader calls int()"
        assert names[annotation["image_id"]] == f"{format_hand_id(int(pool.hand_ids[row]))}.jpg"
        assert annotation["handsim_video"] == pool.videos[row]
        assert annotation["handsim_label"] == pool.labels[row]
        assert annotation["handsim_source"] == pool.sources[row]
        assert annotation["handsim_frame"] == pool.frames[row]
        assert annotation["handsim_side"] == ("left" if pool.is_left[row] else "right")
        assert annotation["left_right"] == "Right"
        assert len(annotation["positive_sample"]) == len(annotation["distance"]) == pairs.is_found[row].sum()
        np.testing.assert_allclose(annotation["keypoint_25d"], pool.keypoints[row].ravel(), atol=1e-6)
    partners = [str(hand) for hand in pairs.positives[0, pairs.is_found[0]].tolist()]
    assert file["annotations"][0]["positive_sample"] == partners
    assert write_hand100m(tmp_path / "hands.json", pool, []) == 0, "no hands make an empty list"
    assert json.loads((tmp_path / "hands.json").read_text())["annotations"] == []


@pytest.mark.parametrize("size", range(32, 513, 7))
def test_the_reader_of_hand100m_cuts_out_the_whole_crop(size: int) -> None:
    """The reader's rule: a square of floor(1.3 x the longer side) about the box, clipped at the border."""
    x0, y0, x1, y1 = json.loads(json.dumps(box_of_whole_crop(size)))
    side = int(max(x1 - x0, y1 - y0) * 1.3)
    assert side == size
    for low, high in ((x0, x1), (y0, y1)):
        assert round((low + high) / 2 - side / 2, 6) == 0


def test_several_processes_mine_the_same(
    embedded: IndexVersion, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.mining._BATCH_HANDS", 100)  # several batches for each process
    policy = MiningPolicy(top_k=3, max_distance=2.0)
    calls: list[tuple[int, int]] = []
    batches = mine(embedded, pool.hand_ids, policy, workers=2, progress=lambda *done: calls.append(done))
    together = MinedPairs.concatenate(batches)
    alone = MinedPairs.concatenate(mine(embedded, pool.hand_ids, policy))
    np.testing.assert_array_equal(together.hand_ids, pool.hand_ids)
    np.testing.assert_array_equal(together.positives, alone.positives)
    np.testing.assert_array_equal(together.distances, alone.distances)
    assert calls == [(done, 900) for done in range(100, 901, 100)]


def test_an_error_of_a_process_is_raised_in_the_main_one(
    embedded: IndexVersion, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.mining._BATCH_HANDS", 100)
    with pytest.raises(HandsimError, match="0 workers cannot mine"):
        list(mine(embedded, pool.hand_ids, workers=0))
    batches = mine(embedded, np.append(pool.hand_ids, np.uint64(123)), workers=2)
    next(batches)
    with pytest.raises(NotThereError, match="no hand 000000000000007b"):
        list(batches)
    assert not multiprocessing.active_children()

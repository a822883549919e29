"""What pairs are worth in 3D: against a loop over hands, in pools where the answer is known."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from handsim import Hand, HandsimError, Pool, PoolWriter, PoseEmbedding
from handsim.errors import NotThereError
from handsim.geometry import turn_points
from handsim.hand import make_hand_id
from handsim.synthetic import synthesise_poses
from index import ExactIndex
from index.pairs_3d import measure_pairs_3d

VIDEOS, FRAMES = 60, 4


def write_pool(path: Path, *, turned: bool = False, first_without: int = 0) -> Pool:
    """Poses whose joints are known but for the first ones; ``turned``: each in another direction."""
    poses = synthesise_poses(VIDEOS, FRAMES, seed=4)
    keypoints, joints = poses.keypoints, poses.joints_mm
    if turned:
        angles = np.random.default_rng(0).uniform(-180, 180, len(joints))
        keypoints = turn_points(keypoints, angles).astype(np.float32)
        wrist = joints[:, :1]
        joints = (turn_points(joints - wrist, angles) + wrist).astype(np.float32)
    with PoolWriter(path) as writer:
        for row, (video, frame) in enumerate(zip(poses.video.tolist(), poses.frame.tolist(), strict=True)):
            hand = Hand(
                hand_id=make_hand_id("test", str(video), frame, 0),
                source="test",
                video=str(video),
                frame=frame,
                side="right",
                score=1.0,
                box_px=np.array([0, 0, 9, 9], dtype=np.float32),
                keypoints=keypoints[row],
                joints_mm=joints[row],
                visible=np.arange(21) < 21 - row % 12,
            )
            writer.add(hand if row >= first_without else replace(hand, joints_mm=None))
    return Pool.open(path)


def test_mined_pairs_lie_between_random_ones_and_the_nearest_in_3d(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool", first_without=7)
    version = ExactIndex(pool, PoseEmbedding.fit(pool))
    measured = measure_pairs_3d(version, pool, sample=100)
    report = measured.report
    assert (report.hands, report.sample, report.up_to_turn) == (VIDEOS * FRAMES - 7, 100, False)
    assert report.oracle.aligned_mm < report.mined.aligned_mm < report.random.aligned_mm
    joints = pool.read_joints_mm().astype(np.float64)
    bones = np.linalg.norm(joints[:, 9] - joints[:, 0], axis=1)
    poses = (joints - joints[:, :1]) / bones[:, None, None]
    nearest = version.search_hands(pool.hand_ids[measured.anchors], 200, other_video=True)
    nearer = []
    for number, anchor in enumerate(measured.anchors):
        rows = pool.rows(nearest.hand_ids[number])
        known = rows[np.isfinite(joints[rows, 0, 0])]
        assert measured.positives[number] == known[0]
        errors = np.linalg.norm(poses - poses[anchor], axis=2).mean(axis=1) * bones[anchor]
        assert measured.errors.aligned[number] == pytest.approx(errors[known[0]], rel=1e-5)
        others = np.isfinite(errors) & (pool.videos.codes != pool.videos.codes[anchor])
        assert measured.oracle.aligned[number] == pytest.approx(errors[others].min(), rel=1e-5)
        nearer.append(np.mean(errors[7:] < errors[known[0]] * (1 - 1e-6)) - 1 / len(errors[7:]))
    assert report.negatives_nearer == pytest.approx(np.mean(nearer), abs=1e-3)
    assert json.loads(json.dumps(asdict(report))) == asdict(report)
    assert asdict(measure_pairs_3d(version, pool, sample=100).report) == asdict(report)


def test_every_pair_is_in_one_group_of_each_kind_and_worse_pairs_in_the_later_ones(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool")
    report = measure_pairs_3d(ExactIndex(pool, PoseEmbedding.fit(pool)), pool).report
    assert report.sample == report.hands == len(pool)
    for groups in (report.by_view, report.by_distance, report.by_visible):
        assert sum(means.pairs for means in groups.values()) == len(pool)
    assert list(report.by_view) == ["facing", "oblique", "edge-on"]
    assert list(report.by_visible) == ["all 21", "18 to 20", "13 to 17", "12 or fewer"]
    assert report.by_noise == {}
    for groups in (report.by_distance, report.by_rank):
        errors = [means.aligned_mm for means in groups.values()]
        assert errors[0] < errors[-1]
    growth = [means.aligned_mm for means in report.by_pool_size.values()]
    assert growth[0] > growth[-1] == report.mined.aligned_mm
    assert report.distance_correlation > 0.2


def test_partners_are_turned_back_where_the_embedding_turns_hands(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool", turned=True)
    held, upright = (
        measure_pairs_3d(
            ExactIndex(pool, PoseEmbedding.fit(pool, depth=True, up_to_turn=up_to_turn)), pool
        ).report
        for up_to_turn in (False, True)
    )
    assert upright.up_to_turn
    assert upright.mined.aligned_mm < 0.8 * held.mined.aligned_mm
    assert upright.negatives_nearer < 0.2


def test_a_pool_without_joints_and_one_without_neighbours_say_so(tmp_path: Path) -> None:
    blind = write_pool(tmp_path / "blind", first_without=VIDEOS * FRAMES)
    with pytest.raises(NotThereError, match=r"no hand of .* has known joints in 3D"):
        measure_pairs_3d(ExactIndex(blind, PoseEmbedding.fit(blind)), blind)
    seeing = write_pool(tmp_path / "seeing")
    other = index_other_hands(tmp_path / "other", seeing)
    with pytest.raises(NotThereError, match="holds no hand of"):
        measure_pairs_3d(other, seeing)
    lonely = write_pool(tmp_path / "lonely", first_without=VIDEOS * FRAMES - FRAMES)
    with pytest.raises(HandsimError, match="none of 4 hands has a neighbour in another video"):
        measure_pairs_3d(ExactIndex(lonely, PoseEmbedding.fit(lonely)), lonely)


def index_other_hands(path: Path, pool: Pool) -> ExactIndex:
    """An index of other hands, in the same poses."""
    with PoolWriter(path) as writer:
        for number, hand in enumerate(pool.hands(np.arange(40))):
            writer.add(replace(hand, hand_id=number))
    other = Pool.open(path)
    return ExactIndex(other, PoseEmbedding.fit(other))

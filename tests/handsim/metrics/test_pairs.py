"""How alike the hands of pairs are in 3D: against loops over hands, and by what alignment takes out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from handsim import HandsimError
from handsim.geometry import turn_points
from handsim.metrics import pairs
from handsim.metrics.pairs import (
    detector_errors,
    find_nearest_poses,
    has_measures,
    measure_pairs,
    palm_angles_deg,
    rank_correlation,
    share_nearer,
    unit_poses,
)
from handsim.synthetic import synthesise_poses

Floats = NDArray[np.float64]


def hands(count: int, seed: int = 0) -> Floats:
    """Joints [N, 21, 3] before a camera, in mm."""
    random = np.random.default_rng(seed)
    joints: Floats = random.normal(scale=40, size=(count, 21, 3)) + np.array([0, 0, 500])
    return joints


def test_pairs_are_measured_as_a_loop_over_hands_and_joints_does() -> None:
    anchors, partners = hands(5), hands(5, seed=1)
    measured = measure_pairs(anchors, partners)
    for number, (anchor, partner) in enumerate(zip(anchors, partners, strict=True)):
        scale = np.linalg.norm(anchor[9] - anchor[0]) / np.linalg.norm(partner[9] - partner[0])
        apart = (partner - partner[0]) * scale - (anchor - anchor[0])
        assert measured.aligned[number] == pytest.approx(np.mean([np.sqrt(d @ d) for d in apart]))
        assert measured.xy[number] == pytest.approx(np.mean([np.hypot(x, y) for x, y, _ in apart]))
        assert measured.depth[number] == pytest.approx(np.mean([abs(z) for _, _, z in apart]))
    assert len(measured) == 5
    assert measured[np.array([2])].xy == measured.xy[2]


@given(st.floats(-180, 180), st.floats(0.3, 3), st.integers(0, 2**32 - 1))
def test_place_and_size_count_for_nothing_a_turn_only_where_it_is_not_undone(
    angle: float, scale: float, seed: int
) -> None:
    anchors = hands(2, seed)
    partners = turn_points(anchors * scale + np.random.default_rng(seed).normal(size=3), np.full(2, angle))
    undone = measure_pairs(anchors, partners, np.full(2, -angle))
    assert undone.aligned.max() < 1e-6
    turned = measure_pairs(anchors, partners)
    assert turned.procrustes.max() < 1e-6
    assert turned.depth.max() < 1e-6
    if abs(angle) > 1:
        assert turned.xy.min() > 0.1


def test_positive_turns_are_counter_clockwise_as_displayed() -> None:
    right = np.array([[[0.0, 0.0, 7.0], [2.0, 0.0, 7.0]]])
    up = turn_points(right, np.array([90.0]))  # about (1, 0), and y points down
    np.testing.assert_allclose(up, [[[1, 1, 7], [1, -1, 7]]], atol=1e-12)


def test_the_nearest_poses_of_other_videos_are_those_of_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "_DISTANCES_AT_ONCE", 300)  # several blocks
    poses, videos = unit_poses(hands(80)), (np.arange(80) // 3).astype(np.int32)
    found = find_nearest_poses(poses[:20], videos[:20], poses, videos)
    nearer = share_nearer(poses[:20], poses, np.full(20, 1.72))
    for query in range(20):
        apart = np.array([np.linalg.norm(pose - poses[query], axis=1).mean() for pose in poses])
        assert nearer[query] == pytest.approx((apart < 1.72).mean())
        apart[videos == videos[query]] = np.inf
        assert found[query] == apart.argmin()
    alone = np.zeros(80, dtype=np.int32)
    assert (find_nearest_poses(poses[:3], alone[:3], poses, alone) == -1).all()


def test_among_many_poses_the_nearest_by_squares_hold_the_nearest() -> None:
    synthetic = synthesise_poses(300, 4, seed=1)
    poses, videos = unit_poses(synthetic.joints_mm), synthetic.video
    found = find_nearest_poses(poses[::100], videos[::100], poses, videos)
    for query, row in zip(range(0, len(poses), 100), found, strict=True):
        apart = np.linalg.norm(poses - poses[query], axis=2).mean(axis=1)
        assert apart[row] == apart[videos != videos[query]].min()


def test_a_palm_is_seen_from_the_front_and_from_its_edge() -> None:
    joints = np.zeros((21, 3))
    joints[5], joints[17] = [20, -90, 0], [-20, -90, 0]
    for tilt, expected in ((0, 0), (40, 40), (90, 90), (180, 0)):
        angle = np.radians(tilt)
        about_x = [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
        turned = joints @ np.array(about_x).T
        turned -= turned[[0, 5, 17]].mean(axis=0)
        assert palm_angles_deg(turned[None] + [0, 0, 800])[0] == pytest.approx(expected, abs=1e-6)


def test_a_detector_errs_by_what_was_added_to_the_projection() -> None:
    synthetic = synthesise_poses(50, 4, seed=2)
    assert detector_errors(synthetic.keypoints, synthetic.joints_mm).max() < 1e-5
    box = np.ptp(synthetic.keypoints[..., :2], axis=1).max(axis=1)[:, None, None]
    noise = 0.03 * box * np.random.default_rng(0).standard_normal(synthetic.keypoints.shape)
    measured = detector_errors(synthetic.keypoints + noise, synthetic.joints_mm)
    expected = np.linalg.norm((noise / box)[..., :2], axis=-1).mean(axis=1)
    assert measured.mean() == pytest.approx(expected.mean(), rel=0.06)  # scale and shift take a little of it
    behind = synthetic.joints_mm - [0, 0, 5000]
    assert np.isnan(detector_errors(synthetic.keypoints, behind)).all()


@given(st.lists(st.integers(0, 5), min_size=3, max_size=12), st.integers(0, 2**32 - 1))
def test_ranks_are_correlated_as_they_are_counted(first: list[int], seed: int) -> None:
    second = np.random.default_rng(seed).integers(0, 5, len(first)).astype(np.float64)
    ranks = [
        np.array([sum(a < b for a in values) + sum(a == b for a in values) / 2 for b in values])
        for values in (first, second.tolist())
    ]
    measured = rank_correlation(np.array(first, dtype=np.float64), second)
    if min(rank.std() for rank in ranks) == 0:
        assert np.isnan(measured)
    else:
        assert measured == pytest.approx(np.corrcoef(ranks[0], ranks[1])[0, 1])


def test_hands_without_all_joints_or_without_a_bone_are_found_and_refused() -> None:
    joints = hands(3)
    joints[1, 4, 2] = np.nan
    joints[2, 9] = joints[2, 0]
    assert has_measures(joints).tolist() == [True, False, False]
    with pytest.raises(HandsimError, match=r"truth of sample 1 is .* at thumb_tip"):
        measure_pairs(joints, hands(3))

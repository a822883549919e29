"""Errors and scores, against lists of each joint, the numbers of the published code, and loops."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handsim import HandsimError
from handsim.metrics.alignment import Floats, PoseComparison, align_root, align_root_and_scale, compare_poses
from handsim.metrics.pose import (
    PCK_0_50,
    PCK_20_50,
    AlignmentScores,
    PckRange,
    area_under_curve,
    joint_errors_mm,
    mean_of_each_hand_mm,
    mean_pose_mm,
    pck_curve,
    score_constant_pose,
    score_errors,
    score_keypoints,
    score_poses,
)
from tests.handsim.builders import random_hands
from tests.handsim.metrics.oracles import JointLists, orthogonal_fit, similarity_fit
from tests.training.golden import read_golden

SEEDS = st.integers(0, 2**32 - 1)


def check(scores: AlignmentScores, poses: PoseComparison, predicted_mm: Floats, left_out: set[int]) -> None:
    """Scores are those of lists of each joint over the hands that are not left out."""
    rows = [hand for hand in range(len(poses.valid)) if hand not in left_out]
    measured = PoseComparison(predicted_mm[rows], poses.true_mm[rows], poses.valid[rows])
    slow = JointLists(measured)
    assert scores.hands == int(measured.valid.any(axis=1).sum())
    assert scores.joints == int(measured.valid.sum())
    assert scores.mpjpe_mm == pytest.approx(slow.mean())
    assert scores.median_mm == pytest.approx(slow.median())
    assert scores.auc_0_50 == pytest.approx(slow.auc(0, 50, 100))
    assert scores.auc_20_50 == pytest.approx(slow.auc(20, 50, 15))
    assert scores.pck_0_50[40] == pytest.approx(slow.pck(float(np.linspace(0, 50, 100)[40])))
    assert scores.pck_20_50 == pytest.approx([slow.pck(mm) for mm in np.linspace(20, 50, 15).tolist()])
    for mean, errors in zip(scores.joint_mpjpe_mm, slow.lists, strict=True):
        assert mean == (pytest.approx(np.mean(errors)) if errors else None)


def test_the_numbers_of_the_published_code(shared_data: Path) -> None:
    golden = {name: tensor.numpy() for name, tensor in read_golden(shared_data).items()}
    predicted, true = golden["pred_mm"], golden["gt_mm"]
    valid = np.ones(true.shape[:2], dtype=bool)
    scores = score_poses(predicted, true, valid)
    for ours, theirs in (
        (scores.absolute.mpjpe_mm, "epe_mean"),
        (scores.absolute.median_mm, "epe_median"),
        (scores.absolute.auc_0_50, "auc_0_50"),
        (scores.absolute.pck_0_50, "pck_0_50"),
        (scores.absolute.auc_20_50, "auc_20_50"),
        (scores.absolute.pck_20_50, "pck_20_50"),
        (align_root_and_scale(compare_poses(predicted, true, valid)).predicted_mm, "pred_root_scale_aligned"),
        (scores.root_scale.mpjpe_mm, "aligned_epe_mean"),
        (scores.root_scale.auc_0_50, "aligned_auc_0_50"),
    ):
        np.testing.assert_allclose(ours, golden[theirs], rtol=1e-12, atol=1e-12, err_msg=theirs)


@given(SEEDS)
def test_every_alignment_is_scored_by_its_own_joints(seed: int) -> None:
    hands = random_hands(seed, valid_share=0.8)
    hands.valid[:2] = True
    hands.true_mm[:2] = random_hands(seed).true_mm[:2]
    hands.predicted_mm[0, :, 0] *= -1
    hands.valid[2], hands.valid[3, 2:] = False, False
    scores = score_poses(hands.predicted_mm, hands.true_mm, hands.valid)
    assert scores.hands == 6
    check(scores.absolute, hands, hands.predicted_mm, set())
    rootless = set(np.flatnonzero(~hands.valid[:, 0]).tolist())
    boneless = rootless | set(np.flatnonzero(~hands.valid[:, 9]).tolist())
    few = set(np.flatnonzero(hands.valid.sum(axis=1) < 3).tolist())
    rooted, scaled, fitted, turned = np.zeros((4, *hands.true_mm.shape))
    for hand, (predicted, true, valid) in enumerate(
        zip(hands.predicted_mm, hands.true_mm, hands.valid, strict=True)
    ):
        rooted[hand] = predicted - predicted[0] + true[0]
        scale = np.linalg.norm(true[9] - true[0]) / np.linalg.norm(predicted[9] - predicted[0])
        scaled[hand] = (predicted - predicted[0]) * scale + true[0]
        if hand not in few:
            fitted[hand, valid] = orthogonal_fit(predicted[valid], true[valid])
            turned[hand, valid] = similarity_fit(predicted[valid], true[valid])
    check(scores.root_relative, hands, rooted, rootless)
    check(scores.root_scale, hands, scaled, boneless)
    check(scores.procrustes, hands, fitted, few)
    check(scores.procrustes_proper, hands, turned, few)


@given(SEEDS, st.sampled_from([1.0, 0.7, 0.1]))
def test_errors_are_scored_for_each_joint_first(seed: int, valid_share: float) -> None:
    hands = random_hands(seed, count=8, valid_share=valid_share)
    hands.valid[0, 0] = True
    hands.true_mm[0, 0] = (1, 2, 700)
    errors = joint_errors_mm(hands)
    np.testing.assert_array_equal(np.isnan(errors), ~hands.valid)
    check(score_errors(errors), hands, hands.predicted_mm, set())
    for hand, mean in enumerate(mean_of_each_hand_mm(errors)):
        own = errors[hand, hands.valid[hand]]
        assert mean == pytest.approx(own.mean() if len(own) else np.nan, nan_ok=True)
    hands.predicted_mm[~hands.valid] = np.nan  # what is not valid may be anything
    np.testing.assert_array_equal(joint_errors_mm(hands), errors)


def test_joints_count_alike_however_many_hands_have_them() -> None:
    errors = np.full((3, 21), np.nan)
    errors[:, 0] = (1, 2, 9)
    errors[0, 20] = 10
    scores = score_errors(errors)
    assert (scores.mpjpe_mm, scores.median_mm) == (7, 6)
    assert mean_of_each_hand_mm(errors).tolist() == [5.5, 2, 9]


def test_the_mean_of_all_where_all_are_valid() -> None:
    hands = random_hands(0)
    plain = np.sqrt(((hands.predicted_mm - hands.true_mm) ** 2).sum(axis=-1)).mean()
    assert score_errors(joint_errors_mm(hands)).mpjpe_mm == pytest.approx(plain)


def test_hands_without_valid_joints_change_nothing() -> None:
    hands = random_hands(0)
    whole = score_poses(hands.predicted_mm[:4], hands.true_mm[:4], hands.valid[:4])
    hands.valid[4:], hands.true_mm[4:] = False, np.nan
    assert score_poses(hands.predicted_mm, hands.true_mm, hands.valid) == dataclasses.replace(whole, hands=6)


def test_perfect_predictions() -> None:
    hands = random_hands(1)
    scores = score_poses(hands.true_mm, hands.true_mm, hands.valid)
    for alignment in (scores.absolute, scores.root_relative, scores.root_scale, scores.procrustes_proper):
        assert alignment.mpjpe_mm == pytest.approx(0, abs=1e-9)
        assert alignment.auc_0_50 == pytest.approx(1, abs=0.01)
        assert alignment.auc_20_50 == pytest.approx(1)


def test_scores_are_json() -> None:
    hands = random_hands(2)
    hands.valid[:, 7] = False
    scores = score_poses(hands.predicted_mm.astype(np.float32), hands.true_mm, hands.valid)
    read = json.loads(json.dumps(dataclasses.asdict(scores), allow_nan=False))
    assert read["root_relative"]["mpjpe_mm"] == scores.root_relative.mpjpe_mm
    assert read["absolute"]["joint_mpjpe_mm"][7] is None
    assert len(read["procrustes"]["pck_0_50"]) == 100


def test_assemblyhands_is_the_nanmean_over_joints_of_wrist_relative_errors() -> None:
    hands = random_hands(3, valid_share=0.8)
    hands.valid[:, 0] = True
    hands.true_mm[:, 0] = (0, 0, 700)
    errors = joint_errors_mm(align_root(hands))
    scores = score_poses(hands.predicted_mm, hands.true_mm, hands.valid)
    assert scores.root_relative.mpjpe_mm == pytest.approx(np.nanmean(np.nanmean(errors, axis=0)))
    assert scores.root_relative.joint_mpjpe_mm[0] == pytest.approx(0, abs=1e-9)


def test_nothing_to_measure_is_refused() -> None:
    hands = random_hands(4, valid_share=0)
    with pytest.raises(HandsimError, match=r"no joint of the 6 hands is valid.*; choose a split with"):
        score_poses(hands.predicted_mm, hands.true_mm, hands.valid)
    with pytest.raises(HandsimError, match=r"no joint of the 0 hands is valid"):
        score_poses(np.zeros((0, 21, 3)), np.zeros((0, 21, 3)), np.zeros((0, 21), dtype=bool))
    hands = random_hands(5)
    hands.valid[:, 0] = False
    with pytest.raises(HandsimError, match=r"none of the joints of the 6 hands .* lack the joints to be"):
        score_poses(hands.predicted_mm, hands.true_mm, hands.valid)
    message = r"none of the joints of the 4 hands can be measured.*; choose"
    for measure in (score_errors, mean_of_each_hand_mm):
        with pytest.raises(HandsimError, match=message):
            measure(np.full((4, 21), np.nan))


@given(SEEDS, st.sampled_from([1.0, 0.5]), st.sampled_from([PCK_0_50, PCK_20_50, PckRange(5, 9, 2)]))
def test_curve_and_area_are_those_of_lists_of_each_joint(
    seed: int, valid_share: float, thresholds: PckRange
) -> None:
    hands = random_hands(seed, count=4, valid_share=valid_share)
    slow = JointLists(hands)
    curve = pck_curve(joint_errors_mm(hands), thresholds)
    np.testing.assert_allclose(curve, [slow.pck(threshold) for threshold in thresholds.thresholds_mm])
    area = area_under_curve(curve, thresholds)
    assert area == pytest.approx(slow.auc(thresholds.lowest_mm, thresholds.highest_mm, thresholds.steps))
    assert 0 <= area <= 1
    assert (np.diff(curve) >= 0).all()
    assert 0 <= curve[0] <= curve[-1] <= 1


def test_an_error_at_the_threshold_counts() -> None:
    thresholds = PckRange(0, 50, 11)
    errors = np.full((1, 21), 20.0)
    assert pck_curve(errors, thresholds).tolist() == [0] * 4 + [1] * 7
    assert pck_curve(np.nextafter(errors, 21), thresholds).tolist() == [0] * 5 + [1] * 6
    assert pck_curve(np.zeros((1, 21)), thresholds).tolist() == [1] * 11
    assert pck_curve(np.full((1, 21), np.inf), thresholds).tolist() == [0] * 11


def test_the_ranges_are_those_of_the_evaluations() -> None:
    np.testing.assert_allclose(PCK_0_50.thresholds_mm, np.linspace(0, 0.05, 100) * 1000)
    np.testing.assert_allclose(PCK_20_50.thresholds_mm, np.linspace(20, 50, 15))
    for thresholds in (PCK_0_50, PCK_20_50):
        assert area_under_curve(pck_curve(np.zeros((2, 21)), thresholds), thresholds) == pytest.approx(1)
        assert area_under_curve(pck_curve(np.full((2, 21), 51.0), thresholds), thresholds) == 0


@pytest.mark.parametrize("numbers", [(50, 0, 100), (0, 50, 1), (-1, 50, 9), (7, 7, 9), (0, np.inf, 9)])
def test_a_range_without_extent_is_refused(numbers: tuple[float, float, int]) -> None:
    with pytest.raises(HandsimError, match=r"PCK range of .* is empty; it needs 0 <= lowest < highest"):
        PckRange(*numbers)


def test_zeros_score_as_in_freihands_evaluation() -> None:
    """Of files in metres: far away absolutely; aligned, every joint lies at the mean of the true ones."""
    true_m = random_hands(0, count=20).true_mm / 1000
    valid = np.ones(true_m.shape[:2], dtype=bool)
    scores = score_constant_pose(np.zeros((21, 3)), true_m * 1000, valid)
    distances_cm = [np.linalg.norm(joint) * 100 for hand in true_m for joint in hand]
    assert scores.absolute.mpjpe_mm / 10 == pytest.approx(np.mean(distances_cm))
    aligned_cm = [np.linalg.norm(joint - hand.mean(axis=0)) * 100 for hand in true_m for joint in hand]
    assert scores.procrustes.mpjpe_mm / 10 == pytest.approx(np.mean(aligned_cm))
    assert scores.procrustes_proper == scores.procrustes
    from_wrist_cm = [np.linalg.norm(joint - hand[0]) * 100 for hand in true_m for joint in hand]
    assert scores.root_relative.mpjpe_mm / 10 == pytest.approx(np.mean(from_wrist_cm))
    assert scores.root_scale == scores.root_relative


def test_the_mean_pose_is_relative_to_the_wrist_and_lies_at_the_mean_wrist() -> None:
    hands = random_hands(1, valid_share=0.7)
    hands.valid[0] = True
    hands.true_mm[0] = random_hands(1).true_mm[0]
    mean = mean_pose_mm(hands.true_mm, hands.valid)
    for joint in range(21):
        own = [
            true[joint] - true[0]
            for true, valid in zip(hands.true_mm, hands.valid, strict=True)
            if valid[0] and valid[joint]
        ]
        np.testing.assert_allclose(mean[joint] - mean[0], np.mean(own, axis=0), atol=1e-9)
    np.testing.assert_allclose(mean[0], np.nanmean(hands.true_mm[:, 0], axis=0))


def test_no_constant_pose_has_a_smaller_squared_error_than_the_mean_pose() -> None:
    hands = random_hands(2, count=50)
    mean = mean_pose_mm(hands.true_mm, hands.valid)
    relative = hands.true_mm - hands.true_mm[:, :1]
    random = np.random.default_rng(2)
    best = ((relative - (mean - mean[0])) ** 2).sum()
    for _ in range(20):
        other = mean + random.normal(0, 1, mean.shape)
        assert best < ((relative - (other - other[0])) ** 2).sum()


def test_a_constant_pose_is_scored_on_every_hand() -> None:
    hands = random_hands(4, count=5, valid_share=0.9)
    pose = random_hands(3, count=1).true_mm[0]
    scores = score_constant_pose(pose, hands.true_mm, hands.valid)
    assert scores == score_poses(np.stack([pose] * 5), hands.true_mm, hands.valid)


def test_joints_without_a_mean_pose_are_refused() -> None:
    hands = random_hands(5)
    hands.valid[:, 4] = False
    with pytest.raises(HandsimError, match=r"no training hand has both wrist and thumb_tip valid.*; choose"):
        mean_pose_mm(hands.true_mm, hands.valid)
    with pytest.raises(HandsimError, match="no training hand has both wrist and wrist valid"):
        mean_pose_mm(hands.true_mm, np.zeros_like(hands.valid))
    hands.true_mm[3, 2] = np.nan
    with pytest.raises(HandsimError, match=r"truth of sample 3 .* at thumb_mcp"):
        mean_pose_mm(hands.true_mm, hands.valid)


def test_2d_errors_are_averaged_for_each_joint_first() -> None:
    random = np.random.default_rng(0)
    predicted, true = random.uniform(0, 100, (2, 9, 21, 2))
    valid = random.random((9, 21)) > 0.4
    valid[:, 5] = False  # a joint that no hand has
    true[~valid] = np.nan
    distances = [
        [np.hypot(*(predicted[hand, joint] - true[hand, joint])) for hand in range(9) if valid[hand, joint]]
        for joint in range(21)
        if joint != 5
    ]
    scores = score_keypoints(predicted, true, valid)
    assert scores is not None
    assert scores.mean_px == pytest.approx(np.mean([np.mean(each) for each in distances]))
    assert scores.median_px == pytest.approx(np.mean([np.median(each) for each in distances]))
    assert score_keypoints(predicted, true, np.zeros_like(valid)) is None


def test_wrong_2d_joints_are_refused() -> None:
    joints, valid = np.zeros((3, 21, 2)), np.ones((3, 21), np.bool_)
    with pytest.raises(
        HandsimError, match=r"predicted 2D joints have shape \(2, 21, 2\); expected \(3, 21, 2\)"
    ):
        score_keypoints(joints[:2], joints, valid)
    with pytest.raises(HandsimError, match=r"true 2D joints have shape \(3, 21, 3\)"):
        score_keypoints(joints, np.zeros((3, 21, 3)), valid)
    broken = joints.copy()
    broken[2, 4, 0] = np.inf
    with pytest.raises(HandsimError, match=r"of sample 2 are not finite \(1 of 3 samples"):
        score_keypoints(broken, joints, valid)

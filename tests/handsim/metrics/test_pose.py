"""Alignments, errors and scores, against oracles and the numbers of the published code."""

import dataclasses
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handsim import HandsimError
from handsim.metrics.alignment import (
    Floats,
    PoseComparison,
    align_procrustes,
    align_root,
    align_root_and_scale,
    compare_poses,
)
from handsim.metrics.pose import (
    PCK_0_50,
    PCK_20_50,
    AlignmentScores,
    PckRange,
    area_of_each_error,
    area_under_curve,
    joint_errors_mm,
    mean_of_each_hand_mm,
    mean_pose_mm,
    pck_curve,
    score_errors,
    score_keypoints,
    score_poses,
)
from tests.handsim.builders import random_hands
from tests.handsim.metrics.oracles import JointLists, orthogonal_fit, rotation_of, similarity_fit
from tests.training.builders import read_golden

SEEDS = st.integers(0, 2**32 - 1)


def with_predictions(poses: PoseComparison, predicted_mm: Floats) -> PoseComparison:
    return compare_poses(predicted_mm, poses.true_mm, poses.valid)


def squared_errors(aligned: PoseComparison) -> Floats:
    """Sum over the joints of each hand [N]."""
    total: Floats = np.nansum(joint_errors_mm(aligned) ** 2, axis=1)
    return total


@settings(max_examples=30)
@given(SEEDS, st.floats(0.2, 5))
def test_root_and_scale_forgives_translation_and_scale_alone(seed: int, scale: float) -> None:
    hands = random_hands(seed)
    moved = with_predictions(hands, hands.predicted_mm * scale + (30, -20, 500))
    after = align_root_and_scale(moved).predicted_mm
    np.testing.assert_allclose(after, align_root_and_scale(hands).predicted_mm, atol=1e-6)
    bones = np.linalg.norm(after[:, 9] - after[:, 0], axis=1)
    np.testing.assert_allclose(bones, np.linalg.norm(hands.true_mm[:, 9] - hands.true_mm[:, 0], axis=1))


@settings(max_examples=30)
@given(SEEDS, st.sampled_from([1.0, 0.7, 0.3]))
def test_procrustes_is_horns_fit_of_the_valid_joints(seed: int, valid_share: float) -> None:
    hands = random_hands(seed, valid_share=valid_share)
    proper, official = align_procrustes(hands, proper=True), align_procrustes(hands, proper=False)
    for hand, valid in enumerate(hands.valid):
        if valid.sum() < 3:
            assert np.isnan(proper.predicted_mm[hand]).all()
            continue
        predicted, true = hands.predicted_mm[hand, valid], hands.true_mm[hand, valid]
        expected = similarity_fit(predicted, true)
        np.testing.assert_allclose(proper.predicted_mm[hand, valid], expected, atol=1e-6)
        best = float(((orthogonal_fit(predicted, true) - true) ** 2).sum())
        assert squared_errors(official)[hand] == pytest.approx(best, abs=1e-6)


@settings(max_examples=30)
@given(SEEDS, st.booleans(), st.floats(0.1, 10))
def test_procrustes_forgives_every_similarity(seed: int, proper: bool, scale: float) -> None:
    hands = random_hands(seed, valid_share=0.8)
    align = partial(align_procrustes, proper=proper)
    turn = rotation_of(np.random.default_rng(seed).normal(size=4))
    moved = with_predictions(hands, hands.predicted_mm @ turn.T * scale + (10, 20, 30))
    np.testing.assert_allclose(align(moved).predicted_mm, align(hands).predicted_mm, atol=1e-6)
    same = with_predictions(hands, np.nan_to_num(hands.true_mm @ turn.T * scale + (10, 20, 30)))
    assert squared_errors(align(same)).max() < 1e-12


@settings(max_examples=30)
@given(SEEDS, st.integers(0, 2))
def test_a_mirrored_hand_is_perfect_officially_and_not_properly(seed: int, axis: int) -> None:
    hands = random_hands(seed)
    hands.predicted_mm[:] = hands.true_mm
    hands.predicted_mm[..., axis] *= -1
    assert squared_errors(align_procrustes(hands, proper=False)).max() < 1e-12
    assert squared_errors(align_procrustes(hands, proper=True)).min() > 1


def test_joints_that_are_not_valid_move_along_but_decide_nothing() -> None:
    hands = random_hands(1, valid_share=0.6)
    hands.valid[:, [0, 9]] = True
    true = random_hands(1).true_mm
    for align in (align_root, align_root_and_scale, partial(align_procrustes, proper=True)):
        fit = align(compare_poses(hands.predicted_mm, true, hands.valid)).predicted_mm
        assert np.isfinite(fit).all()
        for anything in (1e6, np.nan):
            wrong = np.where(hands.valid[..., None], hands.predicted_mm, anything)
            wrong_true = np.where(hands.valid[..., None], true, anything)
            other = align(compare_poses(wrong, wrong_true, hands.valid)).predicted_mm
            np.testing.assert_array_equal(other[hands.valid], fit[hands.valid])


def test_hands_without_the_joints_to_align_by_are_left_out() -> None:
    hands = random_hands(2)
    hands.valid[1, 0] = hands.valid[2, 9] = False
    hands.valid[3, 2:] = False
    for aligned, left_out in (
        (align_root(hands), {1}),
        (align_root_and_scale(hands), {1, 2, 3}),
        (align_procrustes(hands, proper=True), {3}),
    ):
        for hand in range(6):
            assert np.isnan(aligned.predicted_mm[hand]).all() == (hand in left_out)
            np.testing.assert_array_equal(aligned.valid[hand], hands.valid[hand] & (hand not in left_out))


def test_a_prediction_at_one_point_stays_one_and_hands_on_a_line_are_fitted() -> None:
    hands = random_hands(3)
    hands.predicted_mm[:] = np.random.default_rng(3).normal((0.1, 0.2, 700.3), 1e-5, hands.true_mm.shape)
    by_bone = align_root_and_scale(hands).predicted_mm
    np.testing.assert_allclose(by_bone, np.broadcast_to(hands.true_mm[:, :1], by_bone.shape))
    for proper in (True, False):
        by_fit = align_procrustes(hands, proper=proper).predicted_mm
        centre = hands.true_mm.mean(axis=1, keepdims=True)
        np.testing.assert_allclose(by_fit, np.broadcast_to(centre, by_fit.shape))
    line = np.zeros((1, 21, 3))
    line[..., 0] = np.arange(21)
    poses = compare_poses(line[..., [2, 0, 1]] * 3 + 5, line, np.ones((1, 21), dtype=bool))
    for proper in (True, False):
        np.testing.assert_allclose(align_procrustes(poses, proper=proper).predicted_mm, line, atol=1e-9)


def test_a_true_hand_at_one_point_and_a_bone_without_length_are_refused() -> None:
    hands = random_hands(4)
    hands.true_mm[2] = 7
    with pytest.raises(HandsimError, match=r"true hand of sample 2 lie at one point; mend the annotation"):
        align_procrustes(hands, proper=False)
    for kind, remedy in (("true", "mend the annotation"), ("predicted", "predict again")):
        hands = random_hands(5)
        joints = {"true": hands.true_mm, "predicted": hands.predicted_mm}[kind]
        joints[4, 9] = joints[4, 0]
        message = rf"{kind} bone from wrist to middle_mcp of sample 4 is shorter than 0.001 mm.*; {remedy}"
        with pytest.raises(HandsimError, match=message):
            align_root_and_scale(hands)
        hands.valid[4, 9] = False
        assert not align_root_and_scale(hands).valid[4].any()


def test_joints_that_do_not_match_or_are_not_finite_are_refused() -> None:
    hands = random_hands(4)
    for shape in ((6, 20, 3), (6, 21, 2), (6, 63), (6, 21, 3, 1), ()):
        with pytest.raises(HandsimError, match=r"predicted joints have shape .*; expected \[N, 21, 3\]"):
            compare_poses(np.zeros(shape), hands.true_mm, hands.valid)
    with pytest.raises(HandsimError, match=r"true joints have shape .*; expected \[N, 21, 3\]"):
        compare_poses(hands.predicted_mm, np.zeros((6, 20, 3)), hands.valid)
    with pytest.raises(HandsimError, match=r"predictions for 5 hands, but the truth has 6; predict every"):
        compare_poses(hands.predicted_mm[:5], hands.true_mm, hands.valid)
    for valid in (np.ones((6, 20), bool), np.ones((5, 21), bool), np.ones((6, 21), int)):
        with pytest.raises(HandsimError, match=r"valid has shape .* and type .*; expected bool \[6, 21\]"):
            compare_poses(hands.predicted_mm, hands.true_mm, valid)
    for number in (np.nan, np.inf):
        hands.predicted_mm[3:5, 8, 1] = number
        message = rf"prediction of sample 3 is .*{number}.* mm at index_tip \(2 of 6 .*\); predict again"
        with pytest.raises(HandsimError, match=message):
            with_predictions(hands, hands.predicted_mm)
    with pytest.raises(HandsimError, match=r"truth of sample 3 .* at index_tip .*; mend the annotation or"):
        compare_poses(hands.true_mm, hands.predicted_mm, hands.valid)


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


@settings(max_examples=10)
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


@settings(max_examples=30)
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


def test_scores_are_json() -> None:
    hands = random_hands(2)
    hands.valid[:, 7] = False
    scores = score_poses(hands.predicted_mm.astype(np.float32), hands.true_mm, hands.valid)
    read = json.loads(json.dumps(dataclasses.asdict(scores), allow_nan=False))
    assert read["root_relative"]["mpjpe_mm"] == scores.root_relative.mpjpe_mm
    assert read["absolute"]["joint_mpjpe_mm"][7] is None
    assert len(read["procrustes"]["pck_0_50"]) == 100


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


def test_an_error_at_the_threshold_counts() -> None:
    thresholds = PckRange(0, 50, 11)
    errors = np.full((1, 21), 20.0)
    assert pck_curve(errors, thresholds).tolist() == [0] * 4 + [1] * 7
    assert pck_curve(np.nextafter(errors, 21), thresholds).tolist() == [0] * 5 + [1] * 6
    assert pck_curve(np.zeros((1, 21)), thresholds).tolist() == [1] * 11
    assert pck_curve(np.full((1, 21), np.inf), thresholds).tolist() == [0] * 11


def test_the_area_is_the_mean_of_what_each_error_adds() -> None:
    """Exactly: at thresholds, between them, beyond both ends, and where joints are not measured."""
    errors = np.random.default_rng(1).uniform(0, 60, (50, 21))
    errors[0, :12] = PCK_0_50.thresholds_mm[[0, 1, 2, 50, 97, 98, 99, 0, 1, 50, 98, 99]]
    errors[1:20, 3] = np.nan
    for thresholds in (PCK_0_50, PCK_20_50):
        areas = np.nanmean(area_of_each_error(errors, thresholds), axis=0).mean()
        assert areas == pytest.approx(area_under_curve(pck_curve(errors, thresholds), thresholds), rel=1e-12)


def test_zeros_score_as_in_freihands_evaluation() -> None:
    """Of files in metres: far away absolutely; aligned, every joint lies at the mean of the true ones."""
    true_m = random_hands(0, count=20).true_mm / 1000
    valid = np.ones(true_m.shape[:2], dtype=bool)
    scores = score_poses(np.zeros((20, 21, 3)), true_m * 1000, valid)
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
    relative = hands.true_mm - hands.true_mm[:, :1]  # NaN unless both joints are valid
    np.testing.assert_allclose(mean - mean[0], np.nanmean(relative, axis=0), atol=1e-9)
    np.testing.assert_allclose(mean[0], np.nanmean(hands.true_mm[:, 0], axis=0))


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
    distances = np.delete(np.linalg.norm(predicted - true, axis=-1), 5, axis=1)  # NaN where not valid
    scores = score_keypoints(predicted, true, valid)
    assert scores is not None
    assert scores.mean_px == pytest.approx(np.nanmean(distances, axis=0).mean())
    assert scores.median_px == pytest.approx(np.nanmedian(distances, axis=0).mean())
    assert score_keypoints(predicted, true, np.zeros_like(valid)) is None


def test_wrong_2d_joints_are_refused() -> None:
    joints, valid = np.zeros((3, 21, 2)), np.ones((3, 21), np.bool_)
    with pytest.raises(HandsimError, match=r"predicted 2D .* shape \(2, 21, 2\); expected \(3, 21, 2\)"):
        score_keypoints(joints[:2], joints, valid)
    with pytest.raises(HandsimError, match=r"true 2D joints have shape \(3, 21, 3\)"):
        score_keypoints(joints, np.zeros((3, 21, 3)), valid)
    broken = joints.copy()
    broken[2, 4, 0] = np.inf
    with pytest.raises(HandsimError, match=r"of sample 2 are not finite \(1 of 3 samples"):
        score_keypoints(broken, joints, valid)

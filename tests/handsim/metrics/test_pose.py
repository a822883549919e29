import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handsim import HandsimError
from handsim.metrics.alignment import align_root, align_root_and_scale
from handsim.metrics.pose import AlignmentScores, joint_errors_mm, score_errors, score_poses
from tests.handsim.metrics.hands import Floats, Hands, random_hands
from tests.handsim.metrics.oracles import JointLists, orthogonal_fit, similarity_fit
from tests.training.golden import read_golden


def check(scores: AlignmentScores, predicted_mm: Floats, hands: Hands, left_out: set[int]) -> None:
    """Scores are those of lists of each joint over the hands that are not left out."""
    kept = [hand for hand in range(len(hands.valid)) if hand not in left_out]
    measured = Hands(predicted_mm[kept], hands.true_mm[kept], hands.valid[kept])
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
    aligned = align_root_and_scale(predicted, true, valid).predicted_mm
    for ours, theirs in (
        (scores.absolute.mpjpe_mm, "epe_mean"),
        (scores.absolute.median_mm, "epe_median"),
        (scores.absolute.auc_0_50, "auc_0_50"),
        (scores.absolute.pck_0_50, "pck_0_50"),
        (scores.absolute.auc_20_50, "auc_20_50"),
        (scores.absolute.pck_20_50, "pck_20_50"),
        (aligned, "pred_root_scale_aligned"),
        (scores.root_scale.mpjpe_mm, "aligned_epe_mean"),
        (scores.root_scale.auc_0_50, "aligned_auc_0_50"),
    ):
        np.testing.assert_allclose(ours, golden[theirs], rtol=1e-12, atol=1e-12, err_msg=theirs)


@given(st.integers(0, 2**32 - 1))
def test_every_alignment_is_scored_by_its_own_joints(seed: int) -> None:
    hands = random_hands(seed, valid_share=0.8)
    hands.valid[:2] = True
    hands.true_mm[:2] = random_hands(seed).true_mm[:2]
    hands.predicted_mm[0, :, 0] *= -1
    hands.valid[2], hands.valid[3, 2:] = False, False
    scores = score_poses(hands.predicted_mm, hands.true_mm, hands.valid)
    assert scores.hands == 6
    check(scores.absolute, hands.predicted_mm, hands, set())
    rootless = set(np.flatnonzero(~hands.valid[:, 0]).tolist())
    boneless = rootless | set(np.flatnonzero(~hands.valid[:, 9]).tolist())
    few = set(np.flatnonzero(hands.valid.sum(axis=1) < 3).tolist())
    rooted, scaled = np.zeros((2, *hands.true_mm.shape))
    fitted, turned = np.zeros((2, *hands.true_mm.shape))
    for hand, (predicted, true, valid) in enumerate(
        zip(hands.predicted_mm, hands.true_mm, hands.valid, strict=True)
    ):
        rooted[hand] = predicted - predicted[0] + true[0]
        scale = np.linalg.norm(true[9] - true[0]) / np.linalg.norm(predicted[9] - predicted[0])
        scaled[hand] = (predicted - predicted[0]) * scale + true[0]
        if hand not in few:
            fitted[hand, valid] = orthogonal_fit(predicted[valid], true[valid])
            turned[hand, valid] = similarity_fit(predicted[valid], true[valid])
    check(scores.root_relative, rooted, hands, rootless)
    check(scores.root_scale, scaled, hands, boneless)
    check(scores.procrustes, fitted, hands, few)
    check(scores.procrustes_proper, turned, hands, few)


@given(st.integers(0, 2**32 - 1), st.integers(1, 20))
def test_a_masked_joint_is_as_good_as_none(seed: int, joint: int) -> None:
    hands = random_hands(seed)
    hands.valid[:, joint] = False
    masked = joint_errors_mm(hands.predicted_mm, hands.true_mm, hands.valid)
    scores = score_errors(masked)
    assert scores.joint_mpjpe_mm[joint] is None
    others = np.delete(masked, joint, axis=1)
    assert not np.isnan(others).any()
    assert scores.mpjpe_mm == pytest.approx(others.mean())
    assert scores.median_mm == pytest.approx(np.median(others, axis=0).mean())
    assert scores.auc_0_50 == pytest.approx(score_errors(others).auc_0_50)
    assert scores.joints == 6 * 20


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
    aligned = align_root(hands.predicted_mm, hands.true_mm, hands.valid)
    errors = joint_errors_mm(aligned.predicted_mm, hands.true_mm, aligned.valid)
    scores = score_poses(hands.predicted_mm, hands.true_mm, hands.valid)
    assert scores.root_relative.mpjpe_mm == pytest.approx(np.nanmean(np.nanmean(errors, axis=0)))
    assert scores.root_relative.joint_mpjpe_mm[0] == pytest.approx(0, abs=1e-9)


def test_no_valid_joint_at_all() -> None:
    hands = random_hands(4, valid_share=0)
    with pytest.raises(HandsimError, match=r"no joint of the 6 hands is valid.*; choose a split with"):
        score_poses(hands.predicted_mm, hands.true_mm, hands.valid)
    with pytest.raises(HandsimError, match=r"no joint of the 0 hands is valid"):
        score_poses(np.zeros((0, 21, 3)), np.zeros((0, 21, 3)), np.zeros((0, 21), dtype=bool))


def test_no_hand_that_can_be_aligned() -> None:
    hands = random_hands(5)
    hands.valid[:, 0] = False
    with pytest.raises(HandsimError, match=r"none of the joints of the 6 hands .* lack the joints to be"):
        score_poses(hands.predicted_mm, hands.true_mm, hands.valid)

import numpy as np
import pytest

from handsim import HandsimError
from handsim.metrics.pose import mean_pose_mm, score_constant_pose, score_poses
from tests.handsim.metrics.hands import random_hands


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


def test_no_constant_pose_has_a_smaller_squared_error() -> None:
    hands = random_hands(2, count=50)
    mean = mean_pose_mm(hands.true_mm, hands.valid)
    relative = hands.true_mm - hands.true_mm[:, :1]
    random = np.random.default_rng(2)
    best = ((relative - (mean - mean[0])) ** 2).sum()
    for _ in range(20):
        other = mean + random.normal(0, 1, mean.shape)
        assert best < ((relative - (other - other[0])) ** 2).sum()


def test_the_mean_pose_is_scored_on_every_hand() -> None:
    training, test = random_hands(3, count=30), random_hands(4, count=5, valid_share=0.9)
    mean = mean_pose_mm(training.true_mm, training.valid)
    scores = score_constant_pose(mean, test.true_mm, test.valid)
    assert scores == score_poses(np.stack([mean] * 5), test.true_mm, test.valid)


def test_a_joint_that_no_training_hand_has() -> None:
    hands = random_hands(5)
    hands.valid[:, 4] = False
    with pytest.raises(HandsimError, match=r"no training hand has both wrist and thumb_tip valid.*; choose"):
        mean_pose_mm(hands.true_mm, hands.valid)
    with pytest.raises(HandsimError, match="no training hand has both wrist and wrist valid"):
        mean_pose_mm(hands.true_mm, np.zeros_like(hands.valid))


def test_training_joints_that_are_not_finite() -> None:
    hands = random_hands(6)
    hands.true_mm[3, 2] = np.nan
    with pytest.raises(HandsimError, match=r"truth of sample 3 .* at thumb_mcp"):
        mean_pose_mm(hands.true_mm, hands.valid)

"""What SiMHand's weights follow: the turn between two views, unless nothing is turned."""

import numpy as np

from handsim.metrics.pairs import measure_pairs
from handsim.synthetic import synthesise_poses
from training.augmentation import AugmentationSettings
from training.evaluation.pair_weights import rank_weights


def test_published_weights_follow_the_turn_and_those_before_augmentation_the_pose() -> None:
    poses = synthesise_poses(150, 2, seed=3)
    anchors, partners = poses.keypoints[::2], poses.keypoints[1::2]  # a second later: alike, more or less
    errors = measure_pairs(poses.joints_mm[::2], poses.joints_mm[1::2]).aligned
    ranks = rank_weights(anchors, partners, errors)
    assert ranks.turn < -0.6
    assert ranks.pose_before < -0.6 < ranks.pose
    assert rank_weights(anchors, partners, errors) == ranks
    still = AugmentationSettings(rotation_deg=0, margin=None, jitter_px=(0, 0))
    unturned = rank_weights(anchors, partners, errors, augmentation=still)
    assert np.isclose(unturned.pose, unturned.pose_before, atol=0.01)

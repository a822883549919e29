"""2D errors, against loops."""

import numpy as np
import pytest

from handsim.errors import HandsimError
from handsim.metrics.pose import score_keypoints


def test_the_mean_and_the_median_are_taken_for_each_joint_first() -> None:
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


def test_without_a_valid_joint_there_is_nothing_to_tell() -> None:
    assert score_keypoints(np.zeros((2, 21, 2)), np.zeros((2, 21, 2)), np.zeros((2, 21), np.bool_)) is None


def test_bad_input_is_told() -> None:
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

"""Poses to begin with."""

import numpy as np
import pytest

from apps.browser.search.answer import PRESETS, make_preset
from apps.browser.search.question import Question
from handsim.skeleton import FINGER_JOINTS, JOINT_NAMES


@pytest.mark.parametrize("name", PRESETS)
def test_they_lie_in_the_crop_upright(name: str) -> None:
    hand = Question(pose=make_preset(name)).keypoints()
    assert hand.min() > 0.05
    assert hand.max() < 0.95
    assert hand[0, 1] == hand[:, 1].max()  # the wrist is lowest
    assert (
        hand[JOINT_NAMES.index("thumb_cmc"), 0] > hand[0, 0]
    )  # a right hand's palm has the thumb on the right


def test_they_are_what_they_are_called() -> None:
    hands = {name: Question(pose=make_preset(name)).keypoints() for name in PRESETS}

    def reach(hand: np.ndarray, finger: str) -> float:
        joints = FINGER_JOINTS[finger]
        return float(np.linalg.norm(hand[joints[-1]] - hand[0]) / np.linalg.norm(hand[joints[0]] - hand[0]))

    assert min(reach(hands["Flat"], finger) for finger in ("index", "middle", "ring", "little")) > 1.7
    assert max(reach(hands["Fist"], finger) for finger in ("index", "middle", "ring", "little")) < 1.6
    assert reach(hands["Point"], "index") > 1.7 > reach(hands["Point"], "middle")
    for touching in ("Pinch", "OK"):
        tips = hands[touching][[4, 8]]
        assert np.linalg.norm(tips[0] - tips[1]) < 0.15

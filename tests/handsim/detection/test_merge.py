"""Which detections are the same hand."""

import numpy as np
import pytest

from handsim.detection.detector import Detection
from handsim.detection.merge import is_same_hand, merge_detections
from handsim.hand import Side

FINGER_DEGREES = (-55, -20, -5, 10, 25)


def draw_hand(
    wrist: tuple[float, float],
    length: float,
    degrees: float = 0.0,
    *,
    curl: float = 0.0,
    side: Side = "right",
    score: float = 0.95,
) -> Detection:
    """A hand whose fingers point up, turned clockwise; ``curl`` 1 has the tips back at the knuckles."""
    joints = [(0.0, 0.0)]
    for finger, direction in enumerate(FINGER_DEGREES):
        base, tip = (0.3, 0.75) if finger == 0 else (0.5, 1.0)
        along = np.linspace(base, tip, 4) - curl * (tip - base) * np.array([0, 0, 0.6, 1])
        angle = np.radians(direction)
        joints += [(radius * np.sin(angle), -radius * np.cos(angle)) for radius in along]
    points = np.array(joints) * length
    if side == "left":
        points[:, 0] *= -1
    turn = np.radians(degrees)
    points = points @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) + wrist
    return Detection(side, score, np.column_stack([points, np.zeros(21)]).astype(np.float32))


@pytest.mark.parametrize("curl", [0.0, 1.0])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_hand_found_again_nearby_larger_or_turned_is_one(curl: float, side: Side) -> None:
    hand = draw_hand((200, 300), 100, curl=curl)
    for again in (
        draw_hand((204, 295), 97, 4, curl=curl, side=side, score=0.9),
        draw_hand((198, 305), 125, -8, curl=curl, side=side, score=0.8),
    ):
        assert merge_detections([again, hand]) == [hand]


def test_a_finger_taken_for_a_hand_goes_even_when_surer_and_of_the_other_side() -> None:
    hand = draw_hand((200, 300), 200, score=0.85)
    x, y = hand.keypoints_px[9, :2]
    finger = draw_hand((x + 4, y), 80, 3, curl=0.5, side="left", score=0.97)
    assert merge_detections([finger, hand]) == [hand]


def test_of_one_hand_the_surer_of_two_sizes_stays() -> None:
    large, small = draw_hand((200, 300), 150, score=0.4), draw_hand((200, 290), 90, score=0.95)
    assert merge_detections([large, small]) == [small]


@pytest.mark.parametrize("degrees", [25, 60, 110])
@pytest.mark.parametrize("curl", [0.0, 1.0])
def test_two_clasped_hands_are_two_best_first(degrees: float, curl: float) -> None:
    """Their boxes cover each other by half, their palms lie beside each other."""
    right = draw_hand((200, 300), 100, -degrees / 2, curl=curl)
    left = draw_hand((245, 300), 100, degrees / 2, curl=curl, side="left", score=0.97)
    assert merge_detections([right, left]) == [left, right]


def test_a_small_hand_in_the_empty_corner_of_a_large_one_s_box_is_another() -> None:
    large = draw_hand((400, 800), 600)
    x0, y0, _, _ = large.box_px
    small = draw_hand((x0 + 40, y0 + 90), 70)
    assert not is_same_hand(small, large)


def test_hands_without_extent_are_merged_without_a_word() -> None:
    point = Detection("right", 0.9, np.zeros((21, 3), np.float32))
    assert merge_detections([point, point]) == [point]

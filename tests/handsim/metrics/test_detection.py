"""How well hands are found: matching, recall, doubled hands, sides and joints."""

import numpy as np
import pytest
from numpy.typing import NDArray

from handsim.detection import Detection
from handsim.hand import Side
from handsim.metrics.detection import (
    PictureMatch,
    TrueHand,
    box_iou,
    longer_side,
    match_picture,
    score_by_size,
    score_detections,
)

SIZE_PX = (640, 480)
Floats = NDArray[np.float64]


def joints_in(box: tuple[float, float, float, float], seed: int = 0) -> Floats:
    """21 joints whose tight box is ``box``."""
    points = np.random.default_rng(seed).random((21, 2))
    points = (points - points.min(axis=0)) / np.ptp(points, axis=0)
    joints: Floats = points * np.subtract(box[2:], box[:2]) + box[:2]
    return joints


def labelled(joints: Floats, side: Side = "right") -> TrueHand:
    is_labelled = ~np.isnan(joints[:, 0])
    some = joints[is_labelled]
    return TrueHand(np.concatenate([some.min(axis=0), some.max(axis=0)]), side, joints)


def found(joints: Floats, side: Side = "right") -> Detection:
    return Detection(side, 0.9, np.column_stack([joints, np.zeros(21)]).astype(np.float32))


def test_what_is_as_labelled_is_right_in_every_number() -> None:
    joints = [joints_in((10, 10, 60, 90)), joints_in((300, 100, 420, 200), 1)]
    match = match_picture([labelled(one) for one in joints], [found(one) for one in joints[::-1]], SIZE_PX)
    scores = score_detections([match])
    assert match.found_by == [1, 0]
    assert (scores.recall, scores.precision, scores.side_accuracy, scores.pck["0.05"]) == (1, 1, 1, 1)
    assert (scores.doubled, scores.false, scores.joints) == (0, 0, 42)
    assert scores.mean_error_percent == pytest.approx(0, abs=1e-4)


def test_one_of_two_clasped_hands_seen_twice_is_not_two() -> None:
    first, second = joints_in((100, 100, 200, 200)), joints_in((110, 110, 215, 215), 1)
    hands = [labelled(first), labelled(second)]
    assert box_iou(hands[0].box_px, hands[1].box_px) > 0.5
    twice = match_picture(hands, [found(first), found(first + 3)], SIZE_PX)
    assert twice.found_by == [0, None]
    assert twice.doubles == [None, 0]
    assert match_picture(hands, [found(second), found(first)], SIZE_PX).found_by == [1, 0]


def test_a_finger_taken_for_a_hand_doubles_it_and_anything_elsewhere_is_false() -> None:
    hand, finger = joints_in((100, 100, 300, 300)), joints_in((250, 150, 320, 200), 1)
    both = match_picture([labelled(hand)], [found(finger), found(hand)], SIZE_PX)
    assert (both.doubles, both.is_false) == ([0, None], [False, False])
    alone = match_picture([labelled(hand)], [found(finger)], SIZE_PX)
    assert (alone.found_by, alone.is_false) == ([None], [True])


def test_nothing_is_asked_of_an_ignored_hand_and_what_lies_on_it_is_no_mistake() -> None:
    crowd = TrueHand(np.array([0.0, 0, 300, 300]), is_ignored=True)
    inside, whole, elsewhere = (
        found(joints_in(box)) for box in ((10, 10, 90, 90), (0, 0, 300, 300), (350, 300, 450, 400))
    )
    scores = score_detections([match_picture([crowd], [inside, whole, elsewhere], SIZE_PX)])
    assert (scores.hands, scores.found, scores.detections, scores.doubled, scores.false) == (0, 0, 1, 0, 1)
    assert scores.recall is None


def test_hands_with_a_box_alone_are_counted_and_no_joints_are_measured() -> None:
    hand = TrueHand(np.array([100.0, 100, 200, 200]))
    scores = score_detections([match_picture([hand], [found(joints_in((105, 100, 200, 210)))], SIZE_PX)])
    assert (scores.recall, scores.precision) == (1, 1)
    assert (scores.joints, scores.pck["0.1"], scores.mean_error_percent, scores.sides) == (0, None, None, 0)


def test_only_labelled_joints_are_measured_in_percent_of_the_box() -> None:
    joints = joints_in((0, 0, 100, 200))
    moved = joints + np.where(np.arange(21)[:, None] < 6, [12.0, 16.0], 0.0)  # 20 px of 200
    joints[10:] = np.nan
    hand = TrueHand(np.array([0.0, 0, 100, 200]), "right", joints)
    scores = score_detections([match_picture([hand], [found(moved)], SIZE_PX)])
    assert scores.joints == 10
    assert scores.mean_error_percent == pytest.approx(6)
    assert scores.pck["0.05"] == pytest.approx(0.4)
    assert scores.pck["0.2"] == 1
    assert scores.joint_error_percent["wrist"] == pytest.approx(10, abs=1e-4)
    assert scores.joint_error_percent["little_tip"] is None


def test_sides_that_label_or_detector_do_not_tell_are_counted_apart() -> None:
    labels: list[Side] = ["left", "left", "left", "unknown"]
    answers: list[Side] = ["left", "right", "unknown", "left"]
    joints = joints_in((10, 10, 90, 90))
    matches = [
        match_picture([labelled(joints, label)], [found(joints, answer)], SIZE_PX)
        for label, answer in zip(labels, answers, strict=True)
    ]
    scores = score_detections(matches)
    assert (scores.sides, scores.side_accuracy, scores.sides_unknown) == (2, 0.5, 1)


def random_picture(rng: np.random.Generator) -> tuple[list[TrueHand], list[Detection]]:
    """Hands of all sizes that overlap now and then, most of them found, some twice, and some false ones."""
    joints, detections = [], []
    for _ in range(rng.integers(0, 6)):
        corner, sides = rng.uniform(0, 300, 2), np.exp(rng.uniform(np.log(15), np.log(250), 2))
        one = joints_in((*corner, *(corner + sides)), int(rng.integers(1000)))
        joints.append(one)
        looks = rng.normal(0, 0.08, (rng.choice([0, 1, 1, 1, 2]), 21, 2)) * sides.max()
        detections += [found(one + moved) for moved in looks]
        if rng.random() < 0.2:
            detections.append(found(rng.uniform(0, 400, 2) + rng.random((21, 2)) * 90))
    return [labelled(one) for one in joints], detections


def test_scores_are_those_of_a_count_by_hand_and_buckets_of_size_add_up() -> None:
    rng = np.random.default_rng(5)
    pictures = [random_picture(rng) for _ in range(40)]
    matches = [match_picture(hands, detections, SIZE_PX) for hands, detections in pictures]
    scores = score_detections(matches)
    found_hands, errors = count_by_hand(pictures)
    assert 30 < found_hands == scores.found < scores.hands
    assert scores.detections == sum(len(detections) for _, detections in pictures)
    assert scores.doubled > 5 < scores.false
    assert scores.mean_error_percent == pytest.approx(100 * np.mean(errors), rel=1e-5)
    assert scores.pck["0.1"] == pytest.approx(np.mean(np.array(errors) <= 0.1))
    for relative in (False, True):
        buckets = score_by_size(matches, (0, 0.1, 0.3) if relative else (0, 60, 120), relative=relative)
        for name in ("hands", "found", "doubled", "false", "detections", "joints"):
            assert sum(getattr(some, name) for some in buckets.values()) == getattr(scores, name)


def count_by_hand(pictures: list[tuple[list[TrueHand], list[Detection]]]) -> tuple[int, list[float]]:
    """How many hands are found, and all joint errors, in plain loops; overlap is counted point by point."""
    hands_found, errors = 0, []
    for hands, detections in pictures:
        best: dict[int, list[float]] = {}
        for detection in detections:
            candidates = []
            for number, hand in enumerate(hands):
                if sampled_iou(detection.box_px, hand.box_px) >= 0.5:
                    assert hand.joints_px is not None
                    pairs = zip(detection.keypoints_px.tolist(), hand.joints_px.tolist(), strict=True)
                    distances = [float(np.hypot(x - u, y - v)) for (x, y, _), (u, v) in pairs]
                    off = [distance / longer_side(hand.box_px) for distance in distances]
                    candidates.append((sum(off), number, off))
            if candidates:
                total, number, off = min(candidates)
                if number not in best or total < sum(best[number]):
                    best[number] = off
        hands_found += len(best)
        errors += [error for off in best.values() for error in off]
    return hands_found, errors


def sampled_iou(box: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Of points spread over both boxes, the part in both among those in either."""
    low, high = np.minimum(box[:2], other[:2]), np.maximum(box[2:], other[2:])
    x, y = (np.linspace(low[axis], high[axis], 300) for axis in (0, 1))
    inside = [
        np.outer((y >= some[1]) & (y <= some[3]), (x >= some[0]) & (x <= some[2])) for some in (box, other)
    ]
    return float((inside[0] & inside[1]).sum() / (inside[0] | inside[1]).sum())


def test_a_picture_without_hands_and_detections_is_scored() -> None:
    scores = score_detections([PictureMatch(SIZE_PX, [], [], [], [], [])])
    assert (scores.pictures, scores.hands, scores.recall, scores.false_per_picture) == (1, 0, None, 0)

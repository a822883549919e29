"""The hands of a video: their tracks, sides and smoothing."""

from dataclasses import replace

import numpy as np
import pytest

from handsim.detection import Detection
from handsim.hand import Side
from training.predict import EstimatedHand, HandPlace
from training.predict_video import HandSmoother, VideoHands

SQUARE = np.array([0.0, 0.0, 100.0, 100.0])
POSE = np.random.default_rng(0).uniform(0, 80, (21, 3)).astype(np.float32)


def detected(x: float, side: Side, *, mirrored: bool = False) -> HandPlace:
    joints = (POSE + np.array([x, 0, 0])).astype(np.float32)
    detection = Detection(side, 0.9, joints, side_score=0.9, mirrored=mirrored)
    box_px = detection.box_px.astype(np.float64)
    return HandPlace(side, 0.9, box_px, SQUARE, detection.looks_left, detection=detection)


def given(x: float, side: Side) -> HandPlace:
    return HandPlace(side, None, np.array([x, 0.0, x + 80, 80]), SQUARE, side == "left")


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_hand_has_the_side_of_most_frames_of_its_track(mirrored: bool) -> None:
    """Also in the frames before the vote was clear; what it looks like goes with it."""
    said: tuple[Side, ...] = ("right", "unknown", "left", "left", "left")
    hands = VideoHands()
    for frame, side in enumerate(said):
        places = [detected(10 + frame, side, mirrored=mirrored), detected(600, "right", mirrored=mirrored)]
        hands.add(frame, frame / 30, places)
    for frame in range(len(said)):
        one, other = hands.places(frame) or []
        assert (one.track, one.side, one.looks_left) == (1, "left", not mirrored)
        assert (other.track, other.side, other.looks_left) == (2, "right", mirrored)
    assert hands.places(99) is None
    assert hands.tracks() == [
        {"track": number, "side": side, "frames": 5, "first_s": 0.0, "last_s": 0.133}
        for number, side in ((1, "left"), (2, "right"))
    ]


def test_boxes_are_linked_too_and_keep_the_side_that_was_given() -> None:
    said: tuple[Side, ...] = ("left", "left", "right", "unknown")
    hands = VideoHands()
    for frame, side in enumerate(said):
        hands.add(frame, frame / 30, [given(300, "right"), given(2 * frame, side)])
    rows = [hands.places(frame) or [] for frame in range(4)]
    assert [[place.track for place in row] for row in rows] == [[1, 2]] * 4
    assert [row[1].side for row in rows] == ["left", "left", "right", "left"]


def estimate(x: float, track: int = 1) -> EstimatedHand:
    place = replace(given(0, "right"), track=track)
    joints = (POSE - POSE[0] + np.array([0, 0, x])).astype(np.float32)
    joints[0] = 0
    camera = (joints + np.array([x, 0, 500])).astype(np.float32)
    return EstimatedHand(place, POSE[:, :2] + np.float32(x), np.ones(21, np.float32), joints, camera)


def test_joints_are_smoothed_over_their_track_in_pixels_and_millimetres() -> None:
    smoother, rng = HandSmoother(1.0), np.random.default_rng(0)
    wavers = rng.normal(0, 1, (60, 2))
    rows = [
        smoother.smooth(frame / 30, [estimate(one, 1), estimate(other, 2)])
        for frame, (one, other) in enumerate(wavers)
    ]
    for number in range(2):
        track = [row[number] for row in rows]
        assert np.std([hand.keypoints_2d_px[5, 0] for hand in track]) < 0.6
        assert np.std([hand.joints_3d_mm[5, 2] for hand in track]) < 0.6
        for hand in track:  # the pose in the camera is the same as the pose
            assert hand.camera_3d_mm is not None
            relative = hand.camera_3d_mm - hand.camera_3d_mm[0]
            np.testing.assert_allclose(relative, hand.joints_3d_mm - hand.joints_3d_mm[0], atol=1e-3)


def test_strength_0_is_what_was_estimated() -> None:
    smoother, hand = HandSmoother(0.0), estimate(3.0)
    assert smoother.smooth(0.0, [hand])[0] is hand


def test_a_hand_that_was_away_is_smoothed_anew() -> None:
    """A frame without it is short; half a second is not, unless the video is sampled as rarely."""

    def come_back(times_s: list[float], missed_s: list[float]) -> bool:
        smoother = HandSmoother(5.0)
        for time_s in times_s[:-1]:
            smoother.smooth(time_s, [] if time_s in missed_s else [estimate(0.0)])
        (hand,) = smoother.smooth(times_s[-1], [estimate(10.0)])
        return bool(np.allclose(hand.keypoints_2d_px, estimate(10.0).keypoints_2d_px))

    assert not come_back([0.0, 0.1, 0.2], missed_s=[0.1])
    assert come_back([0.0, 0.3, 0.6], missed_s=[0.3])
    assert not come_back([0.0, 0.6, 1.2], missed_s=[])

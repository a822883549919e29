"""Tracks of simulated hands, of which the simulation knows which is which."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from handsim.detection import Detection
from handsim.hand import Side
from handsim.tracking import MotionFilter, Track, Tracker

SIZE_PX = 80.0
Place = Callable[[float], tuple[float, float] | None]
"""Seconds -> centre in pixels; None where the hand is not to be seen."""


@dataclass(frozen=True)
class SimulatedHand:
    """A hand on its way through a video; its fingers move a little, the detector wavers and errs."""

    place: Place
    side: Side = "right"
    pose: int = 0
    waver: float = 0.01
    """Of each joint, in hand sizes."""
    bends: bool = True
    flicker: float = 0.0
    """The share of frames in which it is called the other side."""

    def detect(self, time_s: float, rng: np.random.Generator) -> Detection | None:
        centre_px = self.place(time_s)
        if centre_px is None:
            return None
        poses = np.random.default_rng(self.pose).uniform(-0.5, 0.5, (2, 21, 2))
        joints = (
            poses[0]
            + 0.1 * self.bends * np.sin(2 * time_s) * poses[1]
            + self.waver * rng.standard_normal((21, 2))
        )
        keypoints_px = np.zeros((21, 3), dtype=np.float32)
        keypoints_px[:, :2] = np.array(centre_px) + SIZE_PX * joints
        side, score = self.side, rng.uniform(0.8, 1.0)
        if rng.random() < self.flicker:
            side, score = ("left" if side == "right" else "right"), rng.uniform(0.5, 0.8)
        return Detection(side, 0.9, keypoints_px, side_score=score)


def glide(x: float, y: float, speed_x: float = 0.0, speed_y: float = 0.0) -> Place:
    return lambda time_s: (x + speed_x * time_s, y + speed_y * time_s)


def track(
    hands: list[SimulatedHand], seconds: float, rate: float, *, missed: float = 0.0, seed: int = 0
) -> tuple[list[list[Track]], Tracker]:
    """The tracks that each hand had, frame after frame, and the tracker; ``missed`` of all hands are lost."""
    rng, tracker = np.random.default_rng(seed), Tracker()
    tracks: list[list[Track]] = [[] for _ in hands]
    for time_s in np.arange(0, seconds, 1 / rate).tolist():
        found = [(hand, hands[hand].detect(time_s, rng)) for hand in rng.permutation(len(hands)).tolist()]
        seen = [(hand, one) for hand, one in found if one is not None and rng.random() >= missed]
        for (hand, _), its_track in zip(seen, tracker.update(time_s, [one for _, one in seen]), strict=True):
            tracks[hand].append(its_track)
    return tracks, tracker


def numbers(tracks: list[Track]) -> list[int]:
    """The numbers of a hand's tracks, each once, in order."""
    return list(dict.fromkeys(one.number for one in tracks))


@given(
    st.lists(st.tuples(st.floats(-120, 120), st.floats(-120, 120)), min_size=1, max_size=5),
    st.sampled_from([5, 10, 30]),
    st.sampled_from([0.0, 0.2]),
    st.integers(0, 2**32),
)
def test_hands_apart_keep_a_track_each_at_any_rate_with_frames_lost(
    speeds: list[tuple[float, float]], rate: int, missed: float, seed: int
) -> None:
    hands = [SimulatedHand(glide(1000 * n, 0, *speed), pose=n) for n, speed in enumerate(speeds)]
    tracks, tracker = track(hands, 2.0, rate, missed=missed, seed=seed)
    met = [numbers(its) for its in tracks if its]
    assert all(len(one) == 1 for one in met)
    assert len({one[0] for one in met}) == len(met) == tracker.begun
    assert [its[-1].frames for its in tracks if its] == [len(its) for its in tracks if its]


@pytest.mark.parametrize("rate", [5, 15, 30])
@pytest.mark.parametrize("missed", [0.0, 0.2])
def test_hands_that_cross_keep_their_tracks_and_sides(rate: float, missed: float) -> None:
    for seed in range(20):
        speed = 100 + 20 * seed
        hands = [
            SimulatedHand(glide(0, 200, speed), "left", pose=2 * seed, flicker=0.2),
            SimulatedHand(glide(2 * speed, 210, -speed), "right", pose=2 * seed + 1, flicker=0.2),
        ]
        tracks, tracker = track(hands, 2.0, rate, missed=missed, seed=seed)
        assert [len(numbers(its)) for its in tracks] == [1, 1], seed
        assert tracker.begun == 2
        assert [its[-1].side for its in tracks] == ["left", "right"]


def test_at_one_frame_a_second_hands_jump_and_keep_their_tracks() -> None:
    def jump(seed: int, x: float) -> Place:
        steps = np.random.default_rng(seed).normal((x, 300), 60, (60, 2))
        return lambda time_s: tuple(steps[int(time_s)].tolist())

    hands = [
        SimulatedHand(jump(1, 100), "left", pose=1, flicker=0.1),
        SimulatedHand(jump(2, 400), "right", pose=2, flicker=0.1),
    ]
    tracks, _ = track(hands, 30, 1)
    assert [len(numbers(its)) for its in tracks] == [1, 1]


def test_a_hand_that_comes_back_soon_and_near_goes_on_and_else_begins_a_track() -> None:
    def away(from_s: float, to_s: float, shift_px: float = 0.0) -> Place:
        return lambda time_s: (
            None if from_s <= time_s < to_s else (300.0 + shift_px * (time_s >= to_s), 200.0)
        )

    for place, expected in ((away(1, 2), 1), (away(1, 4), 2), (away(1, 1.3, 900), 2)):
        tracks, _ = track([SimulatedHand(place)], 6, 10)
        assert len(numbers(tracks[0])) == expected


def test_two_frames_in_a_row_are_linked_however_far_apart() -> None:
    tracks, _ = track([SimulatedHand(glide(300, 200))], 100, 0.2)
    assert len(numbers(tracks[0])) == 1


def test_hands_of_a_single_frame_are_told_where_frames_around_were_looked_at() -> None:
    hand, false = SimulatedHand(glide(100, 100)), SimulatedHand(glide(700, 500), pose=5)
    rng, tracker = np.random.default_rng(0), Tracker()
    for number in range(100):
        time_s = number / 10
        seen = [hand.detect(time_s, rng)] + [false.detect(time_s, rng)] * (number in (0, 30, 60, 99))
        tracker.update(time_s, [one for one in seen if one is not None])
    assert tracker.momentary == 2  # not the one of the first frame, and not the one of the last


@pytest.mark.parametrize("waver", [0.003, 0.02])
@pytest.mark.parametrize("speed_px", [0.0, 200.0])
def test_jitter_is_what_the_detector_wavers_however_the_hand_moves(waver: float, speed_px: float) -> None:
    tracks, _ = track([SimulatedHand(glide(0, 0, speed_px), waver=waver)], 4, 30)
    (last,) = tracks[0][-1:]
    assert last.jitter == pytest.approx(waver, rel=0.25)
    moved = np.hypot(speed_px / 30 / SIZE_PX, waver * np.sqrt(np.pi))
    assert last.motion == pytest.approx(moved, rel=0.25)
    assert track([SimulatedHand(glide(0, 0), waver=waver)], 30, 1)[0][0][-1].jitter is None


@pytest.mark.parametrize(("waver", "rate"), [(0.003, 1.0), (0.02, 1.0), (0.02, 30.0), (0.03, 30.0)])
def test_a_hand_that_rests_is_kept_once_in_a_while_and_one_that_moves_always(
    waver: float, rate: float
) -> None:
    for speed_px, least, most in ((0, 1, 10), (0.2 * SIZE_PX * rate, 100, 100)):
        poses = SimulatedHand(glide(0, 0, speed_px), waver=waver, bends=False)
        rng, tracker, motion_filter = np.random.default_rng(0), Tracker(), MotionFilter(0.05)
        kept = 0
        for number in range(100):
            found = poses.detect(number / rate, rng)
            assert found is not None
            (its_track,) = tracker.update(number / rate, [found])
            kept += motion_filter.keeps(its_track, found)
        assert least <= kept <= most


def test_a_side_is_told_by_the_surest_and_no_side_is_made_up() -> None:
    def find(side: Side, score: float | None) -> Detection:
        found = SimulatedHand(glide(0, 0)).detect(0.0, np.random.default_rng(0))
        assert found is not None
        return Detection(side, 0.9, found.keypoints_px, side_score=score)

    tracker = Tracker()
    (one,) = tracker.update(0.0, [find("unknown", None)])
    assert one.side == "unknown"
    for number, (side, score) in enumerate([("left", 0.99), ("right", 0.6), ("right", 0.6)], start=1):
        tracker.update(number / 30, [find(side, score)])  # type: ignore[arg-type]  # a literal
    assert (one.side, one.frames) == ("left", 4)


def test_a_tracker_goes_on_from_its_text_exactly() -> None:
    hands = [
        SimulatedHand(glide(0, 200, 150), "left", flicker=0.3),
        SimulatedHand(glide(300, 210, -150), pose=1),
    ]
    rng = np.random.default_rng(0)
    frames = [[hand.detect(number / 10, rng) for hand in hands] for number in range(40)]
    frames[19][0], frames[20] = None, [None, None]
    whole, parts = Tracker(), Tracker()
    for number, found in enumerate(frames):
        detections = [one for one in found if one is not None]
        ours, theirs = whole.update(number / 10, detections), parts.update(number / 10, detections)
        assert [one.to_values() for one in ours] == [one.to_values() for one in theirs]
        parts = Tracker.from_json(parts.to_json())


def test_unlabelled_joints_are_left_aside() -> None:
    rng, tracker = np.random.default_rng(0), Tracker()
    hand, met = SimulatedHand(glide(0, 0, 100)), set()
    for number in range(20):
        found = hand.detect(number / 30, rng)
        assert found is not None
        keypoints_px: NDArray[np.float32] = found.keypoints_px.copy()
        keypoints_px[number % 21 :] = np.nan if number else keypoints_px[number % 21 :]
        keypoints_px[:5] = found.keypoints_px[:5]
        met.add(tracker.update(number / 30, [Detection("left", 0.9, keypoints_px)])[0].number)
    assert met == {1}

"""Linking the hands of a video over its frames.

Each track expects its hand at a place (`handsim.tracking.motion`), with a size, a pose and a side. What was
found is assigned to the tracks so that the whole is most likely; what is too unlikely for every track begins
a new one. All that is uncertain grows with the time since the hand was last found, so that frames may be
missing, and videos be sampled at any rate.

A hand that is not found for a while stays in its track if it comes back within `_MAX_GAP_S` near the place
where it is expected; else a new track begins. Hands that cross keep their tracks by their velocities, poses
and sides.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from handsim.detection.detector import Detection
from handsim.hand import SIDES, Side
from handsim.tracking.assignment import assign
from handsim.tracking.motion import MovingPoint

_MAX_GAP_S: Final = 2.0
"""A hand that was not found for longer has left; of frames further apart, two in a row are linked."""
_BEGINNING_COST: Final = 6.0
"""A hand begins a track if its negative log-likelihood is above this in each other one: it allows 0.5 hand
sizes off the expected place at 30 frames a second, 5 at one a second."""
_SIZE_WAVER: Final = (0.1, 0.3)
"""Standard deviations of the logarithm of a hand's size: of what is found, and after a second."""
_POSE_WAVER: Final = (0.05, 0.2)
"""Standard deviations of a joint's place in the box, in hand sizes: of what is found, and after a second:
then a hand may have any pose."""
_POSE_DEGREES: Final = 4.0
"""Joints of a hand move together: all 21 say as much as this many that move alone."""
_SIDE_DOUBT: Final = 0.1
"""How sure a detector may be of a side, it is wrong as often as this."""
_UNSAID_SIDE_SCORE: Final = 0.75
"""Where a detector does not say how sure it is of the side."""
_VOTES_DOUBT: Final = 0.2
"""So much of a vote for either side is there before the first: few frames make nobody sure."""
_JITTER_STEP_S: Final = 0.1
"""Of frames nearer to each other, what is no steady motion is taken for the detector's jitter."""
_MEMORY: Final = 1 / 16
"""The weight of the newest frame in jitter and motion."""


@dataclass(eq=False)
class Track:
    """One hand over the frames of a video, as it was last found."""

    number: int
    """Counts from 1 in the order in which tracks begin."""
    time_s: float
    """When it was last found."""
    joints_px: NDArray[np.float64]
    """[21, 2] where it was last found; NaN for an unlabelled joint."""
    size_px: float
    """The longer side of its box."""
    centre: MovingPoint
    """Of its box."""
    is_preceded: bool
    """Whether a frame before its first one was looked at."""
    frames: int = 1
    """In how many frames it was found."""
    votes: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SIDES, 0.0))
    """Side -> how much speaks for it: of each frame half of a vote at most, by ``side_score``."""
    jitter: float | None = None
    """Standard deviation of what a joint wavers without moving, in each direction, in hand sizes. None: of
    frames more than a tenth of a second apart nobody can tell it from motion."""
    motion: float = 0.0
    """How far its joints move from one frame to the next, in hand sizes: a mean over the last frames."""
    step_px: NDArray[np.float64] | None = None
    """[21, 2] how its joints moved between the last two frames."""
    step_s: float = 0.0
    """The time between these."""

    @property
    def side(self) -> Side:
        """The side for which most speaks; unknown where no detection has said one."""
        left, right = (self.votes[side] for side in SIDES)
        return "unknown" if left == right == 0 else "left" if left > right else "right"

    def go_on(
        self, time_s: float, joints_px: NDArray[np.float64], centre_px: NDArray[np.float64], size_px: float
    ) -> None:
        """Its hand was found after all others of this track."""
        self.frames += 1
        elapsed_s = time_s - self.time_s
        self.centre.find(centre_px, elapsed_s)
        self._add_step(joints_px - self.joints_px, elapsed_s)
        self.time_s, self.joints_px, self.size_px = time_s, joints_px, size_px

    def add_vote(self, detection: Detection) -> None:
        """Count what a detection says of the side."""
        if detection.side != "unknown":
            self.votes[detection.side] += max(_side_score(detection) - 0.5, 0.0)

    def _add_step(self, step_px: NDArray[np.float64], elapsed_s: float) -> None:
        moved = mean_length(step_px) / self.size_px
        self.motion += (moved - self.motion) * max(_MEMORY, 1 / (self.frames - 1))
        if self.step_px is not None and self.step_s > 0 and max(elapsed_s, self.step_s) <= _JITTER_STEP_S:
            # In the difference of two steps, steady motion is gone, and three frames' wavers are left.
            ratio = elapsed_s / self.step_s
            waver = (step_px - ratio * self.step_px) / self.size_px
            shares = 1 + (1 + ratio) ** 2 + ratio**2
            squared = float(_mean_known(np.square(waver)[np.newaxis])[0]) / shares
            before = squared if self.jitter is None else self.jitter**2
            self.jitter = math.sqrt(before + (squared - before) * max(_MEMORY, 1 / (self.frames - 2)))
        self.step_px, self.step_s = step_px, elapsed_s

    def to_values(self) -> dict[str, Any]:
        """All of it, as plain values for JSON."""
        values = {**vars(self), "centre": vars(self.centre)}
        return {name: _plain(value) for name, value in values.items()}

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> "Track":
        """What `to_values` wrote."""
        centre = values["centre"]
        place_px, velocity_px = (np.array(centre[name]) for name in ("place_px", "velocity_px"))
        step_px = values["step_px"]
        return cls(
            **{
                **values,
                "joints_px": np.array(values["joints_px"], dtype=np.float64),
                "centre": MovingPoint(place_px, velocity_px, tuple(centre["variances"])),
                "step_px": None if step_px is None else np.array(step_px, dtype=np.float64),
            }
        )


class _FoundHands:
    """N hands of one frame."""

    def __init__(self, detections: Sequence[Detection]) -> None:
        self.detections = detections
        self.joints_px = np.stack([detection.keypoints_px[:, :2] for detection in detections]).astype(
            np.float64
        )
        self.poses, self.centres_px, self.sizes_px = _normalise(self.joints_px)


class Tracker:
    """The tracks of one video; it is given frame after frame."""

    tracks: list[Track]
    """Those that may go on."""
    begun: int
    """How many tracks there were in all."""
    momentary: int
    """How many tracks have ended after a single frame, though frames before and after it were looked at: most
    of them are no hands."""

    def __init__(self) -> None:
        self.tracks, self.begun, self.momentary = [], 0, 0
        self._time_s: float | None = None

    def update(self, time_s: float, detections: Sequence[Detection]) -> list[Track]:
        """The track of each hand of a frame that was ``time_s`` seconds into the video, after all others.

        A frame without any hand is given as well. Tracks change as more frames come.
        """
        self._end_tracks(time_s)
        found: dict[int, Track] = {}
        if detections:
            hands = _FoundHands(detections)
            if self.tracks:
                costs = np.stack([_costs(track, time_s, hands) for track in self.tracks])
                found = {column: self.tracks[row] for row, column in assign(costs, _BEGINNING_COST)}
            for place, detection in enumerate(detections):
                where = hands.joints_px[place], hands.centres_px[place], float(hands.sizes_px[place])
                if place in found:
                    found[place].go_on(time_s, *where)
                else:
                    found[place] = self._begin(time_s, *where)
                found[place].add_vote(detection)
        self._time_s = time_s
        return [found[place] for place in range(len(detections))]

    def _end_tracks(self, time_s: float) -> None:
        """End the tracks of hands that have left."""
        gap_s = _MAX_GAP_S if self._time_s is None else max(_MAX_GAP_S, time_s - self._time_s)
        ended = [track for track in self.tracks if time_s - track.time_s > gap_s]
        self.momentary += sum(track.frames == 1 and track.is_preceded for track in ended)
        self.tracks = [track for track in self.tracks if track not in ended]

    def _begin(
        self, time_s: float, joints_px: NDArray[np.float64], centre_px: NDArray[np.float64], size_px: float
    ) -> Track:
        self.begun += 1
        centre, is_preceded = MovingPoint.at_rest(centre_px), self._time_s is not None
        track = Track(self.begun, time_s, joints_px, size_px, centre, is_preceded)
        self.tracks.append(track)
        return track

    def to_json(self) -> str:
        """What is needed to go on with later frames; a few kilobytes."""
        tracks = [track.to_values() for track in self.tracks]
        return json.dumps({"time_s": self._time_s, "begun": self.begun, "tracks": tracks})

    @classmethod
    def from_json(cls, text: str) -> "Tracker":
        """Go on from `to_json`, with exactly the same tracks; `momentary` counts anew."""
        values, tracker = json.loads(text), cls()
        tracker._time_s, tracker.begun = values["time_s"], values["begun"]
        tracker.tracks = [Track.from_values(track) for track in values["tracks"]]
        return tracker


def mean_length(vectors: NDArray[np.float64]) -> float:
    """Mean length of vectors [21, 2], those that are NaN left out; 0 if all are."""
    lengths = np.linalg.norm(vectors, axis=1)
    is_known = ~np.isnan(lengths)
    return float(lengths[is_known].mean()) if is_known.any() else 0.0


def _costs(track: Track, time_s: float, hands: _FoundHands) -> NDArray[np.float64]:
    """[N] negative log-likelihood of each hand of a frame as the next of a track, but for a constant."""
    elapsed_s = time_s - track.time_s
    expected = track.centre.after(elapsed_s)
    size_variance, pose_variance = (
        found**2 + later**2 * min(elapsed_s, 1.0) for found, later in (_SIZE_WAVER, _POSE_WAVER)
    )
    off = (hands.centres_px - expected.place_px) / track.size_px
    grown = np.log(hands.sizes_px / track.size_px)
    pose, _, _ = _normalise(track.joints_px[np.newaxis])
    return np.asarray(
        0.5 * np.square(off).sum(axis=1) / expected.spread
        + math.log(expected.spread)
        + 0.5 * np.square(grown) / size_variance
        + 0.5 * _POSE_DEGREES * _mean_known(np.square(hands.poses - pose)) / pose_variance
        - np.log([2 * _agreement(track, detection) for detection in hands.detections])
    )


def _agreement(track: Track, detection: Detection) -> float:
    """How likely it is that a detection has the side of a track: a half where either does not say it."""
    if detection.side == "unknown":
        return 0.5
    score = min(max(_side_score(detection), 0.5), 1 - _SIDE_DOUBT)
    mine = track.votes[detection.side] + _VOTES_DOUBT
    share = mine / (sum(track.votes.values()) + 2 * _VOTES_DOUBT)
    return share * score + (1 - share) * (1 - score)


def _side_score(detection: Detection) -> float:
    return _UNSAID_SIDE_SCORE if detection.side_score is None else detection.side_score


def _normalise(
    joints_px: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Joints [N, 21, 2] in their boxes, from the centre in longer sides; the centres [N, 2] and sides [N]."""
    low, high = np.nanmin(joints_px, axis=1), np.nanmax(joints_px, axis=1)
    centres_px, sizes_px = (low + high) / 2, np.maximum((high - low).max(axis=1), 1.0)
    return (joints_px - centres_px[:, np.newaxis]) / sizes_px[:, np.newaxis, np.newaxis], centres_px, sizes_px


def _mean_known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean [N] of values [N, 21, 2], those that are NaN left out; 0 if all are."""
    is_known = ~np.isnan(values)
    sums = np.where(is_known, values, 0.0).sum(axis=(1, 2))
    return np.asarray(sums / np.maximum(is_known.sum(axis=(1, 2)), 1))


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value

"""The hands of a video: linked over its frames, each with the side of its track, and smoothed.

A side is only known once all frames of its track have voted, so a video is read twice: first where its hands
are (`VideoHands`, which keeps numbers and no pictures), then the estimates (`HandSmoother`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from handsim.detection import Detection
from handsim.skeleton import JOINT_COUNT
from handsim.tracking import OneEuroFilter, Track, Tracker
from training.predict import EstimatedHand, HandPlace

_MAX_GAP_S: Final = 0.25
"""A hand that was not found for longer, in frames that were looked at, is smoothed anew."""


@dataclass(eq=False)
class _Span:
    """When a track was there."""

    track: Track
    first_s: float


class VideoHands:
    """Where the hands of a video are, and their tracks; it is given frame after frame."""

    def __init__(self) -> None:
        self._tracker = Tracker()
        self._places: dict[int, list[tuple[HandPlace, Track]]] = {}
        self._spans: dict[int, _Span] = {}

    def __len__(self) -> int:
        """The number of frames."""
        return len(self._places)

    def add(self, frame: int, time_s: float, places: Sequence[HandPlace]) -> None:
        """Add the hands of a frame that is after all others; one without hands is added as well."""
        tracks = self._tracker.update(time_s, [place.detection or _as_detection(place) for place in places])
        for track in tracks:
            self._spans.setdefault(track.number, _Span(track, time_s))
        kept = [replace(place, detection=None) for place in places]
        self._places[frame] = list(zip(kept, tracks, strict=True))

    def places(self, frame: int) -> list[HandPlace] | None:
        """The hands of a frame with the tracks and sides of all that was added; None for another frame.

        A side that somebody gave stays as it is; ``unknown`` is none.
        """
        found = self._places.get(frame)
        return None if found is None else [_in_track(place, track) for place, track in found]

    def tracks(self) -> list[dict[str, Any]]:
        """All tracks, for JSON, in the order in which they begin."""
        return [
            {
                "track": number,
                "side": span.track.side,
                "frames": span.track.frames,
                "first_s": round(span.first_s, 3),
                "last_s": round(span.track.time_s, 3),
            }
            for number, span in self._spans.items()
        ]


def _as_detection(place: HandPlace) -> Detection:
    """A box as hands are linked: joints that are spread over it evenly, and no doubt of its side."""
    x0, y0, x1, y1 = place.box_px
    joints = np.zeros((JOINT_COUNT, 3), np.float32)
    joints[:, 0] = np.linspace(x0, x1, JOINT_COUNT)
    joints[:, 1] = np.linspace(y0, y1, JOINT_COUNT)
    return Detection(place.side, 1.0, joints, side_score=1.0)


def _in_track(place: HandPlace, track: Track) -> HandPlace:
    side = place.side
    if track.side != "unknown" and (place.score is not None or side == "unknown"):
        side = track.side
    # A hand that is no left one any more, or has become one, looks like the other hand.
    looks_left = place.looks_left != ((place.side == "left") != (side == "left"))
    return replace(place, side=side, looks_left=looks_left, track=track.number)


class _TrackFilters:
    """What one track is smoothed by."""

    def __init__(self, strength: float) -> None:
        self.time_s = 0.0
        self._keypoints, self._joints, self._wrist = (OneEuroFilter(strength) for _ in range(3))

    def smooth(self, time_s: float, hand: EstimatedHand) -> EstimatedHand:
        self.time_s = time_s
        box_px, joints = hand.place.box_px, hand.joints_3d_mm
        size_mm = max(float(np.ptp(joints, axis=0).max()), 1.0)
        keypoints = self._keypoints.smooth(
            time_s, hand.keypoints_2d_px, float((box_px[2:] - box_px[:2]).max())
        )
        smooth = self._joints.smooth(time_s, joints, size_mm).astype(np.float32)
        camera = hand.camera_3d_mm
        if camera is not None:
            # The hand stays the same in both frames: only its place is smoothed by itself.
            wrist = self._wrist.smooth(time_s, camera[:1] - joints[:1], size_mm)
            camera = (smooth + wrist).astype(np.float32)
        return replace(
            hand, keypoints_2d_px=keypoints.astype(np.float32), joints_3d_mm=smooth, camera_3d_mm=camera
        )


class HandSmoother:
    """Smooths the joints of a video's hands, track by track; it is given frame after frame."""

    def __init__(self, strength: float) -> None:
        """As `OneEuroFilter`: 0 changes nothing."""
        self._strength, self._before_s = strength, 0.0
        self._filters: dict[int, _TrackFilters] = {}

    def smooth(self, time_s: float, hands: Sequence[EstimatedHand]) -> list[EstimatedHand]:
        """The hands of a frame that is after all others; each has a track."""
        smoothed = [hand if self._strength == 0 else self._smooth(time_s, hand) for hand in hands]
        self._before_s = time_s
        return smoothed

    def _smooth(self, time_s: float, hand: EstimatedHand) -> EstimatedHand:
        assert hand.place.track is not None
        filters = self._filters.get(hand.place.track)
        was_missed = filters is not None and filters.time_s < self._before_s
        if filters is None or (was_missed and time_s - filters.time_s > _MAX_GAP_S):
            filters = self._filters[hand.place.track] = _TrackFilters(self._strength)
        return filters.smooth(time_s, hand)

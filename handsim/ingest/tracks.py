"""Linking the hands of a video over the stretches in which it is shared out.

Stretches are done in any order, and linked in the order of the video: a result waits until those before it
are there. So tracks, sides and what has not moved are the same for any number of workers. Where an earlier
run did the stretch before, tracks go on from the state that it recorded with it.

All frames of a stretch vote on the side of a track, together with those of the stretches before. What is in
the pool already stays as it is.
"""

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.detection.detector import Detection
from handsim.geometry import mirror_points
from handsim.hand import Hand
from handsim.images import mirror_jpeg
from handsim.ingest.items import Item, ItemResult, VideoItem
from handsim.ingest.known import KnownItems
from handsim.ingest.report import IngestReport
from handsim.tracking import Track, Tracker
from handsim.tracking.tracker import mean_length

SIDE_BY_TRACK: Final = "sides changed by the vote of a track"
NOT_MOVED: Final = "hands that did not move since the last one kept"
SINGLE_FRAME: Final = "hands seen in a single frame only"

_MAX_HELD_BYTES: Final = 1 << 28
"""Of crops that wait for an earlier stretch: with more, no further stretches are given out."""
_USUAL_JITTER: Final = 0.01
"""What joints waver where frames are too far apart to tell, in hand sizes."""
_MAX_JITTER: Final = 0.03
"""What wavers more than this moves."""


@dataclass(eq=False)
class _VideoState:
    """With what the next frame of a video goes on."""

    tracker: Tracker = field(default_factory=Tracker)
    names: dict[int, int] = field(default_factory=dict)
    """Number of a track -> the id of its first hand."""
    kept_px: dict[int, NDArray[np.float64]] = field(default_factory=dict)
    """Number of a track -> joints [21, 2] of the last hand that was kept."""

    @classmethod
    def from_json(cls, text: str) -> "_VideoState":
        values = json.loads(text)
        return cls(
            Tracker.from_json(values["tracker"]),
            {int(number): name for number, name in values["names"].items()},
            {int(number): np.array(joints, np.float64) for number, joints in values["kept_px"].items()},
        )

    def takes(self, hand: Hand, track: Track, detection: Detection, min_motion: float | None) -> bool:
        """Whether a hand is kept: it is the first one of its track, or has moved since the last one kept.

        The detector's jitter is no motion: what it adds to a mean distance is taken off.
        """
        self.names.setdefault(track.number, hand.hand_id)
        if min_motion is None:
            return True
        joints_px = detection.keypoints_px[:, :2].astype(np.float64)
        kept_px = self.kept_px.get(track.number)
        if kept_px is not None:
            size_px = float((detection.box_px[2:] - detection.box_px[:2]).max())
            moved = mean_length(joints_px - kept_px) / size_px
            jitter = _USUAL_JITTER if track.jitter is None else min(track.jitter, _MAX_JITTER)
            # Two places of a resting joint are sqrt(pi) standard deviations apart, in the mean.
            if moved**2 - math.pi * jitter**2 < min_motion**2:
                return False
        self.kept_px[track.number] = joints_px
        return True

    def to_json(self) -> str:
        """Of the tracks that may go on."""
        numbers = [track.number for track in self.tracker.tracks]
        return json.dumps(
            {
                "tracker": self.tracker.to_json(),
                "names": {number: self.names[number] for number in numbers},
                "kept_px": {
                    number: self.kept_px[number].tolist() for number in numbers if number in self.kept_px
                },
            }
        )


class TrackJoiner:
    """The results of an ingest, of which it brings the stretches of each video into order and links them."""

    def __init__(
        self,
        planned: Iterable[Item],
        to_do: Iterable[Item],
        known: KnownItems,
        min_motion: float | None,
        report: IngestReport,
    ) -> None:
        """``planned`` are all pictures and stretches, those of a video in a row; ``to_do`` those not done yet.

        Hands that moved less than ``min_motion`` hand sizes since the last one of their track are left out.
        """
        self._known, self._min_motion, self._report = known, min_motion, report
        self._before = {
            after.keys.key: item
            for item, after in pairwise(planned)
            if isinstance(item, VideoItem) and isinstance(after, VideoItem) and item.path == after.path
        }
        self._to_do = {item.keys.key for item in to_do if isinstance(item, VideoItem)}
        self._held: dict[int, tuple[VideoItem, ItemResult]] = {}
        """Key of a stretch -> the next one, which waits for it."""
        self._held_bytes = 0
        self._ends: dict[int, str | None] = {}
        """Key of a stretch -> `ItemResult.tracks`, for the next one."""

    def pace(self, items: Iterator[Item]) -> Iterator[Item | None]:
        """The items; None in between: just now too much waits for what workers have, so give them nothing."""
        for item in items:
            while self._held_bytes > _MAX_HELD_BYTES:
                yield None
            yield item

    def pass_over(self, key: int, tracks: str | None) -> None:
        """A stretch needs not be done: its content is known, with these `ItemRecord.tracks`."""
        if key in self._to_do:
            self._to_do.remove(key)
            self._ends[key] = tracks

    def add(self, item: Item, result: ItemResult) -> Iterator[tuple[Item, ItemResult]]:
        """The results that are complete with this one, in order."""
        if not isinstance(item, VideoItem):
            yield item, result
            return
        ready: tuple[VideoItem, ItemResult] | None = (item, result)
        while ready is not None:
            item, result = ready
            before = self._before.get(item.keys.key)
            if before is not None and before.keys.key in self._to_do:
                self._held[before.keys.key] = ready
                self._held_bytes += _crop_bytes(result)
                return
            self._link(item, result, None if before is None else self._tracks_after(before))
            self._to_do.discard(item.keys.key)
            yield item, result
            ready = self._held.pop(item.keys.key, None)
            if ready is not None:
                self._held_bytes -= _crop_bytes(ready[1])

    def _tracks_after(self, item: VideoItem) -> str | None:
        if item.keys.key in self._ends:
            return self._ends.pop(item.keys.key)
        row = self._known.find(item)
        return None if row is None else self._known.tracks(row)

    def _link(self, item: VideoItem, result: ItemResult, before: str | None) -> None:
        """Give the hands of a stretch their tracks and sides, and leave out what has not moved."""
        state = _VideoState() if before is None else _VideoState.from_json(before)
        file, begun = item.origin.file, state.tracker.begun
        found = [
            (track, detection)
            for time_s, detections in result.frames
            for track, detection in zip(state.tracker.update(time_s, detections), detections, strict=True)
        ]
        result.frames.clear()
        # A stretch that failed in the middle of a frame has hands of it.
        hands, result.hands = result.hands[: len(found)], result.hands[len(found) :]
        moved = [
            (hand, crop, track)
            for (hand, crop), (track, detection) in zip(hands, found, strict=True)
            if state.takes(hand, track, detection, self._min_motion)
        ]
        turned = [hand for hand, _, track in moved if track.side not in (hand.side, "unknown")]
        result.hands[:0] = [_with_track(*one, state.names[one[2].number]) for one in moved]
        if item.stop is not None:
            result.tracks = self._ends[item.keys.key] = state.to_json()
        self._report.tracks += state.tracker.begun - begun
        for what, remedy, count in (
            (SIDE_BY_TRACK, "nothing: most frames of the track say so", len(turned)),
            (NOT_MOVED, "nothing: --min-motion", len(hands) - len(moved)),
            (SINGLE_FRAME, "nothing, or pool remove --max-track 1", state.tracker.momentary),
        ):
            if count:
                self._report.findings.note(what, file, remedy, count)


def _with_track(hand: Hand, crop: bytes | None, track: Track, name: int) -> tuple[Hand, bytes | None]:
    """A hand and its crop, with the side of its track: mirrored where only one of both sides is left."""
    side = hand.side if track.side == "unknown" else track.side
    if (hand.side == "left") == (side == "left"):
        return replace(hand, side=side, track=name), crop
    keypoints = mirror_points(hand.keypoints, 1.0)
    mirrored = replace(hand, side=side, track=name, keypoints=keypoints)
    return mirrored, None if crop is None else mirror_jpeg(crop)


def _crop_bytes(result: ItemResult) -> int:
    return sum(len(jpeg or b"") for _, jpeg in result.hands)

"""Linking the hands of a video over the stretches in which it is shared out.

Stretches are done in any order, and linked in the order of the video: a result waits until those before it
are there. So tracks, sides and what has not moved are the same for any number of workers. Where an earlier
run did the stretch before, tracks go on from the state that it recorded with it.

All frames of a stretch vote on the side of a track, together with those of the stretches before. What is in
the pool already stays as it is.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any, Final

import numpy as np

from handsim.geometry import mirror_points
from handsim.hand import Hand
from handsim.images import mirror_jpeg
from handsim.ingest.items import Item, ItemResult, VideoItem
from handsim.ingest.known import KnownItems
from handsim.ingest.report import IngestReport
from handsim.tracking import MotionFilter, Track, Tracker

SIDE_BY_TRACK: Final = "sides changed by the vote of a track"
NOT_MOVED: Final = "hands that did not move since the last one kept"
SINGLE_FRAME: Final = "hands seen in a single frame only"

_MAX_HELD_BYTES: Final = 1 << 28
"""Of crops that wait for an earlier stretch: with more, no further stretches are given out."""


class _VideoState:
    """With what the next stretch of a video goes on."""

    def __init__(self, min_motion: float | None, text: str | None) -> None:
        """Go on from `to_json`; None: this is the first stretch, or nobody recorded what was before it."""
        values = json.loads(text) if text else {"tracker": None, "names": {}, "kept_px": {}}
        tracker = values["tracker"]
        self.tracker = Tracker() if tracker is None else Tracker.from_json(tracker)
        self.names: dict[int, int] = _by_number(values["names"])
        """Number of a track -> the id of its first hand."""
        kept_px = {number: np.array(joints) for number, joints in _by_number(values["kept_px"]).items()}
        self.motion_filter = None if min_motion is None else MotionFilter(min_motion, kept_px)

    def to_json(self) -> str:
        """Of the tracks that may go on."""
        numbers = [track.number for track in self.tracker.tracks]
        kept_px = {} if self.motion_filter is None else self.motion_filter.kept_px
        return json.dumps(
            {
                "tracker": self.tracker.to_json(),
                "names": {number: self.names[number] for number in numbers},
                "kept_px": {number: kept_px[number].tolist() for number in numbers if number in kept_px},
            }
        )


def _by_number(values: dict[str, Any]) -> dict[int, Any]:
    """JSON's keys are texts."""
    return {int(number): value for number, value in values.items()}


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
        """``planned`` are all pictures and stretches, those of a video in a row; ``to_do`` those to be done.

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

    def throttle(self, items: Iterator[Item]) -> Iterator[Item | None]:
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
        state = _VideoState(self._min_motion, before)
        file, begun = item.origin.file, state.tracker.begun
        found = [
            (track, detection)
            for time_s, detections in result.frames
            for track, detection in zip(state.tracker.update(time_s, detections), detections, strict=True)
        ]
        result.frames.clear()
        # A stretch that failed in the middle of a frame has hands of it.
        hands, result.hands = result.hands[: len(found)], result.hands[len(found) :]
        for (hand, _), (track, _) in zip(hands, found, strict=True):
            state.names.setdefault(track.number, hand.hand_id)
        moved = [
            (*hand, track)
            for hand, (track, detection) in zip(hands, found, strict=True)
            if state.motion_filter is None or state.motion_filter.keeps(track, detection)
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

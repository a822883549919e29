"""From the time stamps of a video to seconds since its first frame.

Where a recorder's clock was set while it ran, or recordings were joined, time stamps jump. Nothing in the
file says where, so such a file is only read from its beginning, and time goes on by the nominal step.
"""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import pairwise
from statistics import median
from typing import Final

import av
from av.container import InputContainer
from av.format import Flags
from av.video.stream import VideoStream

_LONG_STEP_S: Final = 3600.0
"""A slide may stand for minutes, not for longer than this."""
_LONG_BROADCAST_STEP_S: Final = 10.0
"""The same for MPEG streams, whose clocks are known to jump."""
_SMALL_BYTES: Final = 1 << 23
"""Of smaller files, every time stamp is looked at; of larger ones, those at some places."""
_PLACES: Final = 64
_NARROW_BYTES: Final = 1 << 20
"""Two places so near each other hold seconds of a film."""


class Clock:
    """Times of frames, which are read in the order they are shown."""

    def __init__(
        self, origin: int | None, time_base: Fraction | None, step_s: float, jump_s: float | None
    ) -> None:
        """``origin`` is the time stamp of 0 s (None: that of the first frame), ``step_s`` the nominal step.

        With ``jump_s``, a time stamp that goes back, or forward by more than this, comes from a clock that
        was set: its frame follows the one before by the nominal step. None takes every time stamp as it is.
        """
        self._origin = origin
        self._unit_s = float(time_base or 0)
        self.step_s = step_s
        self._jump_s = jump_s
        self._last_s: float | None = None
        self._last_stamp = 0

    def read(self, stamp: int | None) -> float:
        """The time of the next frame; without a time stamp, it follows by the nominal step."""
        if stamp is None:
            return 0.0 if self._last_s is None else self._last_s + self.step_s
        if self._jump_s is None:
            return (stamp - (stamp if self._origin is None else self._origin)) * self._unit_s
        if self._last_s is None:
            return 0.0
        step_s = (stamp - self._last_stamp) * self._unit_s
        return self._last_s + (step_s if 0 < step_s <= self._jump_s else self.step_s)

    def advance(self, stamp: int | None) -> float:
        """As `read`, and the next frame follows this one."""
        self._last_s = time_s = self.read(stamp)
        if stamp is not None:
            self._last_stamp = stamp
            if self._origin is None:
                self._origin = stamp
        return time_s


def is_broadcast(container: InputContainer) -> bool:
    """Whether the format is one for streams that have no beginning: MPEG's and Ogg."""
    return Flags.ts_discont in Flags(container.format.flags)


def longest_step_s(container: InputContainer) -> float:
    """A longer step forward is a clock that was set."""
    return _LONG_BROADCAST_STEP_S if is_broadcast(container) else _LONG_STEP_S


def has_time_stamps(container: InputContainer) -> bool:
    """Whether frames have any; raw streams have none, and AVI numbers its packets, not its frames."""
    return container.format.name != "avi" and Flags.no_timestamps not in Flags(container.format.flags)


def may_jump(container: InputContainer) -> bool:
    """Whether time stamps of the format are a clock's; those of MP4 are sums of lengths."""
    return not container.format.name.startswith("mov")


def is_steady(container: InputContainer, stream: VideoStream) -> bool:
    """Whether time stamps only go forward, and nowhere by more than `longest_step_s`.

    Looks at all packets of a small file, and at some places of a large one; leaves the container anywhere.
    """
    longest_s = longest_step_s(container)
    if container.size <= _SMALL_BYTES:
        return _goes_forward(_stamps_s(container, stream), longest_s)
    if is_broadcast(container) and Flags.no_byte_seek not in Flags(container.format.flags):
        return _is_steady_at_places(container, stream, longest_s)
    unit_s = float(stream.time_base or 0)
    by_place = sorted(stream.index_entries, key=lambda entry: entry.pos)
    return _goes_forward((entry.timestamp * unit_s for entry in by_place), longest_s)


def _goes_forward(stamps_s: Iterable[float], longest_s: float) -> bool:
    return all(0 <= after - before <= longest_s for before, after in pairwise(stamps_s))


def _stamps_s(container: InputContainer, stream: VideoStream) -> Iterator[float]:
    """Time stamps of decoding, which go forward, from where the container stands; up to an error."""
    try:
        for packet in container.demux(stream):
            if packet.dts is not None:
                yield float(packet.dts * packet.time_base)
    except av.FFmpegError:
        return


def _is_steady_at_places(container: InputContainer, stream: VideoStream, longest_s: float) -> bool:
    places = [container.size * number // _PLACES for number in range(_PLACES)]
    stamps_s = [_stamp_at(container, stream, place) for place in places]
    known = [(place, stamp) for place, stamp in zip(places, stamps_s, strict=True) if stamp is not None]
    spans = [(after[1] - before[1], before, after) for before, after in pairwise(known)]
    if not spans or min(spans)[0] < 0:
        return False
    usual_s = median(span for span, _, _ in spans)
    for span_s, before, after in spans:
        while span_s > max(
            longest_s, 4 * usual_s
        ):  # much for a place: does the clock jump, or is little coded?
            middle = (before[0] + after[0]) // 2
            stamp = _stamp_at(container, stream, middle)
            if stamp is None or after[0] - before[0] < _NARROW_BYTES:
                return False
            before, after = max(
                ((before, (middle, stamp)), ((middle, stamp), after)),
                key=lambda pair: pair[1][1] - pair[0][1],
            )
            span_s = after[1] - before[1]
    return True


def _stamp_at(container: InputContainer, stream: VideoStream, place: int) -> float | None:
    """The first time stamp behind a place in the file, in seconds."""
    try:
        container.seek(place, stream=stream, unsupported_byte_offset=True)
    except av.FFmpegError:
        return None
    return next(_stamps_s(container, stream), None)

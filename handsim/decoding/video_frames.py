"""The sound frames of a video in the order they are shown, past damage, on a clock that only goes forward.

A decoder paints over what is missing and goes on. What it makes of later frames, which refer to that, is not
flagged and can be any mixture of pictures. So after damage a frame is used only if a key frame has come, or
if it shows the same as the last sound one. What counts is the order in the file: a frame that was decoded
before the damage is sound, even if it is shown after it.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from handsim.decoding.video_clock import Clock, has_time_stamps
from handsim.decoding.video_packets import PacketReader

_MAX_DELAY_S: Final = 2.0
"""No frame is shown this long after one that follows it in the file."""
_MAX_REORDERED: Final = 64
"""No codec shows a frame after this many that follow it in the file."""
_REFRESH_S: Final = 10.0
"""In a film without further key frames, all of the picture is coded anew in about this time."""
_SAME_LEVELS: Final = 3.0
"""Grey levels by which every part of two pictures may differ that show the same."""
_THUMBNAIL_PX: Final = 32


@dataclass(frozen=True)
class Gap:
    """Frames that are in the file and cannot be decoded, between two sound ones."""

    lost_s: tuple[float, ...]
    """Their times; at least one."""
    after_s: float
    """The sound frame before them, or the first lost one."""
    before_s: float
    """The sound frame after them, or the last lost one."""


class FrameReader:
    """One walk over the packets of a stream, from where its container stands."""

    def __init__(self, container: InputContainer, stream: VideoStream, clock: Clock) -> None:
        self.gaps: list[Gap] = []
        self.first_packet_s: float | None = None
        self.last_packet_s: float | None = None
        """The latest start of any frame in the file that was met, decoded or not."""
        self.end_s = 0.0
        """The latest end of any."""
        self.has_ended = False
        """Whether nothing more can be read."""
        self.cut_s: float | None = None
        """The time of the last frame, if a part of it is missing in the file."""
        self._packets, self._stream, self._clock = PacketReader(container, stream), stream, clock
        self._unit_s = float(stream.time_base or 0)
        self._sent = 0
        self._places: dict[int, int] = {}  # of frames to come: place in the file by time stamp
        self._damages: list[int] = []  # places in the file, ascending
        self._hole: int | None = None  # the place behind which packets may be missing
        self._shown_s: float | None = None  # the last frame that the decoder gave, sound or not
        self._lost_s: list[float] = []
        self._has_stamps = has_time_stamps(container)
        # In AVI, packets are numbered. The number of a frame is that of the packet after which it is shown.
        self._sent_number: int | None = None
        self._shown_number = -1
        self._sound_s: float | None = None
        self._reference: VideoFrame | None = None  # the last frame that is sound beyond doubt

    @property
    def other_end_s(self) -> float:
        """When other streams end, as far as they were looked at."""
        return self._packets.other_stamp_s - float((self._stream.start_time or 0) * self._unit_s)

    def frames(self, until_s: float | None = None) -> Iterator[tuple[float, VideoFrame]]:
        """Sound frames with their times in seconds, up to the first one at or after ``until_s``."""
        for frame, place, stamp in self._decode(until_s):
            if self._hole is not None:
                self._look_for_hole(place, self._clock.read(stamp))
            is_sound = self._is_sound(frame, place, stamp)
            if is_sound:
                self._close_gap(stamp, place, self._clock.read(stamp))
            elif self._has_stamps:
                continue  # it stays among the frames to come
            self._shown_s = time_s = self._clock.advance(stamp)
            if not is_sound:
                self._lost_s.append(time_s)
                continue
            if frame.key_frame:
                self._damages = [damage for damage in self._damages if damage > place]
            if not self._damages or place < self._damages[0]:
                self._reference = frame
            self._sound_s = time_s
            yield time_s, frame
            if until_s is not None and time_s >= until_s:
                return
        self._close_gap(None, math.inf, None)

    def _decode(self, until_s: float | None) -> Iterator[tuple[VideoFrame, int, int | None]]:
        """Frames as they are shown, each with its place in the file and its time stamp."""
        for packet in self._packets.packets():
            self._note(packet)
            try:
                frames = packet.decode()
            except av.FFmpegError:
                self._damages.append(self._sent)
                if not self._has_stamps:
                    self._lose(packet)
                continue
            yield from map(self._locate, frames)
            sent = packet.pts if packet.dts is None else packet.dts
            if until_s is not None and self._clock.read(sent) > until_s + _MAX_DELAY_S:
                break
        else:
            self.has_ended = True
        try:
            yield from map(self._locate, self._stream.decode(None))
        except av.FFmpegError:
            self._damages.append(self._sent)

    def _locate(self, frame: VideoFrame) -> tuple[VideoFrame, int, int | None]:
        place = self._sent if frame.pts is None else self._places.get(frame.pts, self._sent)
        if self._has_stamps:
            return frame, place, frame.dts if frame.pts is None else frame.pts
        if self._sent_number is None or frame.pts is None:
            return frame, place, None
        self._places.pop(frame.pts, None)
        number = self._sent_number - self._stream.codec_context.reorder_depth
        self._shown_number = number = max(number, self._shown_number + 1)
        return frame, place, number

    def _lose(self, packet: "Packet[VideoStream]") -> None:
        """A packet of a file without time stamps is the next frame, more or less."""
        if packet.pts is not None:
            self._places.pop(packet.pts, None)
        self._lost_s.append(self._clock.advance(packet.pts))

    def _note(self, packet: "Packet[VideoStream]") -> None:
        self._sent += 1
        if self._packets.is_behind_hole:
            self._hole = self._sent
        if self._packets.is_before_hole:
            self._damages.append(self._sent)
        stamp = packet.dts if packet.pts is None else packet.pts
        if stamp is None:
            return
        time_s = self._clock.read(stamp)
        if self.first_packet_s is None:
            self.first_packet_s = time_s
        self.last_packet_s = max(time_s, self.last_packet_s or time_s)
        self.cut_s = time_s if packet.is_corrupt else None
        self.end_s = max(self.end_s, time_s + (packet.duration or 0) * self._unit_s)
        # What comes before the first key frame was recorded before the file began.
        if packet.pts is not None and (packet.is_keyframe or self._places or self._sound_s is not None):
            self._places[packet.pts] = self._sent
            if not self._has_stamps:
                if self._sent_number is None:
                    self._shown_number = packet.pts - 1
                self._sent_number = packet.pts

    def _look_for_hole(self, place: int, time_s: float) -> None:
        """Packets that vanished leave a gap in time; a gap alone may be a frame that is shown for long."""
        step_s, before_s, self._shown_s = self._clock.step_s, self._shown_s, time_s
        if before_s is None or self._hole is None:
            return
        if (missing := round((time_s - before_s) / step_s) - 1) > 0:
            self._damages = sorted([*self._damages, self._hole])
            self._lost_s += [before_s + (number + 1) * step_s for number in range(missing)]
            for stamp in [other for other in self._places if before_s < self._clock.read(other) < time_s]:
                del self._places[stamp]
        if place > self._hole + _MAX_REORDERED:
            self._hole = None

    def _is_sound(self, frame: VideoFrame, place: int, stamp: int | None) -> bool:
        if frame.is_corrupt:
            self._damages = sorted([*self._damages, place])
            return False
        if not self._damages or place < self._damages[0] or frame.key_frame:
            return True
        if self._reference is None:
            return False
        if self._clock.read(stamp) > (self._sound_s or 0.0) + _REFRESH_S:
            self._damages = []
            return True
        return bool(np.abs(_thumbnail(frame) - _thumbnail(self._reference)).max() <= _SAME_LEVELS)

    def _close_gap(self, stamp: int | None, place: float, time_s: float | None) -> None:
        """Frames that should have come before this sound one (None: the end), and after damage, are lost."""
        reached = stamp if self._has_stamps and stamp is not None else -math.inf
        late = [
            other
            for other, order in self._places.items()
            if other <= reached or order < place - _MAX_REORDERED
        ]
        first = self._damages[0] if self._damages else self._sent + 1
        for other in late:
            order = self._places.pop(other)
            if other != stamp and order >= first:
                self._lost_s.append(self._clock.read(other))
        if not self._lost_s:
            return
        lost_s: list[float] = []
        for lost in sorted(self._lost_s):  # what was found to be damaged, and then to be missing, is one
            if not lost_s or lost > lost_s[-1] + self._clock.step_s / 2:
                lost_s.append(lost)
        after_s = lost_s[0] if self._sound_s is None else self._sound_s
        self.gaps.append(Gap(tuple(lost_s), after_s, lost_s[-1] if time_s is None else time_s))
        self._lost_s = []


def _thumbnail(frame: VideoFrame) -> NDArray[np.float32]:
    small = frame.reformat(_THUMBNAIL_PX, _THUMBNAIL_PX, format="gray", interpolation="AREA")
    return small.to_ndarray().astype(np.float32)

"""The coded frames of one stream of a file, past what cannot be read.

A demultiplexer that meets damage looks for the next thing that it knows, and says nothing. What it passed
over shows in the places of the packets before and after.
"""

import math
from collections.abc import Iterator
from typing import Final, cast

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard
from av.video.stream import VideoStream

from handsim.errors import UnusableError

_MAX_READ_ERRORS: Final = 1000
"""Packets in a row that cannot be read, until the rest of the file counts as missing."""
_MAX_HEADER_BYTES: Final = 100
"""Between two packets of Matroska and Flash; they have up to 25."""
_AVI_HEADER_BYTES: Final = 8


class PacketReader:
    """Packets of a stream, from where its container stands."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self.is_behind_hole = self.is_before_hole = False
        """Whether something was passed over just before, or just behind, the last packet."""
        self.other_stamp_s = -math.inf
        """The latest time stamp of other streams, as far as they were looked at."""
        self._container, self._stream = container, stream
        name = container.format.name
        self._are_adjacent = name.startswith(("matroska", "flv"))
        self._is_broadcast = name == "mpegts"
        self._is_avi = name == "avi"
        self._last_number: int | None = None
        self._numbers: dict[int, int] = {}
        if self._is_avi and len(stream.index_entries) == stream.frames:
            self._numbers = {entry.pos + _AVI_HEADER_BYTES: entry.timestamp for entry in stream.index_entries}
        if not self._are_adjacent:
            for other in container.streams:
                if other is not stream:
                    other.discard = Discard.all

    def packets(self) -> Iterator["Packet[VideoStream]"]:
        """All packets to the end of the file, or until nothing more can be read."""
        before: Packet[VideoStream] | None = None
        is_behind_hole = False
        for packet, is_next_behind_hole in self._read():
            if before is not None:
                self.is_behind_hole = is_behind_hole
                self.is_before_hole = is_next_behind_hole and not self._is_broadcast
                yield before
            before, is_behind_hole = packet, is_next_behind_hole
        if before is not None:
            self.is_behind_hole, self.is_before_hole = is_behind_hole, False
            yield before

    def _read(self) -> Iterator[tuple["Packet[VideoStream]", bool]]:
        """Packets, and whether each is behind a hole."""
        errors, end, has_hole = 0, None, False
        streams = self._container.streams if self._are_adjacent else [self._stream]
        while errors < _MAX_READ_ERRORS:
            try:
                for packet in self._container.demux(*streams):
                    if not packet.size:  # the last one; others would end the decoder's work
                        continue
                    errors = 0
                    if self._are_adjacent and packet.pos is not None:
                        has_hole |= end is not None and packet.pos > end + _MAX_HEADER_BYTES
                        end = packet.pos + packet.size
                    if packet.stream_index == self._stream.index:
                        coded = cast("Packet[VideoStream]", packet)
                        yield coded, has_hole | (self._is_avi and self._skips_numbers(coded))
                        # The packets of MPEG are numbered; this one ends where a number is missing.
                        has_hole = self._is_broadcast and packet.is_corrupt
                    elif packet.dts is not None:
                        self.other_stamp_s = max(self.other_stamp_s, float(packet.dts * packet.time_base))
                return
            except av.error.ExitError as error:
                raise UnusableError("unreadable", "no answer for a minute") from error
            except av.FFmpegError:
                errors += 1
            except IndexError:  # PyAV's, at the end of a file in which streams appeared on the way
                return

    def _skips_numbers(self, packet: "Packet[VideoStream]") -> bool:
        """AVI numbers its packets by counting them; past damage, its index knows better."""
        packet.dts = self._numbers.get(packet.pos or -1, packet.dts)
        packet.pts = packet.dts  # FFmpeg's is a guess, and not a good one
        before, self._last_number = self._last_number, packet.dts
        return before is not None and packet.dts is not None and packet.dts > before + 1

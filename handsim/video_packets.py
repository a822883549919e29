"""The coded frames of one stream of a file, past what cannot be read.

A demultiplexer that meets damage looks for the next thing that it knows, and says nothing. What it passed
over shows in the places of the packets before and after.
"""

import math
from collections.abc import Iterator
from typing import Final

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard
from av.video.stream import VideoStream

_MAX_READ_ERRORS: Final = 1000
"""Packets in a row that cannot be read, until the rest of the file counts as missing."""
_MAX_HEADER_BYTES: Final = 100
"""Between two packets of Matroska and Flash; they have up to 25."""

_AVI_HEADER_BYTES: Final = 8


class PacketReader:
    """Packets of a stream, from where its container stands."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self.has_hole = False
        """Whether something was passed over just before the last packet."""
        self.other_stamp_s = -math.inf
        """The latest time stamp of other streams, as far as they were looked at."""
        self._container, self._stream = container, stream
        name = container.format.name
        self._are_adjacent = name.startswith(("matroska", "flv"))
        self._is_broadcast = name == "mpegts"
        self._is_avi = name == "avi"
        self._avi_numbers: dict[int, int] = {}
        if self._is_avi and len(stream.index_entries) == stream.frames:
            self._avi_numbers = {entry.pos: entry.timestamp for entry in stream.index_entries}
        if not self._are_adjacent:
            for other in container.streams:
                if other is not stream:
                    other.discard = Discard.all

    def packets(self) -> Iterator["Packet[VideoStream]"]:
        """All packets to the end of the file, or until nothing more can be read."""
        errors, end = 0, None
        streams = self._container.streams if self._are_adjacent else [self._stream]
        while errors < _MAX_READ_ERRORS:
            try:
                for packet in self._container.demux(*streams):
                    if not packet.size:  # the last one; others would end the decoder's work
                        continue
                    errors = 0
                    if self._are_adjacent and packet.pos is not None:
                        self.has_hole |= end is not None and packet.pos - end > _MAX_HEADER_BYTES
                        end = packet.pos + packet.size
                    if packet.stream_index != self._stream.index:
                        if packet.dts is not None:
                            self.other_stamp_s = max(self.other_stamp_s, float(packet.dts * packet.time_base))
                        continue
                    if self._is_avi:
                        self._number(packet)
                    yield packet
                    self.has_hole = self._is_broadcast and packet.is_corrupt
                return
            except av.FFmpegError:
                errors += 1

    def _number(self, packet: "Packet[VideoStream]") -> None:
        """AVI numbers its packets by counting them; past damage, its index knows better."""
        if packet.pos is not None:
            packet.dts = self._avi_numbers.get(packet.pos - _AVI_HEADER_BYTES, packet.dts)
        packet.pts = packet.dts  # which FFmpeg guesses, and not well

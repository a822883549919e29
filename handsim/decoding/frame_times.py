"""When each frame of an animation is shown, from its headers alone: GIF, APNG, WebP and the pages of TIFF."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from handsim.decoding.tiff import read_directories

PAGE_S: Final = 1.0
"""Pages of a TIFF have no time: one a second."""
_TOO_SHORT_S: Final = 0.011
_SHORTEST_S: Final = 0.1
"""Frames of 0 or 10 ms are shown for 100 ms, as browsers do: whoever wrote them meant as fast as possible."""
_MAX_BLOCKS: Final = 1_000_000
"""Blocks that are passed over, which takes half a second: a damaged file may have any number of them."""


@dataclass
class FrameTimes:
    """The frames of an animation."""

    numbers: list[int] = field(default_factory=list)
    """The number by which Pillow finds each frame."""
    durations_s: list[float] = field(default_factory=list)
    is_complete: bool = False
    """Whether the end of the file was met where it belongs; False, too, where the limit was reached."""

    def add(self, duration_s: float, number: int | None = None) -> None:
        """Put a frame behind the others."""
        self.numbers.append(len(self.numbers) if number is None else number)
        self.durations_s.append(_SHORTEST_S if duration_s < _TOO_SHORT_S else duration_s)


def read_frame_times(file: BinaryIO, limit: int) -> FrameTimes:
    """The first ``limit`` frames of an animation; none for a file that is no animation."""
    file.seek(0)
    head, times = file.read(32), FrameTimes()
    blocks = iter(range(_MAX_BLOCKS))
    try:
        if head.startswith((b"GIF87a", b"GIF89a")):
            _read_gif(file, times, limit, blocks)
        elif head.startswith(b"\x89PNG\r\n\x1a\n"):
            _read_apng(file, times, limit, blocks)
        elif head[8:16] == b"WEBPVP8X":
            _read_webp(file, times, limit, blocks)
        else:
            _read_tiff(file, times, limit)
    except (struct.error, IndexError):
        pass  # cut off: the frames up to there
    return times


def _read_gif(file: BinaryIO, times: FrameTimes, limit: int, blocks: Iterator[int]) -> None:
    file.seek(6)
    _skip_palette(file, file.read(7)[4])
    duration_s = 0.0
    for _ in blocks:
        block = file.read(1)
        if block == b"!":
            if file.read(1) == b"\xf9":  # a graphic control: what follows is shown for so many hundredths
                size, _, hundredths = struct.unpack("<BBH", file.read(4))
                duration_s = hundredths / 100
                file.seek(size - 3, 1)
            _skip_sub_blocks(file, blocks)
        elif block == b",":
            _skip_palette(file, file.read(9)[8])
            times.add(duration_s)
            if len(times.numbers) == limit:
                return
            file.seek(1, 1)
            _skip_sub_blocks(file, blocks)
        else:
            times.is_complete = block == b";"
            return


def _skip_palette(file: BinaryIO, flags: int) -> None:
    if flags & 0x80:
        file.seek(3 << (flags & 7) + 1, 1)


def _skip_sub_blocks(file: BinaryIO, blocks: Iterator[int]) -> None:
    for _ in blocks:
        size = file.read(1)[0]
        if size == 0:
            return
        file.seek(size, 1)


def _read_apng(file: BinaryIO, times: FrameTimes, limit: int, blocks: Iterator[int]) -> None:
    at, is_animated, hidden = 8, False, 0
    for _ in blocks:
        file.seek(at)
        size, name = struct.unpack(">I4s", file.read(8))
        if name == b"IEND" or not name.isalpha():
            times.is_complete = name == b"IEND"
            return
        is_animated |= name == b"acTL"
        if name == b"IDAT" and not is_animated:
            return
        if name == b"IDAT" and not times.numbers:
            hidden = 1  # a picture for programs that show no animations
        if name == b"fcTL":
            delay, unit = struct.unpack_from(">HH", file.read(26), 20)
            times.add(delay / (unit or 100), len(times.numbers) + hidden)
            if len(times.numbers) == limit:
                return
        at += 12 + size


def _read_webp(file: BinaryIO, times: FrameTimes, limit: int, blocks: Iterator[int]) -> None:
    file.seek(4)
    end = 8 + struct.unpack("<I", file.read(4))[0]
    at = 12
    for _ in blocks:
        if at >= end:
            times.is_complete = True
            return
        file.seek(at)
        name, size = struct.unpack("<4sI", file.read(8))
        if name == b"ANMF":
            times.add(int.from_bytes(file.read(16)[12:15], "little") / 1000)
        if len(times.numbers) == limit or not name.strip().isalnum():
            return
        at += 8 + size + size % 2


def _read_tiff(file: BinaryIO, times: FrameTimes, limit: int) -> None:
    for number, directory in enumerate(read_directories(file)):
        if not directory.is_sound:
            return
        if directory.is_page:
            times.add(PAGE_S, number)
            if len(times.numbers) == limit:
                return
    times.is_complete = True

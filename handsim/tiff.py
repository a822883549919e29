"""The directories of TIFF files, and of EXIF, which is laid out as one: only what is asked of them is read.

Libraries read every tag of a directory; a damaged or hostile one has thousands, of any size.
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

NEW_SUBFILE_TYPE: Final = 254
WIDTH: Final = 256
HEIGHT: Final = 257
BITS_PER_SAMPLE: Final = 258
ORIENTATION: Final = 274

_MAX_ENTRIES: Final = 512
"""Tags that are read of a directory; files of microscopes have some dozens."""
_MAX_DIRECTORIES: Final = 100_000
_TYPE_BYTES: Final = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8)


@dataclass(frozen=True)
class Directory:
    """One page of a TIFF file."""

    values: dict[int, int]
    """By tag, those values that are one whole number."""
    bytes_claimed: int
    """How much all the values take that lie elsewhere in the file."""

    @property
    def is_page(self) -> bool:
        """False for a smaller copy or a mask of another page."""
        return not self.values.get(NEW_SUBFILE_TYPE, 0) & 0b101


def read_directories(file: BinaryIO) -> Iterator[Directory]:
    """The directories of a TIFF or BigTIFF in their order; they end where the file is damaged."""
    file.seek(0)
    header = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(header[:2])
    if order is None or len(header) < 8:
        return
    is_big = struct.unpack(order + "H", header[2:4])[0] == 43
    offset_format = order + ("Q" if is_big else "I")
    try:
        (at,) = struct.unpack_from(offset_format, header, 8 if is_big else 4)
        met: set[int] = set()
        while at and at not in met and len(met) < _MAX_DIRECTORIES:
            met.add(at)
            file.seek(at)
            (count,) = struct.unpack(order + ("Q" if is_big else "H"), file.read(8 if is_big else 2))
            entry_bytes = 20 if is_big else 12
            entries = file.read(min(count, _MAX_ENTRIES) * entry_bytes)
            yield _read_entries(entries, order, is_big)
            file.seek(at + (8 if is_big else 2) + count * entry_bytes)
            (at,) = struct.unpack(offset_format, file.read(8 if is_big else 4))
    except (struct.error, OverflowError, ValueError):
        return


def _read_entries(entries: bytes, order: str, is_big: bool) -> Directory:
    values: dict[int, int] = {}
    bytes_claimed = 0
    layout = struct.Struct(order + ("HHQ8s" if is_big else "HHI4s"))
    for at in range(0, len(entries) - layout.size + 1, layout.size):
        tag, kind, count, field = layout.unpack_from(entries, at)
        size = count * _TYPE_BYTES[kind] if kind < len(_TYPE_BYTES) else 0
        if size > len(field):
            bytes_claimed += size
        elif count == 1 and (letter := {1: "B", 3: "H", 4: "I", 16: "Q"}.get(kind)):
            values.setdefault(tag, struct.unpack_from(order + letter, field)[0])
    return Directory(values, bytes_claimed)


def count_pages(file: BinaryIO, limit: int) -> int:
    """How many full pages a TIFF has, at most ``limit``."""
    pages = 0
    for directory in read_directories(file):
        pages += directory.is_page
        if pages == limit:
            break
    return pages


def read_orientation(exif: bytes) -> int:
    """The orientation (1 to 8) that an EXIF block asks for; 1 where it says none, or nonsense."""
    directory = next(read_directories(io.BytesIO(exif.removeprefix(b"Exif\0\0"))), None)
    orientation = directory.values.get(ORIENTATION, 1) if directory else 1
    return orientation if 1 <= orientation <= 8 else 1

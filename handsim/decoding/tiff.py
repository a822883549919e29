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
    is_sound: bool
    """False where its values, and those of the pages before it, would take more than the whole file."""

    @property
    def is_page(self) -> bool:
        """False for a smaller copy or a mask of another page, and for what has no size."""
        has_size = self.values.get(WIDTH, 0) > 0 and self.values.get(HEIGHT, 0) > 0
        return has_size and not self.values.get(NEW_SUBFILE_TYPE, 0) & 0b101


def read_directories(file: BinaryIO) -> Iterator[Directory]:
    """The directories of a TIFF or BigTIFF in their order; they end where the file is damaged."""
    left = file.seek(0, 2)
    file.seek(0)
    header = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(header[:2])
    if order is None:
        return
    is_big = header[2:4] in (b"+\0", b"\0+")
    counter, entry, offset = (
        struct.Struct(order + format) for format in (("Q", "HHQ8s", "Q") if is_big else ("H", "HHI4s", "I"))
    )
    met: set[int] = set()
    try:
        (at,) = offset.unpack_from(header, 8 if is_big else 4)
        while at and at not in met and len(met) < _MAX_DIRECTORIES:
            met.add(at)
            file.seek(at)
            (count,) = counter.unpack(file.read(counter.size))
            entries = file.read(min(count, _MAX_ENTRIES) * entry.size)
            values, claimed = _read_entries(entries, entry, order)
            left -= claimed
            yield Directory(values, left >= 0 and count <= _MAX_ENTRIES)
            file.seek(at + counter.size + count * entry.size)
            (at,) = offset.unpack(file.read(offset.size))
    except (struct.error, OverflowError, OSError):
        return


def _read_entries(entries: bytes, entry: struct.Struct, order: str) -> tuple[dict[int, int], int]:
    """The values that are one whole number, and how many bytes the others take."""
    values: dict[int, int] = {}
    claimed = 0
    for tag, kind, count, field in entry.iter_unpack(entries[: len(entries) // entry.size * entry.size]):
        size = count * _TYPE_BYTES[kind] if kind < len(_TYPE_BYTES) else 0
        if size > len(field):
            claimed += size
        elif count == 1 and (letter := {1: "B", 3: "H", 4: "I", 8: "h", 9: "i", 16: "Q"}.get(kind)):
            values.setdefault(tag, struct.unpack_from(order + letter, field)[0])
    return values, claimed


def read_orientation(exif: bytes) -> int:
    """The orientation (1 to 8) that an EXIF block asks for; 1 where it says none, or nonsense."""
    directory = next(read_directories(io.BytesIO(exif.removeprefix(b"Exif\0\0"))), None)
    orientation = directory.values.get(ORIENTATION, 1) if directory else 1
    return orientation if 1 <= orientation <= 8 else 1

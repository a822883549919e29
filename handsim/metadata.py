"""What lies around the pixels of a picture: which way is up, and how to do without the rest.

Pillow reads all metadata of a file, and refuses the file, or takes any amount of memory, for what is wrong in
them. Only the orientation matters here, so the rest is left out before a JPEG is decoded, and of other formats
when they could not be.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from typing import Final

from handsim.tiff import read_orientation

JPEG_START: Final = b"\xff\xd8\xff"
PNG_START: Final = b"\x89PNG\r\n\x1a\n"

_XMP_ORIENTATION: Final = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')
_MISSING_ROWS: Final = 0.01


def orientation_of(exif: bytes, xmp: bytes = b"") -> int:
    """The orientation (1 to 8) of a picture; EXIF goes before XMP."""
    orientation = read_orientation(exif)
    if orientation == 1 and (match := _XMP_ORIENTATION.search(xmp)):
        return int(match[1])
    return orientation


def take_jpeg_metadata(data: bytes) -> tuple[bytes, int]:
    """A JPEG without its metadata, and its orientation."""
    parts, exif, xmp = [data[:2]], b"", b""
    at = 2
    while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] != b"\xda":
        if data[at + 1 : at + 2] == b"\xff":  # a marker may be filled up
            at += 1
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if end > len(data):
            break
        segment = data[at + 4 : min(end, at + 40)]
        if segment.startswith(b"Exif\0") and not exif:
            exif = data[at + 10 : end]
        elif segment.startswith(b"http://ns.adobe.com/xap/1.0/") and not xmp:
            xmp = data[at + 4 : end]
        # APP0 and APP14 say how colours are coded, the others are metadata, as comments are.
        if data[at + 1] in (0xE0, 0xEE) or not (data[at + 1] >> 4 == 0xE or data[at + 1] == 0xFE):
            parts.append(data[at:end])
        at = end
    if sum(map(len, parts)) == at:
        return data, 1
    return b"".join((*parts, memoryview(data)[at:])), orientation_of(exif, xmp)


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of each chunk of a PNG, as far as they are there."""
    at = 8
    while at + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        yield name, data[at + 8 : at + 8 + size]
        at += 12 + size


def mend_png(data: bytes) -> bytes | None:
    """A PNG of its pixels alone, those of a few missing rows black; None where more is missing or damaged."""
    chunks = [
        (name, content) for name, content in png_chunks(data) if name in (b"IHDR", b"PLTE", b"tRNS", b"IDAT")
    ]
    if not chunks or chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13:
        return None
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour, 0)
    row_bytes = 1 + (width * depth * samples + 7) // 8
    if interlaced or not samples:
        return None
    packed = b"".join(content for name, content in chunks if name == b"IDAT")
    try:
        rows = zlib.decompressobj().decompress(packed, row_bytes * height)
    except zlib.error:
        return None
    if len(rows) < row_bytes * (height - int(_MISSING_ROWS * height)):
        return None
    rows = rows[: len(rows) // row_bytes * row_bytes].ljust(row_bytes * height, b"\0")
    mended = [(name, content) for name, content in chunks if name != b"IDAT"]
    mended += [(b"IDAT", zlib.compress(rows, 0)), (b"IEND", b"")]
    return PNG_START + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in mended
    )

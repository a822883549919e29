"""What lies around the pixels of a picture: which way is up, and how to do without the rest.

Pillow reads all metadata of a file, and for what is wrong in them refuses the file or takes any amount of
memory. Only the orientation matters here: a JPEG is decoded without the rest, a PNG where it fails with it.
"""

import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

from handsim.decoding.tiff import read_orientation

JPEG_START: Final = b"\xff\xd8\xff"
_START_OF_SCAN: Final = 0xDA
_COMMENT: Final = 0xFE
PNG_START: Final = b"\x89PNG\r\n\x1a\n"

_XMP_ORIENTATION: Final = re.compile(rb"tiff:Orientation(?:=[\"']|>)([1-8])")
_AVIF_HEAD_BYTES: Final = 4096
_MAX_PNG_BYTES: Final = 1 << 30
MISSING_SHARE: Final = 0.01
"""What may be missing of a picture's pixels; a hand must not lie in what the decoder fills in."""


def orientation_of(info: Mapping[Any, Any]) -> int:
    """The orientation (1 to 8) that a picture asks for, of what Pillow found beside its pixels."""
    exif = info.get("exif", b"")
    if not exif and isinstance(text := info.get("Raw profile type exif"), str):  # ImageMagick's, in PNG
        with suppress(ValueError):
            exif = bytes.fromhex("".join(text.split("\n")[3:]))
    xmp = info.get("xmp") or info.get("XML:com.adobe.xmp", b"")
    return _orientation(exif, xmp.encode() if isinstance(xmp, str) else xmp)


def _orientation(exif: bytes, xmp: bytes) -> int:
    """EXIF goes before XMP."""
    orientation = read_orientation(exif)
    match = _XMP_ORIENTATION.search(xmp) if orientation == 1 else None
    return int(match[1]) if match else orientation


def take_jpeg_metadata(data: bytes) -> tuple[bytes, int]:
    """A JPEG without its metadata, and its orientation."""
    metadata: list[tuple[int, int]] = []
    at, last = 2, len(data) - 4
    while at <= last and data[at] == 0xFF and (marker := data[at + 1]) != _START_OF_SCAN:
        if marker == 0xFF:  # a marker may be filled up
            at += 1
            continue
        end = at + 2 + (data[at + 2] << 8 | data[at + 3])
        # APP0 and APP14 say how colours are coded, if they are whole.
        if marker == _COMMENT or (marker >> 4 == 0xE and (marker not in (0xE0, 0xEE) or end - at < 16)):
            metadata.append((at, end))
        at = end
    if not metadata:
        return data, 1
    exif = xmp = b""
    pixel_segments, at = [], 0
    for start, end in metadata:
        segment = data[start + 4 : end]
        if segment.startswith(b"Exif\0"):
            exif = exif or segment[6:]
        elif segment.startswith(b"http://ns.adobe.com/xap/1.0/"):
            xmp = xmp or segment
        pixel_segments.append(data[at:start])
        at = end
    return b"".join((*pixel_segments, memoryview(data)[at:])), _orientation(exif, xmp)


def mend(data: bytes) -> bytes | None:
    """A PNG or AVIF without what may be damaged beside its pixels; None where that cannot help."""
    if data.startswith(PNG_START):
        return mend_png(data)
    head = data[:_AVIF_HEAD_BYTES]
    if head[4:8] == b"ftyp" and b"Exif" in head:
        # The list of what the file holds is at its beginning; nobody looks for items of type "none".
        return head.replace(b"Exif", b"none").replace(b"mime", b"none") + data[_AVIF_HEAD_BYTES:]
    return None


def mend_png(data: bytes) -> bytes | None:
    """A PNG of its pixels and orientation alone; rows that are missing are black.

    None where more rows are missing than may be, or they are damaged.
    """
    chunks = [
        chunk for chunk in _png_chunks(data) if chunk[0] in (b"IHDR", b"eXIf", b"PLTE", b"tRNS", b"IDAT")
    ]
    if not chunks or chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13:
        return None
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour, 0)
    row_bytes = 1 + (width * depth * samples + 7) // 8
    if interlaced or not samples or row_bytes * height > _MAX_PNG_BYTES:
        return None
    packed = b"".join(content for name, content in chunks if name == b"IDAT")
    try:
        rows = zlib.decompressobj().decompress(packed, row_bytes * height)
    except zlib.error:
        return None
    if len(rows) < row_bytes * (height - int(MISSING_SHARE * height)):
        return None
    rows = rows[: len(rows) // row_bytes * row_bytes].ljust(row_bytes * height, b"\0")
    mended = [(b"IHDR", chunks[0][1][:10] + bytes(3))]
    transparency_bytes = {0: 2, 2: 6}.get(colour)
    mended += [
        (name, content)
        for name, content in chunks
        if name in (b"eXIf", b"PLTE") or (name == b"tRNS" and transparency_bytes in (len(content), None))
    ]
    mended += [(b"IDAT", zlib.compress(rows, 0)), (b"IEND", b"")]
    return PNG_START + b"".join(
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in mended
    )


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of each chunk, as far as they are there."""
    at = len(PNG_START)
    while at + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        yield name, data[at + 8 : at + 8 + size]
        at += 12 + size


def mend_webp(data: bytes) -> bytes:
    """A WebP that is cut off, without the chunk that it broke off in."""
    at = 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if at + 8 + size > len(data):
            break
        at += 8 + size + size % 2
    return data[:4] + struct.pack("<I", at - 8) + data[8:at].ljust(at - 8, b"\0")

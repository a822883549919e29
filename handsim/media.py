"""Telling pictures, animations, videos, annotations and tars apart by their first bytes, not their names.

A few kilobytes are read of a file, whatever its size: a disk image among the photographs costs nothing.
"""

import re
from pathlib import Path
from typing import BinaryIO, Final, Literal

from handsim.decoding.frame_times import read_frame_times
from handsim.errors import UnusableError
from handsim.tars import TarMember, is_tar, open_member

MediaKind = Literal["picture", "animation", "video", "annotations", "tar"]

NO_PICTURE: Final = "not an image or video"
"""Why what is none of these cannot be used."""
_HEAD_BYTES: Final = 1 << 16
_MAX_BOXES: Final = 100

_SEQUENCE_BRANDS: Final = frozenset((b"msf1", b"hevc", b"hevx", b"hevm", b"hevs", b"avis"))
HEIF_BRANDS: Final = _SEQUENCE_BRANDS | {b"heic", b"heix", b"heim", b"heis", b"mif1", b"mif2", b"avif"}
"""What pictures in the boxes of MP4 call themselves (ISO/IEC 23008-12, AVIF)."""

_ANIMATIONS: Final = (b"GIF87a", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PICTURES: Final = re.compile(
    rb"\xff\xd8\xff"  # JPEG
    rb"|P[1-6fF]\s+[\d#]"  # PBM, PGM, PPM, PFM
    rb"|BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0",  # BMP, with the sizes that its header has had
    re.DOTALL,
)
_VIDEOS: Final = re.compile(
    rb"\x1aE\xdf\xa3"  # Matroska, WebM
    rb"|RIFF....AVI (?:LIST|JUNK)|RF64....AVI "
    rb"|FLV\x01|OggS|\.RMF|DKIF|YUV4MPEG2 |nut/multimedia"
    rb"|\x30\x26\xb2\x75\x8e\x66\xcf\x11"  # ASF: WMV
    rb"|\x1f\x07\x00"  # DV
    rb"|\0\0\x01[\xba\xb3\xb0\xb5\xe0-\xef]"  # MPEG program stream, MPEG-1, -2 and -4 video
    rb"|\0{2,3}\x01(?:[\x09\x27\x47\x67]|[\x40\x42\x44\x46]\x01)"  # H.264 and HEVC between start codes
    rb"|\x12\0\x0a"  # AV1
    rb"|....mdat|[\0-\x1f]...(?:moov|wide|free|skip|pnot)",  # QuickTime before it began with its type
    re.DOTALL,
)
_MXF_PARTITION: Final = b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02\x01\x01\x02"
_JSON: Final = re.compile(rb'\s*(?:\{\s*["}]|\[\s*(?:[\]{\["\d-]|true|false|null))')
_OTHERS: Final = {
    b"PK\x03\x04": "a zip archive; unpack it",
    b"\x1f\x8b": "a gzip archive; unpack it",
    b"BZh": "a bzip2 archive; unpack it",
    b"\xfd7zXZ": "an xz archive; unpack it",
    b"\x28\xb5\x2f\xfd": "a zstd archive; unpack it",
    b"7z\xbc\xaf": "a 7-zip archive; unpack it",
    b"Rar!": "a rar archive; unpack it",
    b"%PDF": "a PDF",
    b"ID3": "sound",
    b"fLaC": "sound",
    b"RIFF": "sound, or damaged",
    b"PAR1": "a Parquet table",
    b"\x89HDF": "HDF5",
    b"\xff\x0a": "JPEG XL; convert it to PNG",
    b"\0\0\0\x0cJXL ": "JPEG XL; convert it to PNG",
    b"\0\0\0\x0cjP  ": "JPEG 2000; convert it to PNG",
    b"\0\0\1\0": "an icon",
    b"<": "a page of HTML, SVG or XML",
}
"""What else lies among pictures, to be named in the report."""


def tell_kind(source: Path | TarMember) -> MediaKind:
    """What a file holds, by its content.

    Raises UnusableError for what is none of these, and for what cannot be read: an empty file, a pipe, a
    link that leads nowhere.
    """
    with open_file(source) as file:
        try:
            return _tell_kind(file, file.read(_HEAD_BYTES))
        except OSError as error:
            raise UnusableError("unreadable", error.strerror or str(error)) from error


def open_file(source: Path | TarMember) -> BinaryIO:
    """Open a regular file, or one in a tar, to read.

    Raises UnusableError for anything else, and never waits for a pipe.
    """
    path = source.tar if isinstance(source, TarMember) else source
    try:
        if not path.is_file():
            raise UnusableError(
                "unreadable", "not a regular file" if path.exists() else "the link leads nowhere"
            )
        return open_member(source) if isinstance(source, TarMember) else path.open("rb")
    except OSError as error:
        raise UnusableError("unreadable", error.strerror or str(error)) from error


def _tell_kind(file: BinaryIO, head: bytes) -> MediaKind:
    if not head:
        raise UnusableError("empty file", "0 bytes")
    if head[257:262] == b"ustar" and is_tar(head):  # first: it begins with a name, which may be anything
        return "tar"
    if head[4:8] == b"ftyp":
        return _tell_iso_media(file, head)
    if head.startswith(_ANIMATIONS) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return "animation" if len(read_frame_times(file, limit=2).numbers) > 1 else "picture"
    if _PICTURES.match(head):
        return "picture"
    if _VIDEOS.match(head) or _is_transport_stream(head) or _MXF_PARTITION in head:
        return "video"
    return _tell_data(head)


def _tell_iso_media(file: BinaryIO, head: bytes) -> MediaKind:
    """Of a file in boxes: MP4, QuickTime, HEIF, AVIF."""
    major = head[8:12]
    if major in (b"crx ", b"jxl "):
        raise _unusable("it looks like a camera's raw picture or JPEG XL; convert it to PNG")
    if major not in HEIF_BRANDS:
        return "video"
    minor = head[16 : min(int.from_bytes(head[:4], "big"), 256)]
    brands = {major, *(minor[at : at + 4] for at in range(0, len(minor), 4))}
    # A sequence lies in a track, as films do, and is read as they are.
    return "video" if brands & _SEQUENCE_BRANDS and _has_track(file) else "picture"


def _has_track(file: BinaryIO) -> bool:
    at = 0
    for _ in range(_MAX_BOXES):
        file.seek(at)
        header = file.read(16)
        size = int.from_bytes(header[:4], "big")
        if header[4:8] == b"moov":
            return True
        size = int.from_bytes(header[8:], "big") if size == 1 else size
        if size < 8:
            break
        at += size
    return False


def _is_transport_stream(head: bytes) -> bool:
    """Packets of 188 bytes that begin with 0x47; some recorders put 4 bytes before each or 16 after it."""
    return any(
        head[start] == 0x47
        and len(packets := head[start : start + 5 * size : size]) >= 3
        and set(packets) == {0x47}
        for size in (188, 192, 204)
        for start in range(min(size, len(head)))
    )


def _tell_data(head: bytes) -> MediaKind:
    if head.startswith(b"\x93NUMPY"):
        return "annotations"
    # An npz is a zip of npy files; the name of the first is at byte 30.
    if head.startswith(b"PK\x03\x04") and head[30 : 30 + head[26]].endswith(b".npy"):
        return "annotations"
    if _JSON.match(head.removeprefix(b"\xef\xbb\xbf")):
        return "annotations"
    if is_tar(head):  # of before 1988, without a signature
        return "tar"
    raise _unusable(_describe(head))


def _describe(head: bytes) -> str:
    for signature, name in _OTHERS.items():
        if head.startswith(signature):
            return f"it looks like {name}"
    if head[257:262] == b"ustar":
        return "it looks like a tar archive whose first header is damaged; get it again"
    if not head.strip(b"\0"):
        return "it begins with zeros"
    try:
        head[:1000].decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < 990:
            return f"it begins with the bytes {head[:8].hex(' ')}"
    return "it looks like text"


def _unusable(detail: str) -> UnusableError:
    return UnusableError(NO_PICTURE, detail)

"""Decoding and encoding pictures."""

import io
import os
import warnings
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin, UnidentifiedImageError

from handsim.decoding.metadata import (
    JPEG_START,
    MISSING_SHARE,
    PNG_START,
    mend,
    mend_png,
    orientation_of,
    take_jpeg_metadata,
)
from handsim.decoding.rgb import as_rgb, scale_to_8_bits, to_rgb, turn_upright
from handsim.decoding.tiff import HEIGHT, WIDTH, read_directories
from handsim.errors import Remark, UnusableError
from handsim.geometry import cut_crop
from handsim.media import HEIF_BRANDS, open_file
from handsim.processes import quiet_stderr
from handsim.tars import TarMember

MAX_PIXELS: Final = 100_000_000
"""Larger pictures are refused before they are decoded: scans or attacks, not photographs of hands. JPEGs can
be decoded at a fraction of their size, so they may be larger."""
_MAX_JPEG_PIXELS: Final = 1_100_000_000
_MAX_PROGRESSIVE_PIXELS: Final = 150_000_000
"""All coefficients of a progressive JPEG are in memory at once, at up to 6 bytes a pixel."""
MAX_FILE_BYTES: Final = 1 << 29

CROP_JPEG_QUALITY: Final = 90

_FORMATS: Final = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF", "PPM")
"""What cameras and datasets write. Some other formats of Pillow hold further pictures, or start programs."""
DAMAGED: Final = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    RuntimeError,
    EOFError,
    Image.DecompressionBombError,
)
"""What readers raise for damaged data: each format has its own."""
_JPEG_END: Final = b"\xff\xd9"
_RESTART_INTERVAL: Final = b"\xff\xdd\0\4"


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture."""

    pixels: NDArray[np.uint8]
    """RGB [H, W, 3], upright."""
    scale: float = 1.0
    """Decoded pixels per pixel of the picture: 1, or 1/2, 1/4, 1/8 for a huge JPEG."""
    remarks: tuple[Remark, ...] = ()
    """What is wrong with the file, which was used all the same."""


def read_file(source: Path | TarMember) -> bytes:
    """The bytes of a regular file, or of one in a tar.

    Raises UnusableError for anything else, and over `MAX_FILE_BYTES`.
    """
    with open_file(source) as file:
        size = source.size if isinstance(source, TarMember) else os.fstat(file.fileno()).st_size
        if size > MAX_FILE_BYTES:
            limit = f"the limit for pictures is {MAX_FILE_BYTES >> 20:,} MB"
            raise UnusableError("file too large", f"{size >> 20:,} MB; {limit}")
        try:
            data = file.read()
        except OSError as error:
            raise UnusableError("unreadable", error.strerror or str(error)) from error
    if not data:
        raise UnusableError("empty file", "0 bytes")
    if len(data) < size and isinstance(source, TarMember):
        raise UnusableError("truncated tar", f"it ends {size - len(data):,} bytes too early")
    return data


def decode_image(data: bytes) -> NDArray[np.uint8]:
    """The pixels of `decode_picture`."""
    return decode_picture(data).pixels


def decode_picture(source: bytes | Path) -> Picture:
    """A picture as 8-bit RGB, upright, of any format, depth and palette; the first frame of an animation.

    What is wrong beside the pixels, or with the last of them, is remarked. A JPEG of over `MAX_PIXELS` pixels
    is decoded at a fraction of its size. Raises UnusableError for what is no picture, is damaged, lacks more
    than a hundredth of its pixels, or is too large.
    """
    data = read_file(source) if isinstance(source, Path) else source
    with warnings.catch_warnings():
        # Pillow warns of what is damaged and of sizes that are below our bound; both are dealt with here.
        warnings.simplefilter("ignore")
        if data.startswith(JPEG_START):
            return _decode_jpeg(data)
        if data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS and b"avi" not in data[8 : 8 + data[3]]:
            return _decode_heif(data)  # AVIF is Pillow's
        return _decode_or_mend(data)


def _decode_jpeg(data: bytes) -> Picture:
    data, orientation = take_jpeg_metadata(data)
    if data.endswith(bytes(16)):
        data = data.rstrip(b"\0")  # a download that broke off, in the room that was made for it
    remarks: tuple[Remark, ...] = ()
    try:
        pixels, scale = _decode_jpeg_pixels(data)
    except UnusableError as error:
        if error.reason != "truncated image":
            raise
        pixels, scale = _decode_jpeg_pixels(data + _JPEG_END)
        missing = _missing_share(data, pixels, scale)
        if missing > MISSING_SHARE:
            raise UnusableError(
                "truncated image", "more than a hundredth of its pixels is missing"
            ) from error
        remarks = (Remark("no end marker", "the last pixels are missing, too" if missing else ""),)
    return Picture(turn_upright(pixels, orientation), scale, remarks)


def _decode_jpeg_pixels(data: bytes) -> tuple[NDArray[np.uint8], float]:
    """RGB as stored, and the scale at which it was decoded."""
    try:
        # Not by Image.open, which refuses large pictures, and reads the other pictures of stereo cameras.
        with JpegImagePlugin.JpegImageFile(io.BytesIO(data)) as image:
            pixels = image.width * image.height
            limit = _MAX_PROGRESSIVE_PIXELS if image.info.get("progressive") else _MAX_JPEG_PIXELS
            if pixels > limit:
                raise _too_large(pixels, limit)
            scale = 1
            while pixels > MAX_PIXELS * scale**2:
                scale *= 2
            if scale > 1:
                image.draft(image.mode, (image.width // scale, image.height // scale))
            return to_rgb(image), 1 / scale
    except DAMAGED as error:
        raise _damaged(error) from error


def _missing_share(data: bytes, pixels: NDArray[np.uint8], scale: float) -> float:
    """How much of a JPEG without its end depends on what is read behind it, as far as it is a few percent.

    Where data end, the decoder fills up with grey in silence; behind the last block it passes over further
    bytes. So whatever comes out differently with noise at the end was not in the file.
    """
    noise, area = bytes(range(1, 255)), round(pixels[..., 0].size / scale**2)
    tail = [data, noise * (area // 6400 + 1)]
    at = data.find(_RESTART_INTERVAL)
    if at >= 0 and (blocks := int.from_bytes(data[at + 4 : at + 6], "big")):
        # Between restart markers are so many blocks, of at least 64 pixels: noise for two hundredths of all.
        between = noise * (min(blocks, area // 6400) + 1)
        tail += [bytes((0xFF, 0xD0 + n % 8)) + between for n in range(area // (3200 * blocks) + 8)]
    others, _ = _decode_jpeg_pixels(b"".join((*tail, _JPEG_END)))
    return float((others != pixels).any(axis=2).mean())


def _decode_or_mend(data: bytes) -> Picture:
    """In any format but JPEG and HEIF."""
    remarks: tuple[Remark, ...] = ()
    if data.startswith(PNG_START) and data.rfind(b"IEND") < 0:
        remarks = (Remark("no end marker"),)
    try:
        return Picture(_decode(data), remarks=remarks)
    except UnusableError as error:
        mended = None if error.reason == "too many pixels" else mend(data)
        if mended is None:
            raise
        return Picture(_decode(mended), remarks=remarks or (Remark("damaged metadata", error.detail),))


def _decode(data: bytes) -> NDArray[np.uint8]:
    """RGB, upright."""
    is_tiff = data.startswith((b"II", b"MM"))
    if is_tiff:
        _check_tiff(data)
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except UnidentifiedImageError as error:
        if is_tiff:
            return _decode_by_opencv(data)
        raise UnusableError("not an image", "no picture format is recognised") from error
    except Image.DecompressionBombError as error:
        raise UnusableError("too many pixels", f"the limit is {MAX_PIXELS / 1e6:.0f} megapixels") from error
    except DAMAGED as error:
        raise _damaged(error) from error
    with image:
        if image.width * image.height > MAX_PIXELS:
            raise _too_large(image.width * image.height, MAX_PIXELS)
        try:
            if _is_deep_colour(image):
                if is_tiff:
                    return _decode_by_opencv(data)  # turned as it asks
                image.load()  # of damage OpenCV prints: so Pillow looks first, and it is written anew
                pixels = _decode_by_opencv(mend_png(data) or data)
                return turn_upright(pixels, orientation_of(image.info))
            with quiet_stderr() if is_tiff else nullcontext():  # libtiff prints
                pixels = to_rgb(image)
        except DAMAGED as error:
            raise _damaged(error) from error
        return turn_upright(pixels, orientation_of(image.info))


def _decode_heif(data: bytes) -> Picture:
    import pillow_heif  # takes time to load, and few pictures need it

    try:
        file = pillow_heif.open_heif(data)
        if file.size[0] * file.size[1] > MAX_PIXELS:
            raise _too_large(file.size[0] * file.size[1], MAX_PIXELS)
        # It is turned as its boxes say; its EXIF says so again.
        pixels = to_rgb(file.to_pillow())
    except DAMAGED as error:
        raise _damaged(error) from error
    others = len(file) - 1
    further = Remark("further pictures", "only the main one is used", others)
    return Picture(pixels, remarks=(further,) if others else ())


def _check_tiff(data: bytes) -> None:
    """Raise UnusableError for a TIFF with which a decoder would do any amount of work."""
    directory = next(read_directories(io.BytesIO(data)), None)
    if directory is None or not directory.is_sound:
        raise UnusableError("corrupt image", "its tags are damaged")
    pixels = directory.values.get(WIDTH, 0) * directory.values.get(HEIGHT, 0)
    if pixels > MAX_PIXELS:
        raise _too_large(pixels, MAX_PIXELS)


def _is_deep_colour(image: Image.Image) -> bool:
    """Whether Pillow would read only the upper half of each 16 bits."""
    is_colour = image.mode in ("RGB", "RGBA", "RGBX", "LA")
    return is_colour and any(";16" in str(tile.args) for tile in getattr(image, "tile", ()))


def _decode_by_opencv(data: bytes) -> NDArray[np.uint8]:
    """RGB of what Pillow reads at 8 bits or not at all: colours of 16 or 32 bits, or of floating point."""
    import cv2  # takes time to load, and few pictures need it

    before = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        samples = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise UnusableError("corrupt image", str(error.err)) from error
    finally:
        cv2.utils.logging.setLogLevel(before)
    if samples is None:
        raise UnusableError("corrupt image", "no decoder reads it")
    if samples.ndim == 2:
        return as_rgb(scale_to_8_bits(samples))
    colours = scale_to_8_bits(samples[:, :, 2::-1])
    # How opaque a pixel is has a range of its own.
    alpha = [scale_to_8_bits(samples[:, :, 3])] if samples.shape[2] == 4 else []
    return as_rgb(np.dstack([colours, *alpha]) if alpha else colours)


def _too_large(pixels: int, limit: int) -> UnusableError:
    return UnusableError("too many pixels", f"{pixels / 1e6:.0f} megapixels, the limit is {limit / 1e6:.0f}")


def _damaged(error: Exception) -> UnusableError:
    if isinstance(error, UnusableError):
        return error
    reason = "truncated image" if "truncated" in str(error).lower() else "corrupt image"
    detail = " ".join(str(error).split())
    return UnusableError(reason, "its header is damaged" if "by this driver" in detail else detail)


def encode_jpeg(image: NDArray[np.uint8]) -> bytes:
    """JPEG bytes of RGB [H, W, 3], as crops are stored."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=CROP_JPEG_QUALITY)
    return buffer.getvalue()


def mirror_jpeg(jpeg: bytes) -> bytes:
    """A crop that `encode_jpeg` made, flipped left to right.

    Its blocks lie as they did, so that little is lost: 0.2 to 1 dB on five photographs, against a crop that
    was flipped before it was encoded.
    """
    return encode_jpeg(decode_image(jpeg)[:, ::-1])


def encode_crop(image: NDArray[np.uint8], square_px: NDArray[np.float64], *, mirrored: bool) -> bytes:
    """JPEG of a square [4] of a picture, as the pool stores it: mirrored for what looks like a left hand."""
    crop = cut_crop(image, square_px)
    return encode_jpeg(crop[:, ::-1] if mirrored else crop)

"""Decoding and encoding pictures."""

import io
import warnings
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from handsim.errors import UnusableError
from handsim.geometry import cut_crop
from handsim.hand import Side

MAX_PIXELS: Final = 100_000_000
"""Larger pictures are refused before they are decoded: scans or attacks, not photographs of hands."""

CROP_JPEG_QUALITY: Final = 90

_FORMATS: Final = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF", "PPM")
"""What cameras and datasets write. Some other formats of Pillow hold further pictures, or start programs."""
_DAMAGED: Final = (OSError, SyntaxError, ValueError, IndexError, RuntimeError)
"""What Pillow's readers raise for damaged data: each format has its own."""


def read_file(path: Path) -> bytes:
    """The bytes of a regular file; raises UnusableError for anything else."""
    try:
        if not path.is_file():
            raise UnusableError(
                "unreadable", "not a regular file" if path.exists() else "the link leads nowhere"
            )
        data = path.read_bytes()
    except OSError as error:
        raise UnusableError("unreadable", error.strerror or str(error)) from error
    if not data:
        raise UnusableError("empty file", "0 bytes")
    return data


def decode_image(data: bytes) -> NDArray[np.uint8]:
    """RGB [H, W, 3] of an encoded picture, turned upright as its EXIF asks; the first frame of an animation.

    Raises UnusableError for what is no picture, is damaged, or has over `MAX_PIXELS` pixels.
    """
    with warnings.catch_warnings():
        # Pillow's own bomb check warns at a lower bound than ours; the size is checked just below.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            image = Image.open(io.BytesIO(data), formats=_FORMATS)
        except UnidentifiedImageError as error:
            raise UnusableError("not an image", "no picture format is recognised") from error
        except Image.DecompressionBombError as error:
            raise UnusableError(
                "too many pixels", f"the limit is {MAX_PIXELS / 1e6:.0f} megapixels"
            ) from error
        except _DAMAGED as error:
            raise _damaged(error) from error
    with image:
        pixels = image.width * image.height
        if pixels > MAX_PIXELS:
            raise UnusableError(
                "too many pixels", f"{pixels / 1e6:.0f} megapixels, the limit is {MAX_PIXELS / 1e6:.0f}"
            )
        try:
            # A picture that is upright RGB is not copied: that takes half as long as decoding it.
            ImageOps.exif_transpose(image, in_place=True)
            return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
        except _DAMAGED as error:
            raise _damaged(error) from error


def _damaged(error: Exception) -> UnusableError:
    reason = "truncated image" if "truncated" in str(error).lower() else "corrupt image"
    return UnusableError(reason, str(error))


def encode_jpeg(image: NDArray[np.uint8]) -> bytes:
    """JPEG bytes of RGB [H, W, 3], as crops are stored."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=CROP_JPEG_QUALITY)
    return buffer.getvalue()


def encode_crop(image: NDArray[np.uint8], square_px: NDArray[np.float64], side: Side) -> bytes:
    """JPEG of a square [4] of a picture, as the pool stores it: mirrored for a left hand."""
    crop = cut_crop(image, square_px)
    return encode_jpeg(crop[:, ::-1] if side == "left" else crop)

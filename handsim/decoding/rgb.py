"""8-bit RGB of pictures of every mode, sample type and orientation."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

GROUND: Final = 128
"""What is transparent shows mid grey: neither dark hands nor light ones lose their outline on it."""


def to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """RGB [H, W, 3] of a picture of any of Pillow's modes; it is read if it was not yet."""
    image.load()
    if image.has_transparency_data and not image.mode.startswith("I"):
        rgba = image if image.mode == "RGBA" else image.convert("RGBA")
        ground = Image.new("RGB", image.size, (GROUND, GROUND, GROUND))
        ground.paste(rgba, mask=rgba.getchannel("A"))
        return np.asarray(ground)
    if image.mode == "F" or image.mode.startswith("I"):
        return as_rgb(scale_to_8_bits(np.asarray(image)))
    # A picture that is RGB is not copied: that takes half as long as decoding it.
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def scale_to_8_bits(samples: NDArray[Any]) -> NDArray[np.uint8]:
    """Samples of any type and shape as 0 to 255, by what they hold.

    Whole numbers: white is the smallest 2^n - 1 (n at least 8) that covers the largest, so that 12 bits in 16
    are right. Fractions: 0 to 1 where they lie there, else from the least to the largest finite one; NaN is
    black. Where a number is negative, black is the least.
    """
    if samples.dtype == np.uint8:
        return samples
    low, high = _range(samples)
    scaled = np.empty(samples.shape, np.uint8)
    # Row by row: a whole picture of float64 would take eight times as much memory as it does.
    for row, target in zip(samples, scaled, strict=True):
        values = np.nan_to_num(row.astype(np.float64), nan=low) - low
        target[...] = np.clip(values * (255.999 / max(high - low, 1e-300)), 0, 255)
    return scaled


def _range(samples: NDArray[Any]) -> tuple[float, float]:
    """The samples that are black and white."""
    if samples.dtype.kind in "ui":
        least = min(int(samples.min()), 0)
        return least, least + 2 ** max(8, (int(samples.max()) - least).bit_length()) - 1
    finite = samples[np.isfinite(samples)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)


def as_rgb(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB [H, W, 3] of grey [H, W], RGB or RGBA."""
    return to_rgb(Image.fromarray(pixels)) if pixels.shape[2:] != (3,) else pixels


def turn_upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """What EXIF's orientation (1 to 8) asks for, of an image [H, W, 3]."""
    if orientation == 1:
        return pixels
    import cv2  # ten times as fast as numpy or Pillow, but slow to load

    turned: cv2.typing.MatLike = cv2.transpose(pixels) if orientation >= 5 else pixels
    if orientation in (2, 3, 6, 7):
        turned = cv2.flip(turned, 1)
    if orientation in (3, 4, 7, 8):
        turned = cv2.flip(turned, 0)
    return turned.astype(np.uint8, copy=False)

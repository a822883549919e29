"""How a video's frames are to be shown: the display matrix, and pixels that are not square.

A display matrix has 9 signed integers (FFmpeg's ``AV_FRAME_DATA_DISPLAYMATRIX``; in MP4 the box ``tkhd``). Of
its rows (a b u), (c d v), (x y w) only a to d matter: the stored pixel (p, q), x right and y down, is shown
at (a p + c q, b p + d q). Pixels are made square before the matrix is applied.
"""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, cast

import numpy as np
from av.sidedata.sidedata import SideDataContainer, Type
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from handsim.errors import Remark

_TOLERANCE_DEG: Final = 1.0
"""A matrix this near a right angle is one, rounded."""
_MAX_ASPECT: Final = 10
"""Wider or taller pixels are a mistake in the header; anamorphic film has 2."""


@dataclass(frozen=True)
class Orientation:
    """A display matrix as what numpy can do: first mirror left and right, then turn."""

    is_mirrored: bool = False
    quarter_turns: int = 0
    """Counter-clockwise, as `numpy.rot90` counts."""
    off_deg: float = 0.0
    """By how much the matrix turns further, clockwise; it is ignored."""

    def apply(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The image [H, W, 3] as it is to be shown."""
        mirrored = image[:, ::-1] if self.is_mirrored else image
        return np.ascontiguousarray(np.rot90(mirrored, self.quarter_turns))


def read_orientation(frame: VideoFrame) -> Orientation:
    """The orientation of a frame; the container's matrix comes before that in the frame itself."""
    try:
        for data in cast(SideDataContainer, frame.side_data):
            if data.type == Type.DISPLAYMATRIX:
                return orientation_of_matrix(struct.unpack("=9i", bytes(data)[:36]))
    except ValueError:  # data of a kind that PyAV does not know; the angle is read past it
        return Orientation(quarter_turns=round(frame.rotation / 90) % 4)
    return Orientation()


def orientation_of_matrix(matrix: tuple[int, ...]) -> Orientation:
    """The nearest of the eight orientations at right angles; a matrix that shows nothing turns nothing."""
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    determinant = a * d - b * c
    if determinant == 0:
        return Orientation()
    if determinant < 0:
        a, b = -a, -b
    clockwise_deg = math.degrees(math.atan2(b - c, a + d))
    turns = round(clockwise_deg / 90)
    return Orientation(determinant < 0, -turns % 4, clockwise_deg - 90 * turns)


def display_size(width: int, height: int, pixel_aspect: Fraction | None) -> tuple[int, int]:
    """Width and height in square pixels: the smaller one grows, so no pixel is lost.

    ``pixel_aspect`` is the width of a pixel by its height; None, and one that is beyond belief, is 1.
    """
    if pixel_aspect is None or not _is_sensible(pixel_aspect):
        return width, height
    if pixel_aspect > 1:
        return round(width * pixel_aspect), height
    return width, round(height / pixel_aspect)


class FrameRenderer:
    """Renders the frames of one video as they are to be shown: RGB, square pixels, upright."""

    def __init__(self, pixel_aspect: Fraction | None) -> None:
        self._pixel_aspect = pixel_aspect
        self._orientation = Orientation()
        self._rotation: int | None = None

    def render(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """[H, W, 3] of a frame."""
        # A frame whose side data was asked for lives until the next garbage collection, with its buffers. So
        # that is done once, and where the angle changes.
        if frame.rotation != self._rotation:
            self._rotation, self._orientation = frame.rotation, read_orientation(frame)
        size = display_size(frame.width, frame.height, self._pixel_aspect)
        if size != (frame.width, frame.height):
            frame = frame.reformat(*size, format="rgb24", interpolation="BICUBIC")
        return self._orientation.apply(frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False))

    def remarks(self) -> Iterator[Remark]:
        """What the header asks for and is not done, once a frame was rendered."""
        if abs(self._orientation.off_deg) > _TOLERANCE_DEG:
            off_deg = self._orientation.off_deg
            yield Remark("slanted video", f"shown {abs(off_deg):.0f} degrees from what its header says")
        if (aspect := self._pixel_aspect) is not None and not _is_sensible(aspect):
            line = f"{aspect.numerator}:{aspect.denominator} in the header; taken as 1:1"
            yield Remark("odd pixel aspect ratio", line)


def _is_sensible(pixel_aspect: Fraction) -> bool:
    return Fraction(1, _MAX_ASPECT) <= pixel_aspect <= _MAX_ASPECT

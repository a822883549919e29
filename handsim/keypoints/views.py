"""Other ways to look at a picture in which nothing was found, each with the way back to its pixels."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from handsim.geometry import apply_affine, invert_affine

PAD_FRACTION = 0.3
TILE_MIN_PX = 160
"""Tiles smaller than this would be enlarged beyond what the palm detector (192 px) can gain from."""
TILE_FRACTIONS = (0.6, 0.4)
TILE_OVERLAP = 0.5


@dataclass(frozen=True, eq=False)
class View:
    """A picture made from another one."""

    image: NDArray[np.uint8]
    """[H, W, 3]"""
    to_picture: NDArray[np.float64]
    """Affine [2, 3] from the view's pixels to the original's; a rotation, one scale and a shift."""

    def keypoints_in_picture(self, keypoints_px: NDArray[np.float32]) -> NDArray[np.float32]:
        """Keypoints [21, 3] of the view in pixels of the original; z is scaled as x and y are."""
        mapped = apply_affine(self.to_picture, keypoints_px.astype(np.float64))
        mapped[:, 2] *= np.sqrt(abs(np.linalg.det(self.to_picture[:, :2])))
        return mapped.astype(np.float32)


def padded(image: NDArray[np.uint8], fraction: float = PAD_FRACTION) -> Iterator[View]:
    """The picture with a margin of ``fraction`` of its longer side, made of its edge pixels repeated."""
    margin = max(1, round(fraction * max(image.shape[:2])))
    wider = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    yield View(wider, _shift(-margin, -margin))


def enlarged(image: NDArray[np.uint8]) -> Iterator[View]:
    """Overlapping square tiles, coarse ones first: what is small in a large picture is large in a tile.

    Pictures whose tiles would be under ``TILE_MIN_PX`` have no small hands to find and give fewer or none.
    """
    height, width = image.shape[:2]
    for fraction in TILE_FRACTIONS:
        side = round(fraction * max(height, width))
        if side < TILE_MIN_PX:
            return
        for top in _starts(height, side):
            for left in _starts(width, side):
                yield View(image[top : top + side, left : left + side], _shift(left, top))


def turned(image: NDArray[np.uint8]) -> Iterator[View]:
    """The picture turned by a quarter, three quarters and a half; no pixel is resampled."""
    height, width = image.shape[:2]
    yield View(np.rot90(image, 1), np.array([[0.0, -1.0, width], [1.0, 0.0, 0.0]]))
    yield View(np.rot90(image, 3), np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, height]]))
    yield View(np.rot90(image, 2), np.array([[-1.0, 0.0, width], [0.0, -1.0, height]]))


def tilted(image: NDArray[np.uint8], angle_deg: float) -> View:
    """The picture turned clockwise by ``angle_deg`` about its centre on a canvas that holds all of it."""
    height, width = image.shape[:2]
    angle = np.deg2rad(angle_deg)
    cos, sin = np.cos(angle), np.sin(angle)
    size = np.ceil([abs(width * cos) + abs(height * sin), abs(width * sin) + abs(height * cos)]).astype(int)
    linear = np.array([[cos, sin], [-sin, cos]])  # the view's axes turned back
    shift = np.array([width, height]) / 2 - linear @ (size / 2)
    to_picture = np.concatenate([linear, shift[:, None]], axis=1)
    return View(resampled(image, to_picture, int(size[0]), int(size[1])), to_picture)


def resampled(
    image: NDArray[np.uint8], to_picture: NDArray[np.float64], width: int, height: int
) -> NDArray[np.uint8]:
    return np.asarray(
        Image.fromarray(image).transform(
            (width, height), Image.Transform.AFFINE, tuple(to_picture.ravel()), Image.Resampling.BILINEAR
        )
    )


def _shift(x: float, y: float) -> NDArray[np.float64]:
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y]])


def _starts(length: int, side: int) -> list[int]:
    """Where tiles of ``side`` begin so that they cover ``length`` and overlap by at least TILE_OVERLAP."""
    if length <= side:
        return [0]
    count = 1 + int(np.ceil((length - side) / (side * (1 - TILE_OVERLAP))))
    return [int(start) for start in np.linspace(0, length - side, count).round()]

"""The square around a hand, cut out of its picture once."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handsim.geometry import apply_affine, box_around, crop_affine, cut_crop, square_around
from training.datasets.record import LabelledHand

_LEAST_EXTENT_PX = 1.0
"""Joints closer together than this tell no size of a hand."""


@dataclass(frozen=True)
class CropSettings:
    """How much of a picture a crop shows, and how finely."""

    factor: float
    """Side of the square, in longer sides of the box around the annotated 2D joints (DetNet: 1.75)."""
    size_px: int
    """Side of the crop."""


@dataclass(frozen=True, eq=False)
class CroppedHand:
    """A hand in its crop."""

    crop: NDArray[np.uint8]
    """[S, S, 3] RGB."""
    square_px: NDArray[np.float64]
    """[4] which part of the picture it is; it may reach outside, where edge pixels are repeated."""
    keypoints: NDArray[np.float32]
    """[21, 2] in the crop's unit square; the mean of the valid ones where not ``valid``, else 0.5."""


def hand_square(
    keypoints_px: NDArray[np.floating], valid: NDArray[np.bool_], size_px: tuple[int, int], factor: float
) -> NDArray[np.float64]:
    """The square [4] around the valid ones of 2D joints [21, 2], in pixels of a picture (width, height).

    It has the centre of their box and ``factor`` times its longer side. Without two valid joints apart from
    each other it is the square around the whole picture.
    """
    points = keypoints_px[valid]
    if len(points):
        box = box_around(points)
        if (box[2:] - box[:2]).max() >= _LEAST_EXTENT_PX:
            # A box of straight fingers may have no width; its square only asks for the longer side.
            widening = np.where(box[2:] - box[:2] < _LEAST_EXTENT_PX, _LEAST_EXTENT_PX / 2, 0)
            return square_around(np.concatenate([box[:2] - widening, box[2:] + widening]), factor)
    return square_around((0, 0, *size_px), 1.0)


def cut_hand(hand: LabelledHand, settings: CropSettings) -> CroppedHand:
    """Cut a hand out of its picture."""
    square = hand_square(hand.keypoints_2d_px, hand.valid, hand.size_px, settings.factor)
    inside = apply_affine(crop_affine(square, size=1.0), hand.keypoints_2d_px.astype(np.float64))
    middle = inside[hand.valid].mean(axis=0) if hand.valid.any() else np.full(2, 0.5)
    keypoints = np.where(hand.valid[:, None], inside, middle).astype(np.float32)
    return CroppedHand(cut_crop(hand.image, square, settings.size_px), square, keypoints)

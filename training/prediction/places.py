"""Where hands are in a picture, before an estimator looks at them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from handsim.errors import HandsimError
from handsim.geometry import square_around
from handsim.hand import Side
from handsim.keypoints.detector import Detection
from training.finetune.inference import Inference


@dataclass(frozen=True, eq=False)
class HandPlace:
    """A hand's place in a picture; nothing is mirrored."""

    side: Side
    """The subject's own hand, as far as is known."""
    score: float | None
    """The detector's confidence, 0 to 1; None where no detector was asked."""
    box_px: NDArray[np.float64]
    """[4] x0, y0, x1, y1: tight around the hand, or the whole picture."""
    square_px: NDArray[np.float64]
    """[4] what the estimator sees; it may reach outside the picture, where edge pixels are repeated."""


def place_of_detection(found: Detection, size_px: tuple[int, int], inference: Inference) -> HandPlace:
    """That of a detected hand in a picture (width, height), cut as in training: around its 2D joints."""
    square_px = inference.square(found.keypoints_px[:, :2], size_px)
    return HandPlace(found.side, found.score, found.box_px.astype(np.float64), square_px)


def place_of_box(box_px: ArrayLike, side: Side, size_px: tuple[int, int], inference: Inference) -> HandPlace:
    """That of a hand in a tight box [4]: the square as many times as long as the estimator is used to.

    Raises HandsimError for a box without extent, and for one that lies outside the picture.
    """
    box = np.asarray(box_px, np.float64)
    square_px = square_around(box, inference.crop.factor)
    if (box[:2] >= size_px).any() or (box[2:] <= 0).any():
        raise HandsimError(
            f"box {box.round(1).tolist()} lies outside the picture of {size_px[0]} x {size_px[1]} pixels; "
            "give x0,y0,x1,y1 in its pixels"
        )
    return HandPlace(side, None, box, square_px)


def whole_picture(side: Side, size_px: tuple[int, int]) -> HandPlace:
    """A picture that is a crop already, as cut for the estimator."""
    box = np.array([0.0, 0.0, *size_px])
    return HandPlace(side, None, box, square_around(box, 1.0))

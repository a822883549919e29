"""The hands of a picture, cut out and told as right hands: what is asked about in a query."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handsim.geometry import cut_crop
from handsim.hand import Side
from handsim.keypoints.crop import hand_in_crop
from handsim.keypoints.detector import HandDetector


@dataclass(frozen=True, eq=False)
class SeenHand:
    """One hand of a picture."""

    crop: NDArray[np.uint8]
    """RGB [S, S, 3], as a right hand."""
    keypoints: NDArray[np.float32]
    """[21, 3] in the crop's unit square, as a right hand."""
    side: Side
    """The subject's own."""
    score: float
    """The detector's confidence, 0 to 1."""
    box_px: NDArray[np.float32]
    """[4] x0, y0, x1, y1: tight around the keypoints, in the picture as it is."""


def seen_hands(image: NDArray[np.uint8], detector: HandDetector) -> list[SeenHand]:
    """The hands of a picture [H, W, 3] (RGB), best first; an empty list when there is none."""
    seen = []
    for found in detector.detect(image):
        square_px, keypoints = hand_in_crop(found)
        crop = cut_crop(image, square_px)
        upright = np.ascontiguousarray(crop[:, ::-1]) if found.side == "left" else crop
        seen.append(SeenHand(upright, keypoints, found.side, found.score, found.box_px))
    return seen

"""From a detection in a picture to a hand in its own square crop, always told as a right hand."""

import numpy as np
from numpy.typing import NDArray

from handsim.geometry import apply_affine, crop_affine, square_around
from handsim.keypoints.detector import Detection


def hand_in_crop(detection: Detection) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """The square [4] (float64, picture pixels) to cut and the keypoints [21, 3] (float32) in its unit square.

    The square is SiMHand's (`square_around` the tight box) and is always given unmirrored: cut it with
    `handsim.geometry.cut_crop`, then flip the crop left to right if the hand is a left one, as the keypoints
    here already are. z is in crop widths. Raises HandsimError for a hand without extent.
    """
    square_px = square_around(detection.box_px)
    to_crop = crop_affine(square_px, size=1.0, mirrored=detection.side == "left")
    keypoints = apply_affine(to_crop, detection.keypoints_px.astype(np.float64))
    keypoints[:, 2] /= square_px[2] - square_px[0]
    return square_px, keypoints.astype(np.float32)

"""Poses of hands in a picture as it is: left ones are mirrored on the way in, and back on the way out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handsim.geometry import mirror_points
from training.finetune.inference import Inference, Predictions
from training.prediction.places import HandPlace

_MIRROR = np.array([-1, 1, 1], np.float32)


@dataclass(frozen=True, eq=False)
class EstimatedHand:
    """A hand in its picture; a left one is told as a left one."""

    place: HandPlace
    """Where it was looked for."""
    keypoints_2d_px: NDArray[np.float32]
    """[21, 2] in the picture's pixels."""
    confidence: NDArray[np.float32]
    """[21] from 0 to 1."""
    joints_3d_mm: NDArray[np.float32]
    """[21, 3] relative to the wrist, in the camera's axes: x right, y down, z into the picture. As large as
    the mean hand of those that were trained on."""
    camera_3d_mm: NDArray[np.float32] | None
    """[21, 3] in the camera frame; None without the focal length."""


def estimate_hands(
    inference: Inference, image: NDArray[np.uint8], places: Sequence[HandPlace], focal_px: float | None = None
) -> list[EstimatedHand]:
    """Estimate the hands at ``places`` of a picture [H, W, 3] (RGB); none where there is no place.

    ``focal_px`` is the camera's focal length in the picture's pixels; its axis is taken to go through the
    picture's centre. Raises HandsimError where the estimator needs it and it is not given.
    """
    if not places:
        return []
    height, width = image.shape[:2]
    mirrored = np.ascontiguousarray(image[:, ::-1])
    squares = np.stack([_as_right(place, width) for place in places])
    intrinsics = None
    if focal_px is not None:
        # The centre is the mirrored picture's, too.
        k = np.array([[focal_px, 0, width / 2], [0, focal_px, height / 2], [0, 0, 1.0]])
        intrinsics = np.repeat(k[None], len(places), axis=0)
    pictures = [mirrored if place.side == "left" else image for place in places]
    said = inference.predict(pictures, squares, intrinsics)
    return [_as_seen(place, said, row, width) for row, place in enumerate(places)]


def _as_right(place: HandPlace, width: int) -> NDArray[np.float64]:
    x0, y0, x1, y1 = place.square_px
    return np.array([width - x1, y0, width - x0, y1]) if place.side == "left" else place.square_px


def _as_seen(place: HandPlace, said: Predictions, row: int, width: int) -> EstimatedHand:
    keypoints, joints = said.keypoints_2d_px[row], said.joints_3d_mm[row]
    camera = None if said.camera_3d_mm is None else said.camera_3d_mm[row]
    if place.side == "left":
        keypoints, joints = mirror_points(keypoints, width), joints * _MIRROR
        camera = None if camera is None else camera * _MIRROR
    return EstimatedHand(place, keypoints, said.confidence[row], joints, camera)

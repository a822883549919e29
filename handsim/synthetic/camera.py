"""The camera: how it looks at a hand, where joints fall in its picture, and the crop around them.

The camera frame is x right, y down, z into the picture, in millimetres. A hand with its palm to the camera
and its fingers up is turned by diag(1, -1, -1) from the hand frame (see `hand_model`).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.geometry import CROP_ENLARGEMENT
from handsim.skeleton import WRIST
from handsim.synthetic.config import Floats, ViewConfig
from handsim.synthetic.motion import smooth_noise

PALM_TO_CAMERA: Final = np.diag([1.0, -1.0, -1.0])


@dataclass(frozen=True, eq=False)
class View:
    """How one video sees its hand."""

    rotation: Floats
    """[frames, 3, 3] from the hand frame to the camera frame."""
    wrist_mm: Floats
    """[frames, 3] the wrist in the camera frame."""
    intrinsics: Floats
    """[3, 3] K of the whole picture, in pixels."""


def sample_view(rng: np.random.Generator, config: ViewConfig, frames: int) -> View:
    """Draw the view of a video: a camera, a direction to look from, and how both drift."""
    kind = rng.random()
    if kind < config.palm_share:
        turn = config.turn_deg * rng.standard_normal()
    elif kind < config.palm_share + config.back_share:
        turn = 180 + config.turn_deg * rng.standard_normal()
    else:
        turn = rng.uniform(0, 360)
    middle = np.array([turn, *(rng.standard_normal(2) * [config.tilt_deg, config.roll_deg])])
    turns = np.radians(middle + config.drift_deg * smooth_noise(rng, frames, 3, (12.0, 60.0)))
    rotation = _about("z", turns[:, 2]) @ _about("x", turns[:, 1]) @ _about("y", turns[:, 0]) @ PALM_TO_CAMERA
    width, height = config.picture_px
    focal = rng.uniform(*config.focal_px)
    intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    place = np.array([width, height]) * rng.uniform(0.3, 0.7, 2)
    place = place + 0.04 * width * smooth_noise(rng, frames, 2, (10.0, 50.0))
    depth = rng.uniform(*config.distance_mm) * (1 + 0.04 * smooth_noise(rng, frames, 1, (15.0, 60.0)))
    aside = (place - [width / 2, height / 2]) / focal * depth
    return View(rotation, np.concatenate([aside, depth], axis=1), intrinsics)


def project(points_mm: Floats, intrinsics: Floats) -> Floats:
    """Pixels [..., 2] of points [..., 3] in the camera frame; ``intrinsics`` is [..., 3, 3]."""
    homogeneous = points_mm @ np.swapaxes(intrinsics, -1, -2)
    pixels: Floats = homogeneous[..., :2] / homogeneous[..., 2:]
    return pixels


def squares_around(points_px: Floats, enlargement: float = CROP_ENLARGEMENT) -> Floats:
    """The crop squares [N, 4] of hands [N, 21, 2]: `geometry.square_around` for many at once."""
    low, high = points_px.min(axis=1), points_px.max(axis=1)
    half = (high - low).max(axis=1, keepdims=True) * enlargement / 2
    centre = (low + high) / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def crop_intrinsics(intrinsics: Floats, squares_px: Floats, size_px: float) -> Floats:
    """K [N, 3, 3] of crops [0, size_px], cut out of pictures of K ``intrinsics`` at ``squares_px`` [N, 4]."""
    scale = size_px / (squares_px[:, 2] - squares_px[:, 0])
    cropped = intrinsics.copy()
    cropped[:, :2, 2] -= squares_px[:, :2]
    cropped[:, :2] *= scale[:, None, None]
    return cropped


def unit_keypoints(joints_mm: Floats, intrinsics: Floats) -> NDArray[np.float32]:
    """Keypoints [N, 21, 3] as `Hand.keypoints` defines them, of joints [N, 21, 3] in the camera frame.

    ``intrinsics`` [N, 3, 3] are those of a crop that spans [0, 1]. A length that is a whole crop wide at
    the wrist's depth counts 1 in z too.
    """
    places = project(joints_mm, intrinsics)
    wrist_depth = joints_mm[:, WRIST, 2, None]
    focal = intrinsics[:, 0, 0, None]
    depth = (joints_mm[..., 2] - wrist_depth) * focal / wrist_depth
    return np.concatenate([places, depth[..., None]], axis=-1).astype(np.float32)


def _about(axis: str, angle: Floats) -> Floats:
    """Rotations [N, 3, 3] about the camera's x, y or z axis by ``angle`` [N] radians."""
    first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    rotation = np.tile(np.eye(3), (len(angle), 1, 1))
    rotation[:, first, first] = rotation[:, second, second] = np.cos(angle)
    rotation[:, first, second] = -np.sin(angle)
    rotation[:, second, first] = np.sin(angle)
    return rotation

"""An estimator of hand poses in use, whatever computes it: pictures in, hands in millimetres out.

Nothing here imports torch: an ONNX file is run without it. Joints come relative to the wrist; with K of the
picture, also in the camera frame (x right, y down, z into the picture).
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError
from handsim.geometry import box_around, cut_crop, square_around

_MIN_WEIGHT: Final = 1e-3
"""Of a joint with confidence 0, where a hand is placed in its camera."""
_MIN_EXTENT_PX: Final = 1.0
"""The size of a hand cannot be told from joints that are closer together."""


@dataclass(frozen=True)
class CropSettings:
    """How much of a picture a crop shows, and how finely."""

    factor: float
    """Side of the square, in longer sides of the box around the annotated 2D joints (DetNet: 1.75)."""
    size_px: int


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
        extent = box[2:] - box[:2]
        if extent.max() >= _MIN_EXTENT_PX:
            # A box of straight fingers may have no width, which `square_around` refuses.
            widening = np.where(extent < _MIN_EXTENT_PX, _MIN_EXTENT_PX / 2, 0)
            return square_around(np.concatenate([box[:2] - widening, box[2:] + widening]), factor)
    return square_around((0, 0, *size_px), 1.0)


@dataclass(frozen=True, eq=False)
class Predictions:
    """Estimates of N hands, all as right hands."""

    joints_3d_mm: NDArray[np.float32]
    """[N, 21, 3] relative to the wrist, in the camera's axes. Each hand has the size of the mean hand in
    training: a picture does not show how large a hand is."""
    keypoints_2d_px: NDArray[np.float32]
    """[N, 21, 2] in the picture's pixels."""
    confidence: NDArray[np.float32]
    """[N, 21] from 0 to 1."""
    camera_3d_mm: NDArray[np.float32] | None
    """[N, 21, 3] in the camera frame; None without K."""

    @classmethod
    def concatenate(cls, parts: Sequence["Predictions"]) -> "Predictions":
        """The hands of all parts, one part after the other."""
        cameras = [part.camera_3d_mm for part in parts if part.camera_3d_mm is not None]
        return cls(
            np.concatenate([part.joints_3d_mm for part in parts]),
            np.concatenate([part.keypoints_2d_px for part in parts]),
            np.concatenate([part.confidence for part in parts]),
            np.concatenate(cameras) if cameras else None,
        )


class PoseModel(ABC):
    """Estimates hands in their pictures; how its crops are estimated is a subclass's."""

    @property
    @abstractmethod
    def crop(self) -> CropSettings:
        """How to cut hands out of their pictures for it."""

    @property
    @abstractmethod
    def needs_camera(self) -> bool:
        """Whether a pose needs K."""

    @abstractmethod
    def estimate_crops(
        self,
        crops: NDArray[np.uint8],
        squares_px: NDArray[np.float64],
        intrinsics: NDArray[np.float64] | None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Keypoints [B, 21, 2] in the unit square, joints [B, 21, 3] in mm and confidences [B, 21] of crops.

        Crops are [B, S, S, 3], RGB; ``squares_px`` [B, 4] are their places in pictures with K ``intrinsics``
        [B, 3, 3]. Raises HandsimError without K where it is needed.
        """

    def square(
        self,
        keypoints_px: NDArray[np.floating],
        size_px: tuple[int, int],
        valid: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.float64]:
        """The square [4] of a hand in a picture (width, height): `hand_square` of its joints [21, 2]."""
        valid = np.ones(len(keypoints_px), np.bool_) if valid is None else valid
        return hand_square(keypoints_px, valid, size_px, self.crop.factor)

    def predict(
        self,
        images: Sequence[NDArray[np.uint8]],
        squares_px: NDArray[np.floating],
        intrinsics: NDArray[np.floating] | None = None,
        *,
        batch_size: int = 64,
    ) -> Predictions:
        """Estimate one hand in each picture uint8 [H, W, 3] (RGB), inside of its square [N, 4].

        A left hand's picture has to be mirrored, and K (``intrinsics`` [N, 3, 3]) with it. Raises
        HandsimError where pictures, squares and K differ in number, and for no picture at all.
        """
        if not len(images):
            raise HandsimError("there is no picture to estimate a hand in; give at least one")
        squares = np.asarray(squares_px, np.float64)
        cameras = None if intrinsics is None else np.asarray(intrinsics, np.float64)
        for name, array in (("squares", squares), ("K", cameras)):
            if array is not None and len(array) != len(images):
                raise HandsimError(
                    f"there are {len(images)} pictures and {len(array)} {name}; give one for each"
                )
        parts = []
        for start in range(0, len(images), batch_size):
            some = slice(start, start + batch_size)
            crops = [
                cut_crop(image, square, self.crop.size_px)
                for image, square in zip(images[some], squares[some], strict=True)
            ]
            camera = None if cameras is None else cameras[some]
            parts.append(self.predict_crops(np.stack(crops), squares[some], camera))
        return Predictions.concatenate(parts)

    def predict_crops(
        self,
        crops: NDArray[np.uint8],
        squares_px: NDArray[np.float64],
        intrinsics: NDArray[np.float64] | None,
    ) -> Predictions:
        """`estimate_crops`, placed in their pictures and, with K, in the camera frame."""
        keypoints, joints_mm, confidence = self.estimate_crops(crops, squares_px, intrinsics)
        squares = squares_px[:, None]
        keypoints_px = squares[..., :2] + keypoints * (squares[..., 2:] - squares[..., :2])
        camera_mm = None
        if intrinsics is not None:
            weights = np.maximum(confidence, _MIN_WEIGHT)
            root_mm = camera_root_mm(joints_mm, keypoints_px, intrinsics, weights)
            camera_mm = (joints_mm + root_mm[:, None]).astype(np.float32)
        return Predictions(joints_mm, keypoints_px.astype(np.float32), confidence, camera_mm)


def camera_root_mm(
    joints_mm: NDArray[np.floating],
    keypoints_px: NDArray[np.floating],
    intrinsics: NDArray[np.floating],
    weights: NDArray[np.floating],
) -> NDArray[np.float64]:
    """The translation [N, 3] with which joints [N, 21, 3] project to ``keypoints_px`` [N, 21, 2].

    Joints are in the camera's axes (x right, y down, z into the picture) and in mm, relative to any point;
    ``intrinsics`` [N, 3, 3] are K of the pictures; ``weights`` [N, 21], not all 0, are those of the
    keypoints. With (u, v, 1) = K^-1 (x, y, 1) each joint gives two equations that are linear in the
    translation t, t_x - u t_z = u Z - X and t_y - v t_z = v Z - Y, which are solved by weighted least
    squares.

    Where a joint would lie behind the camera, because the keypoints fit no hand before it, the distance is
    that of weak perspective: the spread of the joints over that of the keypoints, their means on one ray.
    """
    joints = joints_mm.astype(np.float64)
    homogeneous = np.concatenate([keypoints_px, np.ones_like(keypoints_px[..., :1])], -1, dtype=np.float64)
    rays = homogeneous @ np.linalg.inv(intrinsics.astype(np.float64)).swapaxes(-1, -2)
    uv = rays[..., :2] / rays[..., 2:]
    shares = weights.astype(np.float64)[..., None]
    shares = shares / shares.sum(axis=1, keepdims=True)

    # The normal equations of t_x, t_y and t_z.
    right = uv * joints[..., 2:] - joints[..., :2]
    mean_uv, mean_right = (shares * uv).sum(axis=1), (shares * right).sum(axis=1)
    spread = (shares * (uv - mean_uv[:, None]) ** 2).sum(axis=(1, 2))
    along = (shares * (uv - mean_uv[:, None]) * (right - mean_right[:, None])).sum(axis=(1, 2))
    depth = np.divide(-along, spread, out=np.zeros_like(along), where=spread > 0)
    behind = (joints[..., 2] + depth[:, None]).min(axis=1) <= 0

    middle = (shares * joints).sum(axis=1)
    extent = (shares * (joints - middle[:, None])[..., :2] ** 2).sum(axis=(1, 2))
    weak = np.sqrt(np.divide(extent, spread, out=np.ones_like(extent), where=spread > 0)) - middle[:, 2]
    depth = np.where(behind, weak, depth)
    across = np.where(
        behind[:, None],
        mean_uv * (depth + middle[:, 2])[:, None] - middle[:, :2],
        mean_right + mean_uv * depth[:, None],
    )
    return np.concatenate([across, depth[:, None]], axis=1)

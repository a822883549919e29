"""A fine-tuned estimator for use: pictures in, hands in millimetres out.

A checkpoint is read without running anything in it. Joints come relative to the wrist; with K of the picture,
also in the camera frame (x right, y down, z into the picture).
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from handsim.checkpoints import read_checkpoint
from handsim.errors import HandsimError, NotThereError
from handsim.geometry import cut_crop
from training.datasets.record import HandDataset
from training.finetune.config import RECIPES, FinetuneConfig
from training.finetune.data import CropSettings, HandBatch, HandReader, hand_square, in_order
from training.finetune.module import estimate_crops
from training.models.estimator import PoseEstimator, build_estimator

KIND: Final = "fine-tuning"
"""``kind`` in the metadata of checkpoints."""
_PREFIX: Final = "estimator."
"""Of the names of weights in a checkpoint."""
_MIN_WEIGHT: Final = 1e-3
"""Of a joint with confidence 0, where a hand is placed in its camera."""


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


@dataclass(frozen=True, eq=False)
class Inference:
    """An estimator and how its checkpoint says to use it."""

    estimator: PoseEstimator
    """In evaluation mode, on ``device``."""
    config: FinetuneConfig
    mean_bone_mm: float
    """Mean length of the reference bone in its training set: the unit of its joints."""
    metadata: dict[str, Any]
    """What the checkpoint says of its run, as in ``facts.json``."""
    device: torch.device

    @property
    def crop(self) -> CropSettings:
        """How to cut hands out of their pictures for it."""
        return CropSettings(self.config.data.crop_factor, self.config.augmentation.size_px)

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
            camera = None if cameras is None else torch.from_numpy(cameras[some])
            parts.append(
                self._estimate(torch.from_numpy(np.stack(crops)), torch.from_numpy(squares[some]), camera)
            )
        return Predictions.concatenate(parts)

    def predict_dataset(
        self,
        dataset: HandDataset,
        rows: NDArray[np.integer] | None = None,
        *,
        batch_size: int = 64,
        workers: int = 0,
    ) -> Iterator[tuple[HandBatch, Predictions]]:
        """Estimate a dataset's hands, or those of ``rows``, in order, batch by batch.

        ``workers`` processes read ahead, 0: threads of this one. Raises HandsimError for a hand that cannot
        be read.
        """
        rows = np.arange(len(dataset)) if rows is None else rows
        with (
            closing(HandReader(dataset, self.crop, workers=workers)) as reader,
            reader.prefetch(in_order(rows, batch_size)) as batches,
        ):
            for batch in batches:
                yield batch, self._estimate(batch.crops, batch.squares_px, batch.intrinsics)

    def _estimate(self, crops: Tensor, squares_px: Tensor, intrinsics: Tensor | None) -> Predictions:
        with torch.inference_mode():
            crops = crops.to(self.device, non_blocking=True)
            estimate = estimate_crops(self.estimator, crops, squares_px, intrinsics)
        joints, keypoints, confidence = (
            tensor.float().cpu().numpy()
            for tensor in (estimate.joints, estimate.keypoints, estimate.confidence)
        )
        joints_mm = joints * np.float32(self.mean_bone_mm)
        squares = squares_px.numpy()[:, None]
        keypoints_px = squares[..., :2] + keypoints * (squares[..., 2:] - squares[..., :2])
        camera_mm = None
        if intrinsics is not None:
            weights = np.maximum(confidence, _MIN_WEIGHT)
            root_mm = camera_root_mm(joints_mm, keypoints_px, intrinsics.numpy(), weights)
            camera_mm = (joints_mm + root_mm[:, None]).astype(np.float32)
        return Predictions(joints_mm, keypoints_px.astype(np.float32), confidence, camera_mm)


def load_estimator(path: Path | str, device: torch.device | str | None = None) -> Inference:
    """The estimator of a fine-tuning checkpoint on ``device``; None: a GPU where there is one.

    Raises NotThereError where there is no such file, HandsimError for one that is no checkpoint of
    `handsim finetune`, that is damaged or holds pickled objects (none is rebuilt), or whose weights are of
    another network than it says.
    """
    path = Path(path)
    metadata, state = _read_checkpoint(path)
    config = RECIPES.fill(metadata["config"], [], str(path))
    encoder = replace(config.encoder, init=None, compile=False)
    estimator = build_estimator(encoder, config.estimator)
    weights = {name.removeprefix(_PREFIX): value for name, value in state.items() if name.startswith(_PREFIX)}
    try:
        estimator.load_state_dict(weights)
    except RuntimeError as error:
        raise HandsimError(
            f"{path} holds other weights than those of the {encoder.architecture} that it names; take a "
            f"checkpoint of `handsim finetune` that is whole"
        ) from error
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return Inference(estimator.eval().to(device), config, float(metadata["mean_bone_mm"]), metadata, device)


def _read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        raise NotThereError(f"there is no checkpoint {path}; give one that `handsim finetune` wrote")
    checkpoint = read_checkpoint(path)
    metadata = checkpoint.get("handsim")
    if not isinstance(metadata, dict) or metadata.get("kind") != KIND:
        raise HandsimError(
            f"{path} is no checkpoint of `handsim finetune`, but of something else; an encoder is fine-tuned "
            f"first, with --init {path}"
        )
    return metadata, checkpoint["state_dict"]


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

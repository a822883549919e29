"""A fine-tuned estimator as others use it: pictures in, hands in millimetres out.

Where in the camera's frame a hand is that is known but for its place.

What a checkpoint of a fine-tuning run holds, read without running anything in it.
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

from handsim.errors import HandsimError, NotThereError
from handsim.geometry import cut_crop
from training.datasets.record import HandDataset
from training.finetune.config import RECIPES, FinetuneConfig
from training.finetune.data import CropSettings, HandBatch, HandReader, hand_square, in_order
from training.finetune.module import estimate_crops
from training.models.estimator import PoseEstimator, build_estimator


def camera_root_mm(
    joints_mm: NDArray[np.floating],
    keypoints_px: NDArray[np.floating],
    intrinsics: NDArray[np.floating],
    weights: NDArray[np.floating],
) -> NDArray[np.float64]:
    """The translation [N, 3] under which joints [N, 21, 3] are seen at ``keypoints_px`` [N, 21, 2].

    Joints are in the camera's axes (x right, y down, z into the picture) and in mm, relative to any point;
    ``intrinsics`` [N, 3, 3] are K of the pictures; ``weights`` [N, 21], not all 0, say how sure each keypoint
    is. With (u, v, 1) = K^-1 (x, y, 1) each joint gives two equations that are linear in the translation t,
    t_x - u t_z = u Z - X and t_y - v t_z = v Z - Y, which are solved by weighted least squares.

    Keypoints that fit no hand before the camera can have a solution behind it. Where a joint would come to
    lie there, the distance is that of weak perspective instead: spread of the joints over that of the
    keypoints, and the middles of both lie on one ray.
    """
    joints = joints_mm.astype(np.float64)
    homogeneous = np.concatenate([keypoints_px, np.ones_like(keypoints_px[..., :1])], -1, dtype=np.float64)
    rays = homogeneous @ np.linalg.inv(intrinsics.astype(np.float64)).swapaxes(-1, -2)
    seen = rays[..., :2] / rays[..., 2:]
    shares = weights.astype(np.float64)[..., None]
    shares = shares / shares.sum(axis=1, keepdims=True)

    # The normal equations of t_x, t_y and t_z; u and v stand for `seen`, the right sides for `wanted`.
    wanted = seen * joints[..., 2:] - joints[..., :2]
    mean_seen, mean_wanted = (shares * seen).sum(axis=1), (shares * wanted).sum(axis=1)
    spread = (shares * (seen - mean_seen[:, None]) ** 2).sum(axis=(1, 2))
    along = (shares * (seen - mean_seen[:, None]) * (wanted - mean_wanted[:, None])).sum(axis=(1, 2))
    depth = np.divide(-along, spread, out=np.zeros_like(along), where=spread > 0)
    behind = (joints[..., 2] + depth[:, None]).min(axis=1) <= 0

    middle = (shares * joints).sum(axis=1)
    extent = (shares * (joints - middle[:, None])[..., :2] ** 2).sum(axis=(1, 2))
    weak = np.sqrt(np.divide(extent, spread, out=np.ones_like(extent), where=spread > 0)) - middle[:, 2]
    depth = np.where(behind, weak, depth)
    across = np.where(
        behind[:, None],
        mean_seen * (depth + middle[:, 2])[:, None] - middle[:, :2],
        mean_wanted + mean_seen * depth[:, None],
    )
    return np.concatenate([across, depth[:, None]], axis=1)


KIND: Final = "fine-tuning"
"""What checkpoints say they come from."""


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What a checkpoint says of its run, and all its weights by name.

    Raises NotThereError where there is no such file, HandsimError for one that is no checkpoint of a
    fine-tuning run, is damaged, or holds pickled objects.
    """
    if not path.is_file():
        raise NotThereError(f"there is no checkpoint {path}; give one that `handsim finetune` kept")
    try:
        # mmap: the optimizer's state, which nobody looks at here, is not read.
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # in a file that is something else, the reader stumbles over anything
        why = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
        raise HandsimError(f"{path} cannot be read as a checkpoint of `handsim finetune` ({why})") from error
    told = checkpoint.get("handsim") if isinstance(checkpoint, dict) else None
    if not isinstance(told, dict) or told.get("kind") != KIND:
        raise HandsimError(
            f"{path} is no checkpoint of `handsim finetune`, but of something else; an encoder is fine-tuned "
            f"first, with --init {path}"
        )
    return told, checkpoint["state_dict"]


_LEAST_WEIGHT = 1e-3
"""Of a joint that the network is not sure of at all, where a hand is placed in its camera."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """Estimates of N hands, all as right hands."""

    joints_3d_mm: NDArray[np.float32]
    """[N, 21, 3] relative to the wrist, in the camera's axes: x right, y down, z into the picture. As large
    as the mean hand that was trained on: how large a hand is, a picture does not tell."""
    keypoints_2d_px: NDArray[np.float32]
    """[N, 21, 2] in the picture's pixels."""
    confidence: NDArray[np.float32]
    """[N, 21] from 0 to 1."""
    camera_3d_mm: NDArray[np.float32] | None
    """[N, 21, 3] in the camera frame; None where K was not given."""


@dataclass(frozen=True, eq=False)
class Inference:
    """An estimator with what its checkpoint says of how to use it."""

    estimator: PoseEstimator
    """In evaluation mode, on ``device``."""
    config: FinetuneConfig
    """What it was trained with."""
    mean_bone_mm: float
    """Mean length of the reference bone of the hands it was trained on: its unit."""
    facts: dict[str, Any]
    """What the checkpoint says of its run: as ``facts.json``."""
    device: torch.device
    """Where it computes."""

    @property
    def crop(self) -> CropSettings:
        """How hands are cut out of their pictures for it."""
        return CropSettings(self.config.data.crop_factor, self.config.augmentation.size_px)

    def square(
        self,
        keypoints_px: NDArray[np.floating],
        size_px: tuple[int, int],
        valid: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.float64]:
        """Where to cut a hand [4] out of a picture (width, height): `hand_square` of its joints [21, 2]."""
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

        A left hand's picture comes mirrored, and K (``intrinsics`` [N, 3, 3]) with it. Raises HandsimError
        where pictures, squares and K are not equally many, and for no picture at all.
        """
        if not len(images):
            raise HandsimError("there is no picture to estimate a hand in; give at least one")
        squares = np.asarray(squares_px, np.float64)
        cameras = None if intrinsics is None else np.asarray(intrinsics, np.float64)
        for name, given in (("squares", squares), ("K", cameras)):
            if given is not None and len(given) != len(images):
                raise HandsimError(
                    f"there are {len(images)} pictures and {len(given)} {name}; give one for each"
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
        return _joined(parts)

    def predict_dataset(
        self,
        dataset: HandDataset,
        rows: NDArray[np.integer] | None = None,
        *,
        batch_size: int = 64,
        workers: int = 0,
    ) -> Iterator[tuple[HandBatch, Predictions]]:
        """Estimate a dataset's hands, or those of ``rows``, in order: batch by batch, as they are read.

        ``workers`` processes read ahead, 0: threads of this one. Raises HandsimError for a hand that cannot
        be read.
        """
        rows = np.arange(len(dataset)) if rows is None else rows
        with (
            closing(HandReader(dataset, self.crop, workers=workers)) as reader,
            reader.ahead(in_order(rows, batch_size)) as batches,
        ):
            for batch in batches:
                yield batch, self._estimate(batch.crops, batch.squares_px, batch.intrinsics)

    def _estimate(self, crops: Tensor, squares_px: Tensor, intrinsics: Tensor | None) -> Predictions:
        with torch.inference_mode():
            crops = crops.to(self.device, non_blocking=True)
            said = estimate_crops(self.estimator, crops, squares_px, intrinsics)
        joints, keypoints, confidence = (
            tensor.float().cpu().numpy() for tensor in (said.joints, said.keypoints, said.confidence)
        )
        joints_mm = joints * np.float32(self.mean_bone_mm)
        squares = squares_px.numpy()[:, None]
        keypoints_px = squares[..., :2] + keypoints * (squares[..., 2:] - squares[..., :2])
        camera_mm = None
        if intrinsics is not None:
            weights = np.maximum(confidence, _LEAST_WEIGHT)
            root_mm = camera_root_mm(joints_mm, keypoints_px, intrinsics.numpy(), weights)
            camera_mm = (joints_mm + root_mm[:, None]).astype(np.float32)
        return Predictions(joints_mm, keypoints_px.astype(np.float32), confidence, camera_mm)


def load_estimator(path: Path | str, device: torch.device | str | None = None) -> Inference:
    """The estimator of a fine-tuning checkpoint, to be asked on ``device``; None: a GPU where there is one.

    Raises NotThereError where there is no such file, HandsimError for one that is no checkpoint of
    `handsim finetune`, that is damaged or holds pickled objects (none is rebuilt), or whose weights are of
    another network than it says.
    """
    path = Path(path)
    told, state = read_checkpoint(path)
    config = RECIPES.fill(told["config"], [], str(path))
    encoder = replace(config.encoder, init=None, compile=False)
    estimator = build_estimator(encoder, config.estimator)
    prefix = "estimator."
    weights = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    try:
        estimator.load_state_dict(weights)
    except RuntimeError as error:
        raise HandsimError(
            f"{path} holds other weights than those of the {encoder.architecture} it tells of; take a "
            f"checkpoint of `handsim finetune` that is whole"
        ) from error
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return Inference(estimator.eval().to(chosen), config, float(told["mean_bone_mm"]), told, chosen)


def _joined(parts: Sequence[Predictions]) -> Predictions:
    cameras = [part.camera_3d_mm for part in parts if part.camera_3d_mm is not None]
    return Predictions(
        np.concatenate([part.joints_3d_mm for part in parts]),
        np.concatenate([part.keypoints_2d_px for part in parts]),
        np.concatenate([part.confidence for part in parts]),
        np.concatenate(cameras) if cameras else None,
    )

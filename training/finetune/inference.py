"""A fine-tuned estimator as others use it: pictures in, hands in millimetres out."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from handsim.errors import HandsimError
from handsim.geometry import cut_crop
from training.datasets.record import HandDataset
from training.finetune.batch import HandBatch
from training.finetune.camera_root import camera_root_mm
from training.finetune.checkpoint_file import read_checkpoint
from training.finetune.config import FinetuneConfig
from training.finetune.cropping import CropSettings, hand_square
from training.finetune.estimating import estimate_crops
from training.finetune.reader import HandReader, in_order
from training.finetune.recipe import RECIPES
from training.models.estimator import PoseEstimator, build_estimator

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

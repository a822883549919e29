"""A fine-tuned estimator in use, by torch; its checkpoint is read without running anything in it."""

from collections.abc import Iterator
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
from training.datasets.record import HandDataset
from training.finetune.config import RECIPES, FinetuneConfig
from training.finetune.data import HandBatch, HandReader, in_order
from training.finetune.module import estimate_crops
from training.finetune.pose_model import CropSettings, PoseModel, Predictions
from training.models.estimator import PoseEstimator, build_estimator

KIND: Final = "fine-tuning"
"""``kind`` in the metadata of checkpoints."""
_PREFIX: Final = "estimator."
"""Of the names of weights in a checkpoint."""


@dataclass(frozen=True, eq=False)
class Inference(PoseModel):
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

    @property
    def needs_camera(self) -> bool:
        """Whether its head is one that gives no pose without K."""
        return self.config.estimator.head == "regressor_25d"

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
                crops, squares_px, intrinsics = batch.crops, batch.squares_px, batch.intrinsics
                yield batch, self.predict_crops(crops.numpy(), squares_px.numpy(), intrinsics.numpy())

    def estimate_crops(
        self,
        crops: NDArray[np.uint8],
        squares_px: NDArray[np.float64],
        intrinsics: NDArray[np.float64] | None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """See `PoseModel`."""
        cameras = None if intrinsics is None else torch.from_numpy(intrinsics)
        with torch.inference_mode():
            views = torch.from_numpy(crops).to(self.device, non_blocking=True)
            estimate = estimate_crops(self.estimator, views, torch.from_numpy(squares_px), cameras)
        keypoints, joints, confidence = (
            tensor.float().cpu().numpy()
            for tensor in (estimate.keypoints, estimate.joints, estimate.confidence)
        )
        return keypoints, joints * np.float32(self.mean_bone_mm), confidence


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

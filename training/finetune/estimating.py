"""Poses of hands in crops, cut as they are judged."""

from torch import Tensor

from training.finetune.targets import crop_intrinsics
from training.models.estimator import PoseEstimator
from training.models.hand_targets import PoseEstimate


def estimate_crops(
    estimator: PoseEstimator, crops: Tensor, squares_px: Tensor, intrinsics: Tensor | None
) -> PoseEstimate:
    """What the estimator says of crops uint8 [B, S, S, 3] (RGB) that lie on its device.

    ``squares_px`` [B, 4] are their places in pictures with K ``intrinsics`` [B, 3, 3], both on any device;
    not every head needs K.
    """
    camera = None
    if intrinsics is not None:
        camera = crop_intrinsics(squares_px, intrinsics).float().to(crops.device)
    return estimator.decode(estimator(crops.permute(0, 3, 1, 2).float() / 255), camera)

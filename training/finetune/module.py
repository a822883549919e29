"""One step of fine-tuning: targets of a batch of labelled hands in their views, and the estimator's loss."""

import math
from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor, nn

from handsim.metrics.alignment import SHORTEST_MM
from handsim.skeleton import REFERENCE_BONE
from training.augmentation import AugmentedViews, augment
from training.finetune.config import FinetuneConfig
from training.finetune.data import HandBatch
from training.models.estimator import PoseEstimator, build_estimator
from training.models.head import HandTargets, PoseEstimate
from training.runs.module import DivergedError, RunModule, derived_seed
from training.runs.settings import Schedule

_INITIAL_WEIGHTS: Final = 2
_VIEWS: Final = 3
"""Streams of random numbers of one seed; pre-training has others."""


class FinetuneModule(RunModule):
    """A trunk and the estimator's head on top of it."""

    def __init__(self, config: FinetuneConfig, schedule: Schedule, *, init: bool = True) -> None:
        """Build the network, its trunk with the weights that ``encoder.init`` names or random ones.

        Without ``init`` they are random, for a checkpoint to be loaded.
        """
        super().__init__(schedule, config.optimizer)
        self.config = config
        with torch.random.fork_rng():
            torch.manual_seed(derived_seed(config.seed, _INITIAL_WEIGHTS))
            encoder = config.encoder if init else replace(config.encoder, init=None)
            self.estimator = build_estimator(encoder, config.estimator)
        if config.trainer.freeze_trunk == "always":
            self.estimator.freeze_trunk()  # the optimizer does not get its weights
        self.loss_parts: dict[str, Tensor] = {}
        """Of the last batch, by name."""
        self.last: tuple[AugmentedViews, Any] | None = None
        """The last batch's views and the network's prediction, for figures."""

    @property
    def slow_part(self) -> tuple[nn.Module | None, float]:
        """The trunk."""
        return self.estimator.encoder, self.config.trainer.trunk_lr_factor

    def training_step(self, batch: HandBatch, batch_index: int) -> Tensor:
        """The loss of a batch; raises DivergedError where it is NaN or infinite."""
        if self.config.trainer.freeze_trunk != "always":
            # A frozen weight has no gradient, and the optimizer does not even decay what has none.
            frozen = self.config.trainer.freezes(batch.epoch)
            self.estimator.encoder.requires_grad_(not frozen).train(not frozen)
        views = self._augment(batch)
        prediction = self.estimator(views.images)
        parts = self.estimator.loss(prediction, make_targets(batch, views))
        loss = parts.pop("loss")
        self.loss = float(loss.detach())
        self.loss_parts = {name: part.detach() for name, part in parts.items()}
        if not math.isfinite(self.loss):
            raise DivergedError(self.loss, batch, {"sample_ids": list(batch.sample_ids)})
        self.last = (views, prediction)
        self.batches_done = batch_index + 1
        return loss

    def _augment(self, batch: HandBatch) -> AugmentedViews:
        generator = torch.Generator().manual_seed(
            derived_seed(self.config.seed, _VIEWS, batch.epoch, batch.number, self.global_rank)
        )
        return augment(batch.crops, batch.keypoints, self.config.augmentation, generator)


def make_targets(batch: HandBatch, views: AugmentedViews) -> HandTargets:
    """2D joints in each view, and 3D joints relative to the wrist, in reference bones, rotated with the view.

    A view that is rotated by an angle is what a camera sees that was rolled by it about its axis, but for a
    shift of the picture: so joints are rotated by the same angle in the camera's xy-plane. The shift is left
    out, as it is wherever hands are cut out of pictures: a crop off the picture's centre shows its hand from
    a little to the side. Hands whose reference bone has no length or no valid ends have no scale; their 3D
    joints are 0 and not to be learned from.
    """
    root, end = REFERENCE_BONE
    relative = batch.joints_mm - batch.joints_mm[:, root : root + 1]
    bone = relative[:, end].norm(dim=1)
    has_scale = batch.valid[:, root] & batch.valid[:, end] & (bone >= SHORTEST_MM)
    known = batch.valid & has_scale[:, None]
    joints = torch.where(known[..., None], relative / bone.clamp(min=SHORTEST_MM)[:, None, None], 0.0)
    return HandTargets(
        keypoints=views.keypoints,
        joints=rotate_joints(joints, views.angle_deg),
        valid=batch.valid,
        has_scale=has_scale,
    )


def rotate_joints(joints: Tensor, angle_deg: Tensor) -> Tensor:
    """Joints [B, 21, 3] rotated about the camera's axis by ``angle_deg`` [B] of `AugmentedViews`.

    Counter-clockwise as displayed, where x points right and y down. Written out: a matrix product may be
    rounded as the trainer's are.
    """
    angle = torch.deg2rad(angle_deg)[:, None]
    cos, sin = angle.cos(), angle.sin()
    x, y, z = joints.unbind(-1)
    return torch.stack([cos * x + sin * y, cos * y - sin * x, z], -1)


def view_intrinsics(batch: HandBatch, views: AugmentedViews) -> Tensor:
    """K [B, 3, 3] of the views' unit squares, of a camera that was rotated with each: float32."""
    angle = torch.deg2rad(views.angle_deg.double())
    cos, sin = angle.cos(), angle.sin()
    back = torch.eye(3, dtype=torch.float64, device=angle.device).repeat(len(angle), 1, 1)
    back[:, 0, 0], back[:, 0, 1], back[:, 1, 0], back[:, 1, 1] = cos, -sin, sin, cos
    in_crop = crop_intrinsics(batch.squares_px, batch.intrinsics).to(angle)
    return (_homogeneous(views.affine.double()) @ in_crop @ back).float()


def crop_intrinsics(squares_px: Tensor, intrinsics: Tensor) -> Tensor:
    """K [B, 3, 3] of crops' unit squares: ``squares_px`` [B, 4] of pictures with K ``intrinsics``."""
    low, sides = squares_px[:, :2], squares_px[:, 2:] - squares_px[:, :2]
    to_crop = torch.cat([torch.diag_embed(1 / sides), (-low / sides)[:, :, None]], 2)
    return _homogeneous(to_crop) @ intrinsics


def _homogeneous(affine: Tensor) -> Tensor:
    """[B, 3, 3] of affines [B, 2, 3]."""
    return torch.cat([affine, affine.new_tensor([[[0, 0, 1]]]).expand(len(affine), 1, 3)], 1)


def estimate_crops(
    estimator: PoseEstimator, crops: Tensor, squares_px: Tensor, intrinsics: Tensor | None
) -> PoseEstimate:
    """The estimate for crops uint8 [B, S, S, 3] (RGB) on the estimator's device.

    ``squares_px`` [B, 4] are their places in pictures with K ``intrinsics`` [B, 3, 3], both on any device;
    not every head needs K.
    """
    camera = None
    if intrinsics is not None:
        camera = crop_intrinsics(squares_px, intrinsics).float().to(crops.device)
    return estimator.decode(estimator(crops.permute(0, 3, 1, 2).float() / 255), camera)

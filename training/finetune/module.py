"""One step of fine-tuning an estimator of hand poses on labelled hands.

What the estimator is to say of the views of a batch.

Poses of hands in crops, cut as they are judged.
"""

import math
from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor

from handsim.metrics.alignment import SHORTEST_MM
from handsim.skeleton import REFERENCE_BONE
from training.augmentation import AugmentedViews, augment
from training.finetune.config import FinetuneConfig
from training.finetune.data import HandBatch
from training.models.estimator import PoseEstimator, build_estimator
from training.models.head import HandTargets, PoseEstimate
from training.runs.module import DivergedError, RunModule
from training.runs.optimizer import Schedule, derived_seed


def targets_of(batch: HandBatch, views: AugmentedViews) -> HandTargets:
    """2D joints in each view, and 3D joints relative to the wrist, in reference bones, turned with the view.

    A view that is turned by an angle is what a camera sees that was rolled by it about its axis, but for a
    shift of the picture: so joints are turned by the same angle in the camera's xy-plane. The shift is left
    out, as it is wherever hands are cut out of pictures: a crop off the picture's centre shows its hand from
    a little to the side. Hands whose reference bone has no length or no valid ends have no scale; their 3D
    joints are 0 and not to be learned from.
    """
    root, end = REFERENCE_BONE
    relative = batch.joints_mm - batch.joints_mm[:, root : root + 1]
    bone = relative[:, end].norm(dim=1)
    has_scale = batch.valid[:, root] & batch.valid[:, end] & (bone >= SHORTEST_MM)
    told = batch.valid & has_scale[:, None]
    joints = torch.where(told[..., None], relative / bone.clamp(min=SHORTEST_MM)[:, None, None], 0.0)
    return HandTargets(
        keypoints=views.keypoints,
        joints=turned(joints, views.angle_deg),
        valid=batch.valid,
        has_scale=has_scale,
    )


def view_intrinsics(batch: HandBatch, views: AugmentedViews) -> Tensor:
    """K [B, 3, 3] of the views' unit squares, of a camera that was turned with each: float32."""
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


def turned(joints: Tensor, angle_deg: Tensor) -> Tensor:
    """Joints [B, 21, 3] turned about the camera's axis as `AugmentedViews` were by ``angle_deg`` [B].

    Counter-clockwise as displayed, where x points right and y down. Written out: a matrix product may be
    rounded as the trainer's are.
    """
    angle = torch.deg2rad(angle_deg)[:, None]
    cos, sin = angle.cos(), angle.sin()
    x, y, z = joints.unbind(-1)
    return torch.stack([cos * x + sin * y, cos * y - sin * x, z], -1)


_INITIAL_WEIGHTS: Final = 2
_VIEWS: Final = 3
"""What a seed is drawn for; each has a stream of random numbers of its own, apart from pre-training's."""


class FinetuneModule(RunModule):
    """A trunk and the estimator on top of it.

    Every random number is a function of the seed and of what is being done (epoch, batch, process), never of
    what was drawn before: a run that is resumed anywhere goes on as if it had not been stopped.
    """

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
            self.estimator.freeze_trunk()  # the optimizer does not get to know it
        self.parts: dict[str, Tensor] = {}
        """Of the last batch's loss, by name."""
        self.last: tuple[AugmentedViews, Any] | None = None
        """The last batch's views and what the network said of them, for those who want to look at them."""

    def training_step(self, batch: HandBatch, batch_index: int) -> Tensor:
        """The loss of one batch; raises DivergedError if it is no number, before a weight moves."""
        if self.config.trainer.freeze_trunk != "always":
            self._freeze_or_free(self.config.trainer.freezes(batch.epoch))
        views = self._views(batch)
        said = self.estimator(views.images)
        losses = self.estimator.loss(said, targets_of(batch, views))
        loss = losses.pop("loss")
        self.loss, self.parts = float(loss.detach()), {name: part.detach() for name, part in losses.items()}
        if not math.isfinite(self.loss):
            raise DivergedError(self.loss, batch, {"sample_ids": list(batch.sample_ids)})
        self.last = (views, said)
        self.batches_done = batch_index + 1
        return loss

    def _views(self, batch: HandBatch) -> AugmentedViews:
        drawn = torch.Generator().manual_seed(
            derived_seed(self.config.seed, _VIEWS, batch.epoch, batch.number, self.global_rank)
        )
        return augment(batch.crops, batch.keypoints, self.config.augmentation, drawn)

    def _freeze_or_free(self, frozen: bool) -> None:
        """Neither gradients nor running statistics reach a trunk that is frozen.

        A frozen weight has no gradient, and what has none the optimizer passes over, its decay too.
        """
        self.estimator.encoder.requires_grad_(not frozen).train(not frozen)


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

"""What the estimator is to say of the views of a batch."""

import torch
from torch import Tensor

from handsim.metrics.alignment import SHORTEST_MM
from handsim.skeleton import REFERENCE_BONE
from training.augmentation import Views
from training.finetune.batch import HandBatch
from training.models.hand_targets import HandTargets


def targets_of(batch: HandBatch, views: Views) -> HandTargets:
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


def view_intrinsics(batch: HandBatch, views: Views) -> Tensor:
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
    """Joints [B, 21, 3] turned about the camera's axis as `Views` were by ``angle_deg`` [B].

    Counter-clockwise as displayed, where x points right and y down. Written out: a matrix product may be
    rounded as the trainer's are.
    """
    angle = torch.deg2rad(angle_deg)[:, None]
    cos, sin = angle.cos(), angle.sin()
    x, y, z = joints.unbind(-1)
    return torch.stack([cos * x + sin * y, cos * y - sin * x, z], -1)

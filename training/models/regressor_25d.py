"""PeCLR's 2.5D regressor (Spurr et al., ICCV 2021, arXiv 2106.05953): 2D joints and depths relative to the
wrist, from pooled features; the camera's K makes 3D joints of them (Iqbal et al., ECCV 2018, arXiv
1804.09534).
"""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from handsim.errors import HandsimError
from handsim.skeleton import JOINT_COUNT, REFERENCE_BONE, WRIST
from training.models.head import (
    BONES_PER_VIEW,
    HandTargets,
    PoseEstimate,
    PoseHead,
    mean_absolute_error,
)

_WIDTH: Final = 512
_NEAREST: Final = 0.5
"""All joints are at least this far in front of the camera, in reference bones."""
_REACH: Final = 3.0
"""No joint is further from the wrist than this, in reference bones; the tip of a middle finger: about 2."""
_LEAST_APART: Final = 1e-6
"""Rays closer together than this are treated as so far apart."""


@dataclass(frozen=True, eq=False)
class Joints25D:
    """The regressor's prediction for B views."""

    keypoints: Tensor
    """[B, 21, 2] in the view's unit square."""
    depths: Tensor
    """[B, 21] from the wrist, away from the camera, in reference bones; the wrist's are 0."""


class Regressor25DHead(PoseHead[Joints25D]):
    """Two linear layers on the features pooled over the view; `lift` makes a pose of their output.

    PeCLR also corrects the wrist's depth by another network, which is left out.
    """

    def __init__(self, in_channels: int) -> None:
        """``in_channels`` is F, the channels of the trunk's last maps."""
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(in_channels, _WIDTH), nn.ReLU(inplace=True), nn.Linear(_WIDTH, 3 * JOINT_COUNT)
        )

    def forward(self, maps: tuple[Tensor, ...]) -> Joints25D:
        """2D joints and depths, from the trunk's last stage [B, F, S/32, S/32]."""
        output = self.layers(maps[-1].mean((2, 3))).unflatten(1, (JOINT_COUNT, 3))
        depths = output[..., 2]
        return Joints25D(output[..., :2] + 0.5, depths - depths[:, [WRIST]])

    def loss(self, prediction: Joints25D, targets: HandTargets) -> dict[str, Tensor]:
        """2.5 x ``keypoint`` + ``depth``: mean absolute errors of x and y, and of depths."""
        keypoint = mean_absolute_error(prediction.keypoints, targets.masked_keypoints, targets.valid)
        true_depths = targets.masked_joints[..., 2:]
        depth = mean_absolute_error(prediction.depths[..., None], true_depths, targets.valid_3d)
        return {"loss": BONES_PER_VIEW * keypoint + depth, "keypoint": keypoint, "depth": depth}

    def decode(self, prediction: Joints25D, intrinsics: Tensor | None) -> PoseEstimate:
        """The pose, by Iqbal's closed form; all confidences are 1. Raises HandsimError without K."""
        if intrinsics is None:
            raise HandsimError(
                "the head regressor_25d needs the camera's K for a pose, and none is given; give it, or "
                "train with estimator.head detnet, which does not need it"
            )
        keypoints, depths = prediction.keypoints.float(), prediction.depths.float()
        joints = lift(keypoints, depths, intrinsics.float())
        return PoseEstimate(keypoints, joints, torch.ones_like(depths))


def lift(keypoints: Tensor, depths: Tensor, intrinsics: Tensor) -> Tensor:
    """3D joints [B, 21, 3] relative to the wrist, in reference bones and the camera's axes.

    ``keypoints`` [B, 21, 2] are in a unit square of which ``intrinsics`` [B, 3, 3] is K; ``depths`` [B, 21]
    are relative to the wrist's, in reference bones. With u the ray of a joint, K^-1 (x, y, 1), and d its
    depth, the joint is (Z + d) u; Z is the wrist's (`wrist_depth`).
    """
    rays = _rays(keypoints, intrinsics)
    across = wrist_depth(keypoints, depths, intrinsics)[:, None, None] * (rays - rays[:, [WRIST]])
    return torch.cat([across + depths[..., None] * rays, depths[..., None]], -1)


def wrist_depth(keypoints: Tensor, depths: Tensor, intrinsics: Tensor) -> Tensor:
    """The wrist's distance Z [B] along the camera's axis, in reference bones; arguments are those of `lift`.

    Z makes the length of the reference bone 1: with n its far end, | Z (u_n - u_0) + d_n u_n |^2 = 1 is a
    quadratic equation in Z. Its larger root is taken, as in the paper. The other root is behind the camera
    where the bone's ends differ in depth by less than its length, and belongs to a much nearer hand where the
    bone is nearly in the line of sight.

    Estimated joints need not have a solution. Without one, Z is where the bone comes nearest to its length
    (the discriminant is set to 0). Then Z is bounded from below so that all joints are in front of the
    camera, and from above so that no joint is further from the wrist than a hand reaches; both hold for
    every real hand.
    """
    rays, end = _rays(keypoints, intrinsics), REFERENCE_BONE[1]
    apart = rays[:, end] - rays[:, WRIST]
    along = depths[:, end, None] * rays[:, end]
    # a Z^2 + 2 h Z + c = 0; all rays have z = 1, so the z of `apart` is 0 and that of `along` the depth.
    a = apart.square().sum(-1).clamp(min=_LEAST_APART**2)
    h = (apart * along).sum(-1)
    c = along.square().sum(-1) + depths[:, end].square() - 1
    root = (h.square() - a * c).clamp(min=0).sqrt()
    # Both forms are the larger root; each is exact where the other cancels.
    depth = torch.where(h > 0, -c / (h + root).clamp(min=_LEAST_APART), (root - h) / a)
    # A joint at r from the wrist, moved along its ray u into the wrist's plane, is | r_xy - r_z u | from it.
    reach = _REACH * (1 + rays.square().sum(-1)).sqrt()
    across = torch.linalg.vector_norm(rays - rays[:, [WRIST]], dim=-1)
    farthest = (reach / across.clamp(min=_LEAST_APART)).amin(1)
    return torch.maximum(torch.minimum(depth, farthest), _NEAREST - depths.amin(1))


def _rays(keypoints: Tensor, intrinsics: Tensor) -> Tensor:
    """[B, 21, 2] where the rays of keypoints meet the plane at distance 1 from the camera."""
    homogeneous = torch.cat([keypoints, torch.ones_like(keypoints[..., :1])], -1)
    # K^-1 by the rows of its adjugate: ONNX knows no `torch.linalg.solve`.
    x, y, z = intrinsics.to(keypoints).unbind(-1)
    adjugate = torch.stack([torch.linalg.cross(y, z), torch.linalg.cross(z, x), torch.linalg.cross(x, y)], -2)
    determinant = (adjugate[:, 0] * x).sum(-1)
    rays: Tensor = homogeneous @ (adjugate / determinant[:, None, None]).mT
    return rays[..., :2]

"""PeCLR's 2.5D regressor: 2D joints and relative depths from pooled features (Spurr et al., ICCV 2021, arXiv
2106.05953, after Iqbal et al., ECCV 2018, arXiv 1804.09534).

From 2D joints and relative depths to 3D joints (Iqbal et al., ECCV 2018, arXiv 1804.09534).
"""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from handsim.errors import HandsimError
from handsim.skeleton import JOINT_COUNT, REFERENCE_BONE, WRIST
from training.models.head import HandTargets, PoseEstimate, PoseHead, masked_mean

_NEAREST: Final = 0.5
"""How far before the camera all joints lie at least, in reference bones."""
_REACH: Final = 3.0
"""No joint lies further from the wrist than this, in reference bones; a middle finger's tip: about 2."""
_LEAST_APART: Final = 1e-6
"""Rays closer together than this are taken to be so far apart."""


def lift(keypoints: Tensor, depths: Tensor, intrinsics: Tensor) -> Tensor:
    """3D joints [B, 21, 3] relative to the wrist, in reference bones and the camera's axes.

    ``keypoints`` [B, 21, 2] are in the unit square whose K ``intrinsics`` [B, 3, 3] is; ``depths`` [B, 21]
    are relative to the wrist's, in reference bones. With u the ray of a joint, K^-1 (x, y, 1), and d its
    depth, the joint is (Z + d) u; Z is the wrist's (`wrist_depth`).
    """
    rays = _rays(keypoints, intrinsics)
    across = wrist_depth(keypoints, depths, intrinsics)[:, None, None] * (rays - rays[:, [WRIST]])
    return torch.cat([across + depths[..., None] * rays, depths[..., None]], -1)


def wrist_depth(keypoints: Tensor, depths: Tensor, intrinsics: Tensor) -> Tensor:
    """The wrist's distance Z [B] along the camera's axis, in reference bones; arguments are those of `lift`.

    It makes the reference bone's length 1: with n its far end, | Z (u_n - u_0) + d_n u_n |^2 = 1 is a
    quadratic equation in Z. Its larger root is taken, as in the paper: where the bone's ends differ in depth
    by less than its length the other one lies behind the camera, and where a bone in the line of sight is
    seen at an angle, the other one is that of a hand much nearer.

    Estimates need not have a solution. Without one, Z is where the bone comes nearest to its length (the
    discriminant is taken for 0). Then Z is kept so far that all joints are before the camera, and so near
    that no joint is seen further from the wrist than a hand reaches: both hold for every real hand.
    """
    rays, end = _rays(keypoints, intrinsics), REFERENCE_BONE[1]
    apart = rays[:, end] - rays[:, WRIST]
    along = depths[:, end, None] * rays[:, end]
    # a Z^2 + 2 h Z + c = 0; rays have z = 1, so `apart` has none and that of `along` is the depth.
    a = apart.square().sum(-1).clamp(min=_LEAST_APART**2)
    h = (apart * along).sum(-1)
    c = along.square().sum(-1) + depths[:, end].square() - 1
    root = (h.square() - a * c).clamp(min=0).sqrt()
    # Both are the larger root; each is exact where the other one loses its digits.
    depth = torch.where(h > 0, -c / (h + root).clamp(min=_LEAST_APART), (root - h) / a)
    # A joint r off the wrist meets the wrist's plane | r_xy - r_z u | from it, along its ray u.
    reach = _REACH * (1 + rays.square().sum(-1)).sqrt()
    seen = torch.linalg.vector_norm(rays - rays[:, [WRIST]], dim=-1)
    farthest = (reach / seen.clamp(min=_LEAST_APART)).amin(1)
    return torch.maximum(torch.minimum(depth, farthest), _NEAREST - depths.amin(1))


def _rays(keypoints: Tensor, intrinsics: Tensor) -> Tensor:
    """[B, 21, 2] where the rays of keypoints meet the plane at distance 1 from the camera."""
    homogeneous = torch.cat([keypoints, torch.ones_like(keypoints[..., :1])], -1)
    rays: Tensor = torch.linalg.solve(intrinsics.to(keypoints), homogeneous.mT)
    return rays.mT[..., :2]


_WIDTH: Final = 512
_BONES_IN_A_VIEW: Final = 2.5
"""A view's side in reference bones, about: so many times are errors of 2D joints those of depths."""


@dataclass(frozen=True, eq=False)
class Joints25D:
    """What the regressor says of B views."""

    keypoints: Tensor
    """[B, 21, 2] in the view's unit square."""
    depths: Tensor
    """[B, 21] further from the camera than the wrist, in reference bones; the wrist's are 0."""


class Regressor25DHead(PoseHead[Joints25D]):
    """Two linear layers on the features pooled over the view; K makes a pose of what they say (`lift`).

    PeCLR also corrects the wrist's depth by a network, which is left out.
    """

    def __init__(self, in_channels: int) -> None:
        """``in_channels`` is F, the channels of the trunk's last maps."""
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(in_channels, _WIDTH), nn.ReLU(inplace=True), nn.Linear(_WIDTH, 3 * JOINT_COUNT)
        )

    def forward(self, maps: tuple[Tensor, ...]) -> Joints25D:
        """2D joints and depths, from the trunk's last stage [B, F, S/32, S/32]."""
        said = self.layers(maps[-1].mean((2, 3))).unflatten(1, (JOINT_COUNT, 3))
        depths = said[..., 2]
        return Joints25D(said[..., :2] + 0.5, depths - depths[:, [WRIST]])

    def loss(self, prediction: Joints25D, targets: HandTargets) -> dict[str, Tensor]:
        """2.5 x ``keypoint`` + ``depth``: mean absolute errors of x and y, and of depths."""
        true = targets.known_keypoints
        off = (prediction.keypoints.to(true) - true).abs().mean(-1)
        keypoint = masked_mean(off, targets.valid)
        depths = targets.known_joints[..., 2]
        depth = masked_mean((prediction.depths.to(depths) - depths).abs(), targets.valid_3d)
        return {"loss": _BONES_IN_A_VIEW * keypoint + depth, "keypoint": keypoint, "depth": depth}

    def decode(self, prediction: Joints25D, intrinsics: Tensor | None) -> PoseEstimate:
        """The pose, with Iqbal's closed form; it is as sure of each joint as of any other: 1.

        Raises HandsimError without K.
        """
        if intrinsics is None:
            raise HandsimError(
                "the head regressor_25d tells no pose without the camera's K, and none is given; give it, or "
                "train with estimator.head detnet, which needs none"
            )
        keypoints, depths = prediction.keypoints.float(), prediction.depths.float()
        joints = lift(keypoints, depths, intrinsics.float())
        return PoseEstimate(keypoints, joints, torch.ones_like(depths))

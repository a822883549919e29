"""From 2D joints and relative depths to 3D joints (Iqbal et al., ECCV 2018, arXiv 1804.09534)."""

from typing import Final

import torch
from torch import Tensor

from handsim.skeleton import REFERENCE_BONE, WRIST

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

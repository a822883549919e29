"""Targets of hands that exist nowhere: any numbers that targets may have."""

from dataclasses import replace

import torch
from torch import Tensor

from handsim.skeleton import JOINT_COUNT, REFERENCE_BONE
from training.models.head import HandTargets


def draw_targets(hands: int, seed: int = 0, *, dtype: torch.dtype = torch.float64) -> HandTargets:
    """2D joints inside of the view, away from its border; reference bones of length 1; all is known."""
    random = torch.Generator().manual_seed(seed)
    keypoints = 0.1 + 0.8 * torch.rand(hands, JOINT_COUNT, 2, generator=random, dtype=torch.float64)
    joints = torch.randn(hands, JOINT_COUNT, 3, generator=random, dtype=torch.float64)
    root, end = REFERENCE_BONE
    joints = joints - joints[:, root : root + 1]
    joints = joints / joints[:, end].norm(dim=-1)[:, None, None]
    return HandTargets(
        keypoints=keypoints.to(dtype),
        joints=joints.to(dtype),
        valid=torch.ones(hands, JOINT_COUNT, dtype=torch.bool),
        has_scale=torch.ones(hands, dtype=torch.bool),
    )


def hide(targets: HandTargets, hidden: Tensor, scaleless: Tensor, filling: float) -> HandTargets:
    """The same without the joints ``hidden`` [B, 21] and the scale of hands ``scaleless`` [B].

    ``filling`` stands wherever nothing is known.
    """
    told = replace(targets, valid=targets.valid & ~hidden, has_scale=targets.has_scale & ~scaleless)
    return replace(
        told,
        keypoints=told.keypoints.where(told.valid[..., None], filling),
        joints=told.joints.where(told.valid_3d[..., None], filling),
    )


def some_hidden(targets: HandTargets, filling: float) -> HandTargets:
    """Without some joints of most hands, without the scale of the second and without all of the third."""
    random = torch.Generator().manual_seed(5)
    hidden = torch.rand(targets.valid.shape, generator=random) < 0.25
    hidden[2] = True
    return hide(targets, hidden, torch.arange(len(hidden)) == 1, filling)

"""Targets, synthetic hands as cameras see them, and heads on random feature maps."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from handsim.skeleton import JOINT_COUNT, REFERENCE_BONE
from handsim.synthetic import SyntheticConfig
from handsim.synthetic.camera import project, squares_around
from handsim.synthetic.video import compute_geometry, sample_video
from training.finetune.module import crop_intrinsics
from training.models.detnet import DetNetHead
from training.models.estimator import HeadName
from training.models.head import HandTargets, PoseHead
from training.models.regressor_25d import Regressor25DHead
from training.models.simple_head import SimpleHead

HANDS: Final = 4
CHANNELS: Final = 64

HEADS: Final[dict[HeadName, type[PoseHead[Any]]]] = {
    "detnet": DetNetHead,
    "regressor_25d": Regressor25DHead,
    "simple": SimpleHead,
}


def draw_targets(hands: int, seed: int = 0, *, dtype: torch.dtype = torch.float64) -> HandTargets:
    """2D joints inside of the view, away from its border; reference bones of length 1; all are valid."""
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


def hide(targets: HandTargets, hidden: Tensor, scaleless: Tensor, value: float) -> HandTargets:
    """The same without the joints ``hidden`` [B, 21] and the scale of hands ``scaleless`` [B].

    ``value`` replaces what is hidden.
    """
    masked = replace(targets, valid=targets.valid & ~hidden, has_scale=targets.has_scale & ~scaleless)
    return replace(
        masked,
        keypoints=masked.keypoints.where(masked.valid[..., None], value),
        joints=masked.joints.where(masked.valid_3d[..., None], value),
    )


def some_hidden(targets: HandTargets, value: float) -> HandTargets:
    """Without some joints of most hands, the scale of the second and all joints of the third."""
    random = torch.Generator().manual_seed(5)
    hidden = torch.rand(targets.valid.shape, generator=random) < 0.25
    hidden[2] = True
    return hide(targets, hidden, torch.arange(len(hidden)) == 1, value)


def see_hands(videos: int, hands_per_video: int = 2, seed: int = 0) -> SimpleNamespace:
    """Hands of ``videos`` people, each with a camera; views are 1.75 times as large as the hand. All float64.

    ``keypoints`` [B, 21, 2] in the view's unit square; ``joints`` [B, 21, 3] relative to the wrist, in
    reference bones; ``wrist_depth`` [B] in these; ``intrinsics`` [B, 3, 3] of the view's unit square.
    """
    config = SyntheticConfig(videos=videos, hands_per_video=hands_per_video, seed=seed)
    samples = [sample_video(config, number) for number in range(videos)]
    joints_mm = np.concatenate([compute_geometry([video]).joints_mm for video in samples])
    intrinsics = np.repeat([video.view.intrinsics for video in samples], hands_per_video, axis=0)
    points_px = project(joints_mm, intrinsics)
    squares = squares_around(points_px, 1.75)
    low, sides = squares[:, None, :2], squares[:, None, 2:] - squares[:, None, :2]
    root, end = REFERENCE_BONE
    relative = joints_mm - joints_mm[:, [root]]
    bone_mm = np.linalg.norm(relative[:, end], axis=-1)
    return SimpleNamespace(
        keypoints=torch.from_numpy((points_px - low) / sides),
        joints=torch.from_numpy(relative / bone_mm[:, None, None]),
        wrist_depth=torch.from_numpy(joints_mm[:, root, 2] / bone_mm),
        intrinsics=crop_intrinsics(torch.from_numpy(squares), torch.from_numpy(intrinsics)),
    )


def make_head(name: HeadName) -> PoseHead[Any]:
    """A head, always with the same random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head: PoseHead[Any] = HEADS[name](CHANNELS)
    return head


def stages(seed: int = 0, hands: int = HANDS) -> tuple[Tensor, ...]:
    """Random maps of the four stages of a trunk, as for views of 32 pixels."""
    random = torch.Generator().manual_seed(seed)
    return tuple(
        torch.randn(hands, CHANNELS // 2**step, 2**step, 2**step, generator=random) for step in (3, 2, 1, 0)
    )


def mean_absolute_error(predicted: Tensor, true: Tensor, mask: Tensor) -> float:
    """Of the coordinates of points [B, 21, D] in the mask [B, 21]."""
    return float((predicted - true).abs()[mask].mean())

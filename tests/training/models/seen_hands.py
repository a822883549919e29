"""Synthetic hands as cameras see them: exact 2.5D joints, and the K that they were seen with."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from handsim.skeleton import REFERENCE_BONE
from handsim.synthetic import SyntheticConfig
from handsim.synthetic.camera import project, squares_around
from handsim.synthetic.video import sample_video, see
from training.finetune.module import crop_intrinsics


@dataclass(frozen=True, eq=False)
class SeenHands:
    """B hands, all float64."""

    keypoints: Tensor
    """[B, 21, 2] in the view's unit square."""
    joints: Tensor
    """[B, 21, 3] relative to the wrist, in reference bones and the camera's axes."""
    wrist_depth: Tensor
    """[B] in reference bones."""
    intrinsics: Tensor
    """[B, 3, 3] K of the view's unit square."""


def see_hands(videos: int, hands_per_video: int = 2, seed: int = 0) -> SeenHands:
    """Of as many people, cameras, poses and directions as ``videos``; views are 1.75 times as large."""
    config = SyntheticConfig(videos=videos, hands_per_video=hands_per_video, seed=seed)
    filmed = [sample_video(config, number) for number in range(videos)]
    joints_mm = np.concatenate([see([video]).joints_mm for video in filmed])
    intrinsics = np.repeat([video.view.intrinsics for video in filmed], hands_per_video, axis=0)
    points_px = project(joints_mm, intrinsics)
    squares = squares_around(points_px, 1.75)
    low, sides = squares[:, None, :2], squares[:, None, 2:] - squares[:, None, :2]
    root, end = REFERENCE_BONE
    relative = joints_mm - joints_mm[:, [root]]
    bone_mm = np.linalg.norm(relative[:, end], axis=-1)
    return SeenHands(
        torch.from_numpy((points_px - low) / sides),
        torch.from_numpy(relative / bone_mm[:, None, None]),
        torch.from_numpy(joints_mm[:, root, 2] / bone_mm),
        crop_intrinsics(torch.from_numpy(squares), torch.from_numpy(intrinsics)),
    )

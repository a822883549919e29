"""PeCLR's 2.5D regressor: 2D joints and relative depths from pooled features (Spurr et al., ICCV 2021, arXiv
2106.05953, after Iqbal et al., ECCV 2018, arXiv 1804.09534)."""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from handsim.errors import HandsimError
from handsim.skeleton import JOINT_COUNT, WRIST
from training.losses.masked import masked_mean
from training.models.hand_targets import HandTargets, PoseEstimate
from training.models.heads.head import PoseHead
from training.models.lifting import lift

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

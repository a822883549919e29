"""A light regressor of joints: an attention map for each joint, and one transformer layer between them.

The 2D joint is the map's soft-argmax (integral regression: Sun et al., ECCV 2018, arXiv 1711.08229). The
features under the map become the joint's token, and the 21 tokens are refined by self-attention (Vaswani et
al., 2017, arXiv 1706.03762). Nothing is quantised, so the loss reaches everything that a joint depends on.
"""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from handsim.skeleton import JOINT_COUNT, WRIST
from training.models.head import (
    BONES_PER_VIEW,
    HandTargets,
    PoseEstimate,
    PoseHead,
    mean_absolute_error,
)

_WIDTH: Final = 256


@dataclass(frozen=True, eq=False)
class AttendedJoints:
    """The head's prediction for B views."""

    keypoints: Tensor
    """[B, 21, 2] in the view's unit square."""
    joints: Tensor
    """[B, 21, 3] relative to the wrist, in reference bones; the wrist's are 0."""
    attention: Tensor
    """[B, 21, H, H] where each joint's features come from, H an eighth of the view's side; sums are 1."""


class SimpleHead(PoseHead[AttendedJoints]):
    """Features at an eighth of the view's side, from the trunk's last two stages, and 21 tokens of them."""

    def __init__(self, in_channels: int, stride_px: int = 32) -> None:
        """``in_channels`` is F, the channels of the trunk's last maps; those before have half as many.

        The maps of a vision transformer, whose ``stride_px`` is a half of that, are the only ones.
        """
        super().__init__()
        self._has_lateral = stride_px == 32
        self.top = nn.Conv2d(in_channels, _WIDTH, 1, bias=False)
        if self._has_lateral:
            self.lateral = nn.Conv2d(in_channels // 2, _WIDTH, 1, bias=False)
        self.upsampling = nn.Sequential(
            nn.BatchNorm2d(_WIDTH),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(_WIDTH, _WIDTH, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(_WIDTH),
            nn.ReLU(inplace=True),
        )
        self.attention = nn.Conv2d(_WIDTH, JOINT_COUNT, 1, bias=False)
        self.joint_embedding = nn.Parameter(torch.randn(JOINT_COUNT, _WIDTH) * 0.02)
        self.place_embedding = nn.Linear(2, _WIDTH, bias=False)
        self.transformer = nn.TransformerEncoderLayer(
            _WIDTH, nhead=8, dim_feedforward=2 * _WIDTH, dropout=0.0, batch_first=True, norm_first=True
        )
        # Small: there is no norm before it, and the first steps would move joints far out of the hand.
        self.output_weight = nn.Parameter(torch.randn(JOINT_COUNT, _WIDTH, 5) * 0.01)
        self.output_bias = nn.Parameter(torch.zeros(JOINT_COUNT, 5))

    def forward(self, maps: tuple[Tensor, ...]) -> AttendedJoints:
        """The joints, from the trunk's stages [B, F/2, S/16, S/16] and [B, F, S/32, S/32]."""
        top = self.top(maps[-1])
        if self._has_lateral:
            top = functional.interpolate(top, scale_factor=2.0, mode="nearest") + self.lateral(maps[-2])
        features = self.upsampling(top)
        attention = self.attention(features).flatten(2).float().softmax(2).unflatten(2, features.shape[2:])
        places = _mean_places(attention)
        attended = attention.flatten(2).to(features) @ features.flatten(2).mT
        tokens = attended + self.joint_embedding + self.place_embedding(places - 0.5)
        tokens = self.transformer(tokens).transpose(0, 1)
        output = torch.baddbmm(self.output_bias[:, None], tokens, self.output_weight).transpose(0, 1)
        joints = output[..., 2:]
        # A mean of places is biased to the middle of the view and never leaves it; the output corrects it.
        return AttendedJoints(places + output[..., :2], joints - joints[:, [WRIST]], attention)

    def loss(self, prediction: AttendedJoints, targets: HandTargets) -> dict[str, Tensor]:
        """2.5 x ``keypoint`` + ``joint``: mean absolute errors of coordinates in 2D and in 3D."""
        keypoint = mean_absolute_error(prediction.keypoints, targets.masked_keypoints, targets.valid)
        joint = mean_absolute_error(prediction.joints, targets.masked_joints, targets.valid_3d)
        return {"loss": BONES_PER_VIEW * keypoint + joint, "keypoint": keypoint, "joint": joint}

    def decode(self, prediction: AttendedJoints, intrinsics: Tensor | None) -> PoseEstimate:
        """The predicted joints; the confidence of a joint is the largest value of its attention map."""
        confidence = prediction.attention.float().amax((2, 3)).clamp(max=1)
        return PoseEstimate(prediction.keypoints.float(), prediction.joints.float(), confidence)


def _mean_places(attention: Tensor) -> Tensor:
    """[B, 21, 2] x and y, in the unit square, of the mean cell of maps [B, 21, H, H] whose sums are 1.

    Without a matrix product, which autocast would round as it does features.
    """
    side = attention.shape[-1]
    centres = (torch.arange(side, device=attention.device, dtype=attention.dtype) + 0.5) / side
    return torch.stack([(attention.sum(dim) * centres).sum(-1) for dim in (2, 3)], -1)

"""A DetNet on a ResNet-18 learns a few hands by heart: its loss, its maps and their reading go together."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from handsim.metrics.pose import score_poses
from handsim.skeleton import REFERENCE_BONE, WRIST
from handsim.synthetic import MotionConfig, SyntheticConfig, synthesise_labelled
from training.models.encoder import EncoderSettings
from training.models.estimator import EstimatorSettings, PoseEstimator, build_estimator
from training.models.head import HandTargets

VIDEOS, HANDS, SIZE_PX = 8, 32, 32
STEPS, WARMUP_STEPS, DECAY_STEPS, LEARNING_RATE = 170, 20, 50, 2e-3
"""All hands are in every step; the rate rises linearly over the first steps and falls to 0 over the last."""


@dataclass(frozen=True, eq=False)
class Learned:
    """32 synthetic hands as an estimator sees them."""

    images: Tensor
    """[32, 3, 32, 32] in 0..1."""
    targets: HandTargets
    """Of the images."""
    joints_mm: NDArray[np.float64]
    """[32, 21, 3] in the camera frame."""


def _hands() -> Learned:
    """Right hands of eight people, four each."""
    config = SyntheticConfig(
        videos=VIDEOS,
        hands_per_video=HANDS // VIDEOS,
        seed=0,
        size_px=SIZE_PX,
        motion=MotionConfig(left_share=0.0),
    )
    hands = [*synthesise_labelled(config, crop_enlargement=1.75)]
    images = torch.from_numpy(np.stack([hand.image for hand in hands])).permute(0, 3, 1, 2) / 255
    joints_mm = np.stack([hand.joints_3d_mm for hand in hands]).astype(np.float64)
    relative = joints_mm - joints_mm[:, [WRIST]]
    bones_mm = np.linalg.norm(relative[:, REFERENCE_BONE[1]], axis=-1)
    targets = HandTargets(
        keypoints=torch.from_numpy(np.stack([hand.keypoints_2d_px for hand in hands]) / SIZE_PX).float(),
        joints=torch.from_numpy(relative / bones_mm[:, None, None]).float(),
        valid=torch.ones(HANDS, 21, dtype=torch.bool),
        has_scale=torch.ones(HANDS, dtype=torch.bool),
    )
    return Learned(images, targets, joints_mm)


def _train(estimator: PoseEstimator, hands: Learned) -> None:
    optimizer = torch.optim.Adam(estimator.parameters(), lr=LEARNING_RATE, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / WARMUP_STEPS, (STEPS - step) / DECAY_STEPS)
    )
    estimator.train()
    for _ in range(STEPS):
        loss = estimator.loss(estimator(hands.images), hands.targets)["loss"]
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()


@pytest.mark.usefixtures("one_thread")
def test_detnet_learns_32_hands_to_less_than_3_mm() -> None:
    """As it is used: with the running statistics of its batch norms. It is not told how large hands are."""
    hands = _hands()
    torch.manual_seed(0)
    estimator = build_estimator(EncoderSettings("resnet18"), EstimatorSettings("detnet"))
    _train(estimator, hands)
    estimator.eval()
    with torch.no_grad():
        told = estimator.decode(estimator(hands.images))
    apart_px = (told.keypoints - hands.targets.keypoints).norm(dim=-1) * SIZE_PX
    assert float(apart_px.mean()) < 0.5
    scores = score_poses(told.joints.numpy(), hands.joints_mm, np.ones((HANDS, 21), np.bool_))
    assert scores.root_scale.mpjpe_mm < 3

"""What every head of the pose estimator does."""

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from torch import Tensor, nn

from training.models.hand_targets import HandTargets, PoseEstimate

PredictionT = TypeVar("PredictionT")


class PoseHead(nn.Module, ABC, Generic[PredictionT]):
    """From the feature maps of a ResNet's four stages to a prediction of its own kind: tensors by name.

    The maps are those of `Encoder.feature_maps`: [B, F/8, S/4, S/4] to [B, F, S/32, S/32].
    """

    @abstractmethod
    def forward(self, maps: tuple[Tensor, ...]) -> PredictionT:
        """The raw prediction, which only this head can read."""

    @abstractmethod
    def loss(self, prediction: PredictionT, targets: HandTargets) -> dict[str, Tensor]:
        """Scalars: ``loss``, the weighted sum, and its parts by name, before their weights.

        Joints that are not valid have no part in it; without any valid joint it is 0, and so is its gradient.
        """

    @abstractmethod
    def decode(self, prediction: PredictionT, intrinsics: Tensor | None) -> PoseEstimate:
        """The pose; ``intrinsics`` [B, 3, 3] are K of the views' unit squares, which not every head needs."""

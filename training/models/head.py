"""The interface of the pose estimator's heads: targets in, losses and poses out.

Joints are in the order of `handsim.skeleton`, as for right hands. 2D joints are in the view's unit square, x
right, y down. 3D joints are relative to the wrist, in lengths of the reference bone (wrist to middle_mcp), x
right, y down, z into the picture; where the view was turned, they are turned with it, about z.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import torch
from torch import Tensor, nn

from handsim.errors import HandsimError
from handsim.skeleton import JOINT_COUNT

PredictionT = TypeVar("PredictionT")

BONES_PER_VIEW: Final = 2.5
"""A view's side in reference bones, about: it brings errors of 2D joints to the scale of those in 3D."""


@dataclass(frozen=True, eq=False)
class HandTargets:
    """The true joints of B hands. Raises HandsimError for other shapes, and for masks that are not bool."""

    keypoints: Tensor
    """[B, 21, 2] in the view's unit square, or outside of it. Any value, also NaN, where not ``valid``."""
    joints: Tensor
    """[B, 21, 3] relative to the wrist, in reference bones. Any value, also NaN, where not ``valid`` or
    without ``has_scale``."""
    valid: Tensor
    """bool [B, 21] which joints are annotated."""
    has_scale: Tensor
    """bool [B] whether both ends of the reference bone are annotated. Without, only 2D joints are used."""

    def __post_init__(self) -> None:
        hands = len(self.valid)
        for name, shape in (
            ("keypoints", (hands, JOINT_COUNT, 2)),
            ("joints", (hands, JOINT_COUNT, 3)),
            ("valid", (hands, JOINT_COUNT)),
            ("has_scale", (hands,)),
        ):
            tensor: Tensor = getattr(self, name)
            if tensor.shape != shape:
                raise HandsimError(
                    f"{name} is {list(tensor.shape)}; for {hands} hands of {JOINT_COUNT} joints it is "
                    f"{list(shape)}"
                )
        for name in ("valid", "has_scale"):
            if getattr(self, name).dtype != torch.bool:
                raise HandsimError(f"{name} is {getattr(self, name).dtype}; it is a mask, torch.bool")

    @property
    def valid_3d(self) -> Tensor:
        """bool [B, 21] which 3D joints have a true value."""
        return self.valid & self.has_scale[:, None]

    @property
    def masked_keypoints(self) -> Tensor:
        """[B, 21, 2] float32 or float64: ``keypoints``, and 0 where they are not ``valid``."""
        return _mask(self.keypoints, self.valid)

    @property
    def masked_joints(self) -> Tensor:
        """[B, 21, 3] float32 or float64: ``joints``, and 0 where they are not `valid_3d`."""
        return _mask(self.joints, self.valid_3d)


@dataclass(frozen=True, eq=False)
class PoseEstimate:
    """The estimated joints of B hands, all of them, without a gradient."""

    keypoints: Tensor
    """[B, 21, 2] in the view's unit square."""
    joints: Tensor
    """[B, 21, 3] relative to the wrist, in reference bones."""
    confidence: Tensor
    """[B, 21] from 0 to 1; it ranks joints, and is not a probability."""


class PoseHead(nn.Module, ABC, Generic[PredictionT]):
    """From the feature maps of a trunk's stages to a prediction, a dataclass of tensors.

    The maps are those of `Encoder.feature_maps`: [B, F/8, S/4, S/4] to [B, F, S/32, S/32] of a convolutional
    network, and [B, F, S/patch, S/patch] alone of a vision transformer.
    """

    @abstractmethod
    def forward(self, maps: tuple[Tensor, ...]) -> PredictionT:
        """The prediction."""

    @abstractmethod
    def loss(self, prediction: PredictionT, targets: HandTargets) -> dict[str, Tensor]:
        """Scalars: ``loss``, the weighted sum, and its parts by name, before their weights.

        Only valid joints contribute; without any, the loss and its gradient are 0.
        """

    @abstractmethod
    def decode(self, prediction: PredictionT, intrinsics: Tensor | None) -> PoseEstimate:
        """The poses; ``intrinsics`` [B, 3, 3] are K of the views' unit squares, which some heads need."""


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of values [...] where the mask [...] is true, a scalar; if it never is, 0 with a gradient of 0.

    Elsewhere values may be anything, also NaN; their gradient is 0.
    """
    return values.where(mask, 0.0).sum() / mask.sum().clamp(min=1)


def mean_absolute_error(predicted: Tensor, true: Tensor, mask: Tensor) -> Tensor:
    """Mean over coordinates of points [B, 21, D] and over those in the mask [B, 21], a scalar."""
    return masked_mean((predicted.to(true) - true).abs().mean(-1), mask)


def _mask(points: Tensor, mask: Tensor) -> Tensor:
    """In float32 at least: half precision is too coarse. Not by a product: NaN times 0 is NaN."""
    return points.to(torch.promote_types(points.dtype, torch.float32)).where(mask[..., None], 0.0)

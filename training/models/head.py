"""What every head of the pose estimator does.

What an estimator of hand poses is taught, and what it says: 2D and 3D joints of hands in their views.

Joints are in our order (`handsim.skeleton`) and told as for right hands. A view's unit square spans the view,
x right, y down. 3D joints are relative to the wrist and counted in lengths of the reference bone (wrist to
middle_mcp), x right, y down, z into the picture: where the view was turned, so were they, about z.

Means over what is known.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from handsim.errors import HandsimError
from handsim.skeleton import JOINT_COUNT


@dataclass(frozen=True, eq=False)
class HandTargets:
    """The truth of B hands. Raises HandsimError for other shapes and masks that are none."""

    keypoints: Tensor
    """[B, 21, 2] in the view's unit square; they may lie outside of it. Anything, NaN too, where not
    ``valid``."""
    joints: Tensor
    """[B, 21, 3] relative to the wrist, in reference bones. Anything, NaN too, if not ``valid`` or without
    ``has_scale``."""
    valid: Tensor
    """bool [B, 21] which joints were annotated."""
    has_scale: Tensor
    """bool [B] whether both ends of the reference bone were annotated. Without, only the 2D joints are
    learned from."""

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
        """bool [B, 21] which 3D joints can be learned from."""
        return self.valid & self.has_scale[:, None]

    @property
    def known_keypoints(self) -> Tensor:
        """[B, 21, 2] float32 or float64: ``keypoints``, and 0 where they are not ``valid``."""
        return _known(self.keypoints, self.valid)

    @property
    def known_joints(self) -> Tensor:
        """[B, 21, 3] float32 or float64: ``joints``, and 0 where they are not `valid_3d`."""
        return _known(self.joints, self.valid_3d)


@dataclass(frozen=True, eq=False)
class PoseEstimate:
    """What an estimator says of B hands; all joints of all hands, without a gradient."""

    keypoints: Tensor
    """[B, 21, 2] in the view's unit square."""
    joints: Tensor
    """[B, 21, 3] relative to the wrist, in reference bones."""
    confidence: Tensor
    """[B, 21] how sure it is of each joint, from 0 to 1; it ranks joints, and is no probability."""


def _known(tensor: Tensor, mask: Tensor) -> Tensor:
    """Half precision is too coarse for places. What is masked out may be NaN: multiplied by 0 it stays so."""
    wide = tensor.to(torch.promote_types(tensor.dtype, torch.float32))
    return wide.where(mask[..., None], 0.0)


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


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of values [...] where the mask [...] is true, a scalar; 0, and so its gradient, if it never is.

    Elsewhere values may be anything; their gradient is 0.
    """
    return values.where(mask, 0.0).sum() / mask.sum().clamp(min=1)

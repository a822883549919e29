"""The network that estimates hand poses: a trunk (`Encoder`) and a head."""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from handsim.errors import HandsimError
from training.models.detnet import DetNetHead
from training.models.encoder import Encoder, EncoderSettings, build_encoder
from training.models.head import HandTargets, PoseEstimate, PoseHead
from training.models.regressor_25d import Regressor25DHead
from training.models.simple_head import SimpleHead

HeadName = Literal["detnet", "regressor_25d", "simple"]
HeatMaps = Literal["linear", "sigmoid"]
LossBalance = Literal["128px", "by_size"]

Prediction: TypeAlias = Any
"""A head's prediction: a dataclass of tensors, which only that head reads."""


@dataclass(frozen=True)
class EstimatorSettings:
    """Which head estimates the pose. Raises HandsimError for an unknown one."""

    head: HeadName = "detnet"
    """``detnet``: heat, delta and location maps, as SiMHand fine-tunes (Zhou et al., CVPR 2020);
    ``regressor_25d``: 2D joints and relative depths from pooled features, as PeCLR fine-tunes; needs the
    camera's K for a pose; ``simple``: joints regressed from the features under an attention map each."""
    heat_maps: HeatMaps = "linear"
    """DetNet's heat maps: as the last layer has them, or through a ``sigmoid``, as in SiMHand's code."""
    loss_balance: LossBalance = "128px"
    """DetNet's losses. ``128px``: to each other as at 128 pixels, whatever the views' size; ``by_size``: the
    heat maps' loss weighs four times as much at 64 pixels, as in runs before this was a setting."""

    def __post_init__(self) -> None:
        for name, known in (
            ("head", get_args(HeadName)),
            ("heat_maps", get_args(HeatMaps)),
            ("loss_balance", get_args(LossBalance)),
        ):
            if getattr(self, name) not in known:
                raise HandsimError(
                    f"estimator.{name} is {getattr(self, name)!r}; it is one of {', '.join(known)}"
                )

    def build_head(self, channels: int, stride_px: int) -> PoseHead[Any]:
        """The head, with random weights, on ``channels`` of the trunk's last maps, of this stride."""
        match self.head:
            case "detnet":
                sigmoid, balanced = self.heat_maps == "sigmoid", self.loss_balance == "128px"
                return DetNetHead(channels, stride_px, sigmoid=sigmoid, balanced=balanced)
            case "regressor_25d":
                return Regressor25DHead(channels)
            case "simple":
                return SimpleHead(channels, stride_px)


class PoseEstimator(nn.Module):
    """A trunk and a head: from views to poses."""

    def __init__(self, encoder: Encoder, head: PoseHead[Any]) -> None:
        """The encoder is used up to its last feature maps, its normalisation of images included."""
        super().__init__()
        self.encoder = encoder
        self.head = head
        self._trunk_is_frozen = False

    def forward(self, images: Tensor) -> Prediction:
        """The head's prediction for RGB views [B, 3, S, S] in 0..1.

        Raises HandsimError for views that are not square or whose side is not a multiple of the trunk's
        stride: 32, or the patch of a vision transformer.
        """
        height, width = images.shape[-2:]
        stride_px = self.encoder.stride_px
        if height != width or height % stride_px or not height:
            raise HandsimError(
                f"the views are {width} x {height} pixels; they are square, with a side that is a multiple "
                f"of {stride_px}"
            )
        return self.head(self.encoder.feature_maps(images))

    def loss(self, prediction: Prediction, targets: HandTargets) -> dict[str, Tensor]:
        """Scalars: ``loss``, the one to minimise, and its parts by name, before their weights.

        Only valid joints contribute; without any, the loss and its gradient are 0. Half precision becomes
        float32, also under autocast.
        """
        with self._full_precision():
            return self.head.loss(prediction, targets)

    @torch.no_grad()
    def decode(self, prediction: Prediction, intrinsics: Tensor | None = None) -> PoseEstimate:
        """The poses, in float32. ``intrinsics`` [B, 3, 3] are K of the views' unit squares.

        Only ``regressor_25d`` needs K, and raises HandsimError without. If a view was turned, K is that of
        the camera turned with it: the view's affine, times the picture's K, times the inverse rotation.
        """
        with self._full_precision():
            return self.head.decode(prediction, intrinsics)

    def freeze_trunk(self) -> None:
        """From now on only the head is trained; batch norms of the trunk keep their running statistics."""
        self._trunk_is_frozen = True
        self.encoder.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "PoseEstimator":
        """Set training mode, but for a frozen trunk."""
        super().train(mode)
        if self._trunk_is_frozen:
            self.encoder.eval()
        return self

    def _full_precision(self) -> torch.autocast:
        return torch.autocast(self.encoder.mean.device.type, enabled=False)


def build_estimator(encoder: EncoderSettings, settings: EstimatorSettings) -> PoseEstimator:
    """The estimator of these settings, with the weights of its trunk; ``encoder.origin`` says from where.

    The head's weights are random, from torch's global generator. The state dict has the trunk behind
    ``encoder.trunk.`` by torchvision's names, so that `read_trunk` and `handsim export` can read it. Raises
    as `build_encoder` does.
    """
    trunk = build_encoder(encoder)
    estimator = PoseEstimator(trunk, settings.build_head(trunk.features, trunk.stride_px))
    if encoder.compile:
        estimator.compile()
    return estimator

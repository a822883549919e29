"""DetNet: heat maps, delta maps and location maps (Zhou et al., CVPR 2020, arXiv 2003.09572, section 4.1)."""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from handsim.skeleton import JOINT_COUNT
from training.losses.maps import heat_map_loss, weighted_map_loss
from training.models.bones import bone_directions
from training.models.hand_targets import HandTargets, PoseEstimate
from training.models.heads.head import PoseHead
from training.models.heat_maps import find_peaks, gaussian_heat_maps

_WIDTH: Final = 256
_HEAT_MAP_WEIGHT: Final = 100.0


@dataclass(frozen=True, eq=False)
class DetNetMaps:
    """What DetNet says of B views, on a grid of H x H cells, H a quarter of the view's side."""

    heat_maps: Tensor
    """[B, 21, H, H] how much each cell looks like each joint, about 0 to 1."""
    delta_maps: Tensor
    """[B, 21, 3, H, H] the direction of each joint's bone from its parent, as seen from each cell."""
    location_maps: Tensor
    """[B, 21, 3, H, H] each joint relative to the wrist, in reference bones, as seen from each cell."""


class DetNetHead(PoseHead[DetNetMaps]):
    """Three transposed convolutions to a quarter of the view's side, then one kind of map after the other.

    Each kind is made from the features, two planes of coordinates and all earlier maps, by a 3x3 and a 1x1
    convolution. The 3D joint is read where its heat map has its peak.
    """

    def __init__(self, in_channels: int) -> None:
        """``in_channels`` is F, the channels of the trunk's last maps."""
        super().__init__()
        layers: list[nn.Module] = []
        for channels in (in_channels, _WIDTH, _WIDTH):
            layers += [
                nn.ConvTranspose2d(channels, _WIDTH, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(_WIDTH),
                nn.ReLU(inplace=True),
            ]
        self.upsampling = nn.Sequential(*layers)
        channels = _WIDTH + 2
        self.heat = _map_layers(channels, JOINT_COUNT)
        self.delta = _map_layers(channels + JOINT_COUNT, 3 * JOINT_COUNT)
        self.location = _map_layers(channels + 4 * JOINT_COUNT, 3 * JOINT_COUNT)

    def forward(self, maps: tuple[Tensor, ...]) -> DetNetMaps:
        """The maps, from the trunk's last stage [B, F, S/32, S/32]."""
        features = self.upsampling(maps[-1])
        features = torch.cat([features, _coordinate_planes(features)], 1)
        heat = self.heat(features)
        features = torch.cat([features, heat], 1)
        delta = self.delta(features)
        location = self.location(torch.cat([features, delta], 1))
        shape = (JOINT_COUNT, 3)
        return DetNetMaps(heat, delta.unflatten(1, shape), location.unflatten(1, shape))

    def loss(self, prediction: DetNetMaps, targets: HandTargets) -> dict[str, Tensor]:
        """100 x ``heat_map`` + ``delta`` + ``location``, see `training.losses.maps`."""
        heat_maps = gaussian_heat_maps(targets.known_keypoints, prediction.heat_maps.shape[-1])
        directions, has_bone = bone_directions(targets.known_joints, targets.valid_3d)
        heat = heat_map_loss(prediction.heat_maps, heat_maps, targets.valid)
        delta = weighted_map_loss(prediction.delta_maps, directions, heat_maps, has_bone)
        location = weighted_map_loss(
            prediction.location_maps, targets.known_joints, heat_maps, targets.valid_3d
        )
        total = _HEAT_MAP_WEIGHT * heat + delta + location
        return {"loss": total, "heat_map": heat, "delta": delta, "location": location}

    def decode(self, prediction: DetNetMaps, intrinsics: Tensor | None) -> PoseEstimate:
        """2D joints at the peaks of the heat maps (`find_peaks`), 3D ones from the cells that hold them."""
        peaks = find_peaks(prediction.heat_maps.float())
        places = peaks.cell[:, :, None, None].expand(-1, -1, 3, 1)
        joints = prediction.location_maps.float().flatten(3).gather(3, places)[..., 0]
        return PoseEstimate(peaks.points, joints - joints[:, :1], peaks.height.clamp(0, 1))


def _map_layers(in_channels: int, out_channels: int) -> nn.Sequential:
    last = nn.Conv2d(_WIDTH, out_channels, 1)
    assert last.bias is not None
    nn.init.normal_(last.weight, std=0.01)
    nn.init.zeros_(last.bias)
    return nn.Sequential(
        nn.Conv2d(in_channels, _WIDTH, 3, padding=1, bias=False),
        nn.BatchNorm2d(_WIDTH),
        nn.ReLU(inplace=True),
        last,
    )


def _coordinate_planes(features: Tensor) -> Tensor:
    """[B, 2, H, H] x and y of each cell, from -1 at one end to 1 at the other."""
    batch, _, side, _ = features.shape
    line = torch.linspace(-1, 1, side, device=features.device, dtype=features.dtype)
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x, y]).expand(batch, -1, -1, -1)

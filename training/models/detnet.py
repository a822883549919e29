"""DetNet: heat maps, delta maps and location maps (Zhou et al., CVPR 2020, arXiv 2003.09572, section 4.1).

Heat maps: what they should look like around a joint, and where their peaks are.

Bones of hands, as tensors.

DetNet's losses: how far predicted maps are from the true ones (Zhou et al., CVPR 2020, arXiv 2003.09572).

Each is a mean over the joints that count, so that more or fewer annotated joints do not change its size.
"""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from handsim.skeleton import JOINT_COUNT, PARENTS, WRIST
from training.models.head import HandTargets, PoseEstimate, PoseHead, masked_mean

SIGMA_CELLS: Final = 1.0
"""Standard deviation of a target's Gaussian (DetNet: one pixel of the heat map)."""

_LEAST_HEAT: Final = 1e-6


@dataclass(frozen=True, eq=False)
class Peaks:
    """Where each of [B, 21] heat maps is highest."""

    cell: Tensor
    """int64 [B, 21] the highest cell, counted row by row; the first of several."""
    points: Tensor
    """[B, 21, 2] the peak in the unit square."""
    height: Tensor
    """[B, 21] the highest cell's value."""


def gaussian_heat_maps(keypoints: Tensor, side: int, sigma_cells: float = SIGMA_CELLS) -> Tensor:
    """Heat maps [B, 21, side, side] of keypoints [B, 21, 2] in the unit square: exp(-d^2 / (2 sigma^2)).

    d is the distance in cells from a cell's centre to the keypoint, which need not lie on one, nor inside.
    """
    centres = torch.arange(side, device=keypoints.device, dtype=keypoints.dtype) + 0.5
    # A Gaussian is the product of one along x and one along y.
    x, y = torch.exp(-((centres - keypoints[..., None] * side) ** 2) / (2 * sigma_cells**2)).unbind(-2)
    return y[..., :, None] * x[..., None, :]


def find_peaks(heat_maps: Tensor) -> Peaks:
    """Peaks of heat maps [B, 21, H, W], finer than their cells.

    Along each axis a Gaussian is laid through the highest cell and its two neighbours (a parabola through
    their logarithms); its middle, half a cell away at most, is the peak. What `gaussian_heat_maps` makes is
    found exactly. At the border, and beside cells that are not above 0, the peak is the cell's centre.
    """
    height, width = heat_maps.shape[-2:]
    value, cell = heat_maps.flatten(2).max(dim=2)
    row, column = cell // width, cell % width
    along_x = heat_maps.gather(2, row[..., None, None].expand(-1, -1, 1, width))[..., 0, :]
    along_y = heat_maps.gather(3, column[..., None, None].expand(-1, -1, height, 1))[..., 0]
    x = (column + 0.5 + _offset(along_x, column)) / width
    y = (row + 0.5 + _offset(along_y, row)) / height
    return Peaks(cell, torch.stack([x, y], dim=-1), value)


def _offset(profile: Tensor, highest: Tensor) -> Tensor:
    """How far the peak of each profile [B, 21, W] lies from the centre of its ``highest`` cell [B, 21]."""
    last = profile.shape[-1] - 1
    places = torch.stack([highest - 1, highest, highest + 1], dim=-1)
    heat = profile.gather(2, places.clamp(0, last))
    usable = (highest > 0) & (highest < last) & (heat > _LEAST_HEAT).all(-1)
    before, middle, after = heat.clamp(min=_LEAST_HEAT).log().unbind(-1)
    curvature = 2 * middle - before - after
    usable &= curvature > _LEAST_HEAT
    offset = (after - before) / (2 * curvature.where(usable, 1.0))
    return offset.where(usable, 0.0).clamp(-0.5, 0.5)


_SHORTEST: Final = 1e-6


def bone_directions(joints: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors [B, 21, 3] from each joint's parent to the joint, and bool [B, 21] where there is one.

    ``joints`` [B, 21, 3] are finite; ``valid`` [B, 21] says which count. The wrist has no parent: its vector
    is 0, as DetNet has it, and there wherever the wrist is valid. Bones without both ends, or shorter than
    1e-6 of the unit, have no direction: theirs is 0 and not there.
    """
    parents = torch.tensor([max(parent, WRIST) for parent in PARENTS], device=joints.device)
    bones = joints - joints[:, parents]
    lengths = torch.linalg.vector_norm(bones, dim=-1)
    there = valid & valid[:, parents] & (lengths > _SHORTEST)
    directions = (bones / lengths.clamp(min=_SHORTEST)[..., None]).where(there[..., None], 0.0)
    there[:, WRIST] = valid[:, WRIST]
    return directions, there


def heat_map_loss(predicted: Tensor, true: Tensor, valid: Tensor) -> Tensor:
    """Half the mean squared error of a heat map, times the number of joints; a scalar.

    ``predicted`` and ``true`` [B, 21, H, H]; only joints that are ``valid`` [B, 21] count.
    """
    errors = (predicted.to(true) - true).square().mean((2, 3))
    return 0.5 * true.shape[1] * masked_mean(errors, valid)


def weighted_map_loss(predicted: Tensor, true: Tensor, heat_maps: Tensor, valid: Tensor) -> Tensor:
    """Squared error of 3D maps summed over their cells, each weighted by the true heat map; a scalar.

    The paper's || H * (L - L') ||_F^2 of ``predicted`` L [B, 21, 3, H, H] and vectors ``true`` [B, 21, 3],
    the same in every cell; ``heat_maps`` H [B, 21, H, H] are the true ones. Only joints that are ``valid``
    [B, 21] count; ``true`` is finite for the others, too.
    """
    errors = (predicted.to(true) - true[..., None, None]) * heat_maps[:, :, None]
    return masked_mean(errors.square().sum((2, 3, 4)), valid)


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
        """100 x ``heat_map`` + ``delta`` + ``location``, see `training.models.detnet`."""
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

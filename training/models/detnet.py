"""DetNet: heat maps, delta maps and location maps (Zhou et al., CVPR 2020, arXiv 2003.09572, section 4.1).

A heat map says where a joint is in the view, a delta map in which direction its bone points, a location map
where it is in 3D, as seen from each cell. The 2D joint is the peak of the heat map, the 3D joint the value of
the location map there. The losses of a view of 128 pixels are 100 x heat map + delta + location; each is a
mean over the joints that are annotated, so that its size does not depend on their number.
"""

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from handsim.skeleton import JOINT_COUNT, PARENTS, WRIST
from training.models.head import HandTargets, PoseEstimate, PoseHead, masked_mean

_WIDTH: Final = 256
_HEAT_STRIDE_PX: Final = 4
_HEAT_MAP_WEIGHT: Final = 100.0
_REFERENCE_CELLS: Final = 32 * 32
"""Of a map of a view of 128 pixels, for which the weight was chosen."""
_SIGMA_CELLS: Final = 1.0
"""Standard deviation of a target's Gaussian (DetNet: one pixel of the heat map)."""
_LEAST_HEAT: Final = 1e-6
_SHORTEST: Final = 1e-6


@dataclass(frozen=True, eq=False)
class DetNetMaps:
    """The head's prediction for B views, on a grid of H x H cells, H about a quarter of the view's side."""

    heat_maps: Tensor
    """[B, 21, H, H] how likely each joint is in each cell, 0 to 1, or about that without a sigmoid."""
    delta_maps: Tensor
    """[B, 21, 3, H, H] the direction of each joint's bone, from its parent."""
    location_maps: Tensor
    """[B, 21, 3, H, H] each joint relative to the wrist, in reference bones."""


class DetNetHead(PoseHead[DetNetMaps]):
    """Transposed convolutions to about a quarter of the view's side, then one kind of map after the other.

    Each kind is made from the features, two planes of coordinates and all earlier maps, by a 3x3 and a 1x1
    convolution.
    """

    def __init__(
        self, in_channels: int, stride_px: int = 32, *, sigmoid: bool = False, balanced: bool = True
    ) -> None:
        """``in_channels`` is F, the channels of the trunk's last maps, and ``stride_px`` their stride: three
        transposed convolutions for 32 pixels, two for the 14 or 16 of a vision transformer.

        ``sigmoid``: heat maps are one, as in SiMHand's code, else linear. ``balanced``: the parts of the loss
        are to each other, at every size of view, as they are at 128 pixels; else as their definitions have
        them.
        """
        super().__init__()
        self._sigmoid, self._balanced = sigmoid, balanced
        layers: list[nn.Module] = []
        doublings = round(math.log2(stride_px / _HEAT_STRIDE_PX))
        for channels in (in_channels, *[_WIDTH] * (doublings - 1)):
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
        if self._sigmoid:
            heat = heat.sigmoid()
        features = torch.cat([features, heat], 1)
        delta = self.delta(features)
        location = self.location(torch.cat([features, delta], 1))
        shape = (JOINT_COUNT, 3)
        return DetNetMaps(heat, delta.unflatten(1, shape), location.unflatten(1, shape))

    def loss(self, prediction: DetNetMaps, targets: HandTargets) -> dict[str, Tensor]:
        """100 x ``heat_map`` + ``delta`` + ``location``, of `heat_map_loss` and `weighted_map_loss`.

        The first is a mean over all cells of a map, the others are sums over the few at a joint. With a
        quarter of the cells, in a view of 64 pixels, the mean is four times as large and the sums are not:
        balanced, its weight is then 25.
        """
        heat_maps = gaussian_heat_maps(targets.masked_keypoints, prediction.heat_maps.shape[-1])
        directions, has_bone = bone_directions(targets.masked_joints, targets.valid_3d)
        heat = heat_map_loss(prediction.heat_maps, heat_maps, targets.valid)
        delta = weighted_map_loss(prediction.delta_maps, directions, heat_maps, has_bone)
        location = weighted_map_loss(
            prediction.location_maps, targets.masked_joints, heat_maps, targets.valid_3d
        )
        cells = heat_maps[0, 0].numel() if self._balanced else _REFERENCE_CELLS
        total = _HEAT_MAP_WEIGHT * (cells / _REFERENCE_CELLS) * heat + delta + location
        return {"loss": total, "heat_map": heat, "delta": delta, "location": location}

    def decode(self, prediction: DetNetMaps, intrinsics: Tensor | None) -> PoseEstimate:
        """2D joints at the peaks of the heat maps (`find_peaks`), 3D joints from the cells of the peaks."""
        cells, points, heights = find_peaks(prediction.heat_maps.float())
        places = cells[:, :, None, None].expand(-1, -1, 3, 1)
        joints = prediction.location_maps.float().flatten(3).gather(3, places)[..., 0]
        return PoseEstimate(points, joints - joints[:, :1], heights.clamp(0, 1))


def gaussian_heat_maps(keypoints: Tensor, side: int, sigma_cells: float = _SIGMA_CELLS) -> Tensor:
    """Heat maps [B, 21, side, side] of keypoints [B, 21, 2] in the unit square: exp(-d^2 / (2 sigma^2)).

    d is the distance in cells from a cell's centre to the keypoint, which may be anywhere, also outside.
    """
    centres = torch.arange(side, device=keypoints.device, dtype=keypoints.dtype) + 0.5
    # A Gaussian is the product of one along x and one along y.
    x, y = torch.exp(-((centres - keypoints[..., None] * side) ** 2) / (2 * sigma_cells**2)).unbind(-2)
    return y[..., :, None] * x[..., None, :]


def find_peaks(heat_maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Peaks of heat maps [B, 21, H, W]: cells int64 [B, 21], points [B, 21, 2] and heights [B, 21].

    The cell is the highest one (the first of several), counted row by row, the height its value. The point,
    in the unit square, is finer than cells: along each axis a Gaussian is fitted to the highest cell and its
    two neighbours (a parabola to their logarithms); its centre, half a cell away at most, is the peak. This
    is exact for maps made by `gaussian_heat_maps`. At the border, and beside cells that are not above 0, the
    peak is the cell's centre.
    """
    height, width = heat_maps.shape[-2:]
    value, cell = heat_maps.flatten(2).max(dim=2)
    row, column = cell // width, cell % width
    along_x = heat_maps.gather(2, row[..., None, None].expand(-1, -1, 1, width))[..., 0, :]
    along_y = heat_maps.gather(3, column[..., None, None].expand(-1, -1, height, 1))[..., 0]
    x = (column + 0.5 + _offset(along_x, column)) / width
    y = (row + 0.5 + _offset(along_y, row)) / height
    return cell, torch.stack([x, y], dim=-1), value


def _offset(profile: Tensor, highest: Tensor) -> Tensor:
    """How far the peak of each profile [B, 21, W] is from the centre of its ``highest`` cell [B, 21]."""
    last = profile.shape[-1] - 1
    places = torch.stack([highest - 1, highest, highest + 1], dim=-1)
    heat = profile.gather(2, places.clamp(0, last))
    usable = (highest > 0) & (highest < last) & (heat > _LEAST_HEAT).all(-1)
    before, middle, after = heat.clamp(min=_LEAST_HEAT).log().unbind(-1)
    curvature = 2 * middle - before - after
    usable &= curvature > _LEAST_HEAT
    offset = (after - before) / (2 * curvature.where(usable, 1.0))
    return offset.where(usable, 0.0).clamp(-0.5, 0.5)


def bone_directions(joints: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors [B, 21, 3] from each joint's parent to the joint, and bool [B, 21] which of them exist.

    ``joints`` [B, 21, 3] are finite; ``valid`` [B, 21] are those with a true value. The wrist has no parent:
    its vector is 0, as in DetNet, and exists where the wrist is valid. Bones of which an end is not valid, or
    shorter than 1e-6 of the unit, have no direction: the vector is 0 and does not exist.
    """
    parents = torch.tensor([max(parent, WRIST) for parent in PARENTS], device=joints.device)
    bones = joints - joints[:, parents]
    lengths = torch.linalg.vector_norm(bones, dim=-1)
    exists = valid & valid[:, parents] & (lengths > _SHORTEST)
    directions = (bones / lengths.clamp(min=_SHORTEST)[..., None]).where(exists[..., None], 0.0)
    exists[:, WRIST] = valid[:, WRIST]
    return directions, exists


def heat_map_loss(predicted: Tensor, true: Tensor, valid: Tensor) -> Tensor:
    """Half the mean squared error of a heat map, times the number of joints; a scalar.

    ``predicted`` and ``true`` [B, 21, H, H]; over the joints that are ``valid`` [B, 21].
    """
    errors = (predicted.to(true) - true).square().mean((2, 3))
    return 0.5 * true.shape[1] * masked_mean(errors, valid)


def weighted_map_loss(predicted: Tensor, true: Tensor, heat_maps: Tensor, valid: Tensor) -> Tensor:
    """Squared error of 3D maps summed over their cells, each weighted by the true heat map; a scalar.

    The paper's || H * (L - L') ||_F^2 of ``predicted`` L [B, 21, 3, H, H] and vectors ``true`` [B, 21, 3],
    the same in every cell; ``heat_maps`` H [B, 21, H, H] are the true ones. The mean is over the
    joints that are ``valid`` [B, 21]; ``true`` must be finite for all.
    """
    errors = (predicted.to(true) - true[..., None, None]) * heat_maps[:, :, None]
    return masked_mean(errors.square().sum((2, 3, 4)), valid)


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

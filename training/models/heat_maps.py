"""Heat maps: what they should look like around a joint, and where their peaks are."""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

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

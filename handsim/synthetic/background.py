"""Textured pictures to put behind a hand: rooms, walls, tables and gardens, roughly.

Apart from `scene`, because a scene is drawn without torch.
"""

import math
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from handsim.synthetic.config import Floats
from handsim.synthetic.scene import Scene, sample_colours

_BACKGROUND_WIDTH: Final = 1.5
"""The background is this much wider than the crop, so that it can move behind the hand."""


def paint_background(rng: np.random.Generator, scene: Scene, size_px: int) -> Tensor:
    """A background float32 [3, W, W], sRGB 0 to 1, with W = 1.5 ``size_px``, lit roughly as the scene is."""
    width = int(size_px * _BACKGROUND_WIDTH)
    painted = {
        "wall": _wall,
        "blurred": _blurred,
        "clutter": _clutter,
        "boards": _boards,
        "foliage": _foliage,
    }[scene.background](rng, width)
    exposure = 0.55 + 0.35 * float(scene.light_colour.mean() + scene.sky.mean()) / 1.4
    return (painted * exposure).clamp_(0, 1)


def pan(background: Tensor, places: Floats, size_px: int) -> Tensor:
    """Cut crops [N, 3, size_px, size_px] at ``places`` [N, 2] (0 to 1 of the room there is)."""
    room = background.shape[-1] - size_px
    corners = np.rint(places * room).astype(int)
    return torch.stack([background[:, y : y + size_px, x : x + size_px] for x, y in corners])


def _noise(rng: np.random.Generator, cells: int, width: int, channels: int = 1) -> Tensor:
    """Smooth noise [channels, width, width] of mean 0 with about ``cells`` hills across."""
    grid = torch.from_numpy(rng.standard_normal((1, channels, cells + 3, cells + 3), dtype=np.float32))
    smooth = functional.interpolate(grid, size=(width, width), mode="bicubic", align_corners=True)
    return smooth[0]


def _octaves(rng: np.random.Generator, cells: int, width: int, count: int, channels: int = 1) -> Tensor:
    """Noise whose finer hills are lower."""
    total = torch.zeros(channels, width, width)
    for octave in range(count):
        total += _noise(rng, cells * 2**octave, width, channels) * 0.6**octave
    return total


def _colours(rng: np.random.Generator, count: int) -> Tensor:
    return torch.from_numpy(sample_colours(rng, count).astype(np.float32))[:, :, None, None]


def _grid(width: int) -> tuple[Tensor, Tensor]:
    """x and y [width, width], from -1 to 1."""
    line = torch.linspace(-1, 1, width)
    return line[None, :].expand(width, width), line[:, None].expand(width, width)


def _wall(rng: np.random.Generator, width: int) -> Tensor:
    """A wall or a sheet: nearly one colour, unevenly lit, a little rough."""
    first, second = _colours(rng, 2)
    x, y = _grid(width)
    angle = float(rng.uniform(0, 2 * np.pi))
    slope = 0.5 + 0.5 * (math.cos(angle) * x + math.sin(angle) * y)
    tinted = first * (1 - 0.3 * slope) + second * 0.3 * slope
    rough: Tensor = tinted + 0.02 * _octaves(rng, 20, width, 2) + 0.05 * _noise(rng, 2, width)
    return rough


def _blurred(rng: np.random.Generator, width: int) -> Tensor:
    """A room far out of focus."""
    blobs = _octaves(rng, int(rng.integers(2, 5)), width, 2, channels=3)
    return _colours(rng, 1)[0] + rng.uniform(0.05, 0.14) * (0.3 * blobs + 0.7 * _octaves(rng, 3, width, 3))


def _clutter(rng: np.random.Generator, width: int) -> Tensor:
    """Things on a table: boxes, discs and rods of many colours, one before the other."""
    canvas = _wall(rng, width)
    x, y = _grid(width)
    count = int(rng.integers(8, 18))
    colours = _colours(rng, count)
    for colour in colours:
        across, down = rng.uniform(-1.1, 1.1, 2)
        angle, soft = rng.uniform(0, np.pi), rng.uniform(0.01, 0.05)
        half = np.exp(rng.uniform(np.log(0.05), np.log(0.6), 2))
        right = (math.cos(angle) * (x - across) + math.sin(angle) * (y - down)) / half[0]
        up = (math.cos(angle) * (y - down) - math.sin(angle) * (x - across)) / half[1]
        inside = (
            1 - (right**2 + up**2).sqrt() if rng.random() < 0.4 else 1 - torch.maximum(right.abs(), up.abs())
        )
        cover = (inside / soft * float(half.min())).clamp(0, 1)
        canvas = canvas * (1 - cover) + cover * colour * (0.85 + 0.25 * up.clamp(-1, 1) * rng.uniform(-1, 1))
    return canvas + 0.015 * _octaves(rng, 24, width, 2)


def _boards(rng: np.random.Generator, width: int) -> Tensor:
    """Planks, tiles, stripes: straight lines at some angle, with grain along them."""
    first, second = _colours(rng, 2)
    x, y = _grid(width)
    angle = float(rng.uniform(0, np.pi))
    across = math.cos(angle) * x + math.sin(angle) * y
    along = math.cos(angle) * y - math.sin(angle) * x
    count = float(rng.uniform(1.5, 7))
    board = torch.floor(across * count)
    tone = torch.sin(board * 12.9898 + float(rng.uniform(0, 6))) * 0.5 + 0.5
    seam = ((across * count - board - 0.5).abs() * 2) ** 24
    if rng.random() < 0.4:
        seam = torch.maximum(seam, ((along * count - torch.floor(along * count) - 0.5).abs() * 2) ** 24)
    grain = torch.sin(across * 60 + 3 * _noise(rng, 4, width)[0]) * 0.03 + 0.05 * _noise(rng, 12, width)[0]
    mixed = first + (second - first) * tone * float(rng.uniform(0.1, 0.6))
    boards: Tensor = (mixed + grain) * (1 - 0.5 * seam)
    return boards


def _foliage(rng: np.random.Generator, width: int) -> Tensor:
    """Leaves, cloth with a print, gravel: busy at every scale."""
    shades = _octaves(rng, int(rng.integers(4, 12)), width, 4)
    levels = (shades * float(rng.uniform(0.6, 1.6))).sin() * 0.5 + 0.5
    dark, light, other = _colours(rng, 3)
    patches = (_noise(rng, 5, width) * 4).sigmoid()
    leaves: Tensor = dark * 0.6 + levels * (light * (1 - patches) + other * patches) * 0.6
    return leaves

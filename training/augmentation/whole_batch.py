"""Views painted on a GPU: all at once, by torch."""

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from training.augmentation.colour import WHITE, jittered

_AT_ONCE_PX: Final = 1024 * 128 * 128
"""Pixels of views painted at once. It bounds the memory."""


def paint_whole_batch(
    images: Tensor, crops: Tensor, affine: Tensor, halved: Tensor, colour: Tensor | None
) -> None:
    """What `paint_one_by_one` does, by one grid sample a view, on the device of ``images`` and ``crops``.

    ``affine``, ``halved`` and ``colour`` come from the CPU.
    """
    at_once = max(1, _AT_ONCE_PX // images.shape[-1] ** 2)
    columns, rows = _grid_parts(affine, images)
    colours = None if colour is None else colour.to(images)
    for first in range(0, len(images), at_once):
        some = slice(first, first + at_once)
        views = _sampled(crops[some], columns[some] + rows[some], halved[some])
        images[some] = views / WHITE if colours is None else jittered(views, colours[some])


def _grid_parts(affine: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
    """Where views look into crops, from -1 to 1: [B, 1, S, 2] and [B, S, 1, 2], whose sum is the grid.

    Not by affine_grid, whose matrix product is rounded as the trainer's are: with TF32 by a quarter of a
    pixel.
    """
    (a, b), (c, d) = (affine[:, row, :2].unbind(1) for row in (0, 1))
    inverse = torch.stack([d, -b, -c, a], 1).view(-1, 2, 2) / (a * d - b * c)[:, None, None]
    origin = -2 * (inverse * affine[:, None, :, 2]).sum(2) - 1
    pixels = 2 * (torch.arange(images.shape[-1], dtype=torch.float64)[:, None] + 0.5) / images.shape[-1]
    columns = inverse[:, None, :, 0] * pixels + origin[:, None]
    rows = inverse[:, None, :, 1] * pixels
    return columns.to(images)[:, None], rows.to(images)[:, :, None]


def _sampled(crops: Tensor, grid: Tensor, halved: Tensor) -> Tensor:
    """Views [n, 3, S, S] in 0..255 of crops at ``grid`` [n, S, S, 2]; ``halved`` [n] is the CPU's."""
    levels = sorted(set(halved.tolist()))
    if len(levels) == 1:
        return _sampled_alike(crops, grid, levels[0])
    views = grid.new_empty((len(crops), 3, *grid.shape[1:3]))
    for level in levels:
        rows = (halved == level).nonzero()[:, 0].to(crops.device)
        views[rows] = _sampled_alike(crops[rows], grid[rows], level)
    return views


def _sampled_alike(crops: Tensor, grid: Tensor, halved: int) -> Tensor:
    pictures = crops.permute(0, 3, 1, 2).float()
    for _ in range(halved):
        pictures = functional.avg_pool2d(pictures, 2)
    return functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)

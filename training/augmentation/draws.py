"""The random numbers behind the views of a batch."""

from dataclasses import dataclass

import torch
from torch import Tensor

from training.augmentation.settings import AugmentationSettings, Range


@dataclass(frozen=True, eq=False)
class Draws:
    """What was drawn for B views: float64 or bool, on the CPU."""

    angle_deg: Tensor
    """[B], positive counter-clockwise as displayed."""
    margin: Tensor
    """[B], nothing to be read from where the settings have none."""
    jitter_px: Tensor
    """[B, 2], x and y."""
    colour: Tensor
    """[B, 4] factors of hue, saturation and value, and what is added to the value (of 255)."""
    greyed: Tensor
    """[B] bool."""
    blurred: Tensor
    """[B] bool."""
    blur_sigma_px: Tensor
    """[B]."""
    cut: Tensor
    """[B] bool."""
    cut_side: Tensor
    """[B], in sides of the view."""
    cut_centre: Tensor
    """[B, 2] in the view's unit square."""


def draw(settings: AugmentationSettings, count: int, generator: torch.Generator) -> Draws:
    """Draw for ``count`` views.

    Always the same 15 numbers for a view, those of one view after those of the other, used or not: to switch
    one step on or off changes nothing about the others.
    """
    uniform = torch.rand(count, 15, dtype=torch.float64, generator=generator)
    turn, margin, jitter, colour, chance, sigma, side, centre = torch.split(
        uniform, [1, 1, 2, 4, 3, 1, 1, 2], dim=1
    )
    ranges = (settings.hue, settings.saturation, settings.value, settings.brightness)
    return Draws(
        angle_deg=_between((-settings.rotation_deg, settings.rotation_deg), turn[:, 0]),
        margin=_between(settings.margin or (1.0, 1.0), margin[:, 0]),
        jitter_px=_between(settings.jitter_px, jitter),
        colour=torch.stack(
            [_between(bounds, colour[:, column]) for column, bounds in enumerate(ranges)], dim=1
        ),
        greyed=chance[:, 0] < settings.grey_probability,
        blurred=chance[:, 1] < settings.blur_probability,
        blur_sigma_px=_between(settings.blur_sigma_px, sigma[:, 0]),
        cut=chance[:, 2] < settings.cut_out_probability,
        cut_side=_between(settings.cut_out_side, side[:, 0]),
        cut_centre=centre,
    )


def _between(bounds: Range, uniform: Tensor) -> Tensor:
    low, high = bounds
    return low + (high - low) * uniform

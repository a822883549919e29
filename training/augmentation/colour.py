"""Changing the colours of views: PeCLR's jitter of hue, saturation and value (HSV), and taking them away."""

from typing import Final

import torch
from torch import Tensor

WHITE: Final = 255.0
_TINY: Final = 1e-6
"""Of 255. Added to what is divided by: grey has no hue, black no saturation, and neither gets one by this."""
_LUMA: Final = (0.299, 0.587, 0.114)
"""ITU-R BT.601, as OpenCV and Pillow turn colours grey."""


def jittered(views: Tensor, colour: Tensor) -> Tensor:
    """Views [B, 3, S, S], RGB in 0..255, with their hue, saturation and value changed: RGB in 0..1.

    ``colour`` [B, 4] is what hue, saturation and value are multiplied by and what is then added to the value
    (of 255), as in `Draws`. Saturation and value are kept within 0..1. Nothing is indexed or masked: a few
    dozen passes over the pixels. With V the largest, m the least of red, green and blue, and C = V - m, the
    hue in sixths of a turn from red is 1 + (G + B - R - m) / C where green >= blue, else 6 minus that.
    """
    hue_factor, saturation_factor, value_factor, brightness = colour[:, :, None, None].unbind(1)
    red, green, blue = views.unbind(1)
    value, least = views.amax(1), views.amin(1)
    chroma = value - least
    upper = 1 + (green + blue - red - least) / (chroma + _TINY)
    hue = torch.where(green >= blue, upper, 6 - upper) * hue_factor
    saturation = (chroma / (value + _TINY) * saturation_factor).clamp(max=1)
    value = (value * (value_factor / WHITE) + brightness / WHITE).clamp(0, 1)
    chroma = value * saturation
    # How far each colour is below the largest, in shares of the chroma.
    below_red = (2 - (hue - 3).abs()).clamp(0, 1)
    below_green = ((hue - 2).abs() - 1).clamp(0, 1)
    below_blue = ((hue - 4).abs() - 1).clamp(0, 1)
    return torch.stack([value - chroma * below for below in (below_red, below_green, below_blue)], 1)


def without_colour(views: Tensor) -> Tensor:
    """Views [n, 3, S, S] in grey, of the same shape."""
    red, green, blue = views.unbind(1)
    grey = _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue
    return grey[:, None].expand_as(views)

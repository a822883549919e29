"""Gaussian blur of views, each by its own width."""

import math
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

_REACH: Final = 3
"""Where a Gaussian is cut off, in standard deviations."""


def blurred(views: Tensor, sigma_px: Tensor, most_px: float) -> Tensor:
    """Views [n, 3, S, S] blurred by ``sigma_px`` [n], none above ``most_px``; their edges repeat outwards."""
    count, channels, size, _ = views.shape
    reach = math.ceil(_REACH * most_px)
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (offsets / sigma_px.double()[:, None]) ** 2)
    weights = (weights / weights.sum(1, keepdim=True)).repeat_interleave(channels, 0).to(views)
    planes = views.reshape(1, count * channels, size, size)
    for kernel, padding in (
        (weights[:, None, None, :], (reach, reach, 0, 0)),
        (weights[:, None, :, None], (0, 0, reach, reach)),
    ):
        padded = functional.pad(planes, padding, mode="replicate")
        planes = functional.conv2d(padded, kernel, groups=count * channels)
    return planes.view_as(views)

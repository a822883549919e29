"""Cut-out: a square of a view is taken away (DeVries and Taylor, arXiv 1708.04552)."""

from typing import Final

import torch
from torch import Tensor

FILLED_WITH: Final = (0.485, 0.456, 0.406)
"""The mean colour of ImageNet, which encoders see as 0."""


def cut_out(views: Tensor, centre: Tensor, side: Tensor) -> Tensor:
    """Views [n, 3, S, S] in 0..1, each without the square around ``centre`` [n, 2] that is ``side`` [n] long.

    Both in the view's unit square. A square may reach outside its view; pixels belong to it by their centres.
    """
    size = views.shape[-1]
    pixels = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    inside = ((pixels - centre[:, :, None]).abs() < side[:, None, None] / 2).to(views.device)
    mask = inside[:, 1, None, :, None] & inside[:, 0, None, None, :]
    return torch.where(mask, views.new_tensor(FILLED_WITH)[:, None, None], views)

"""The pixels of views: sampled from their crops, colours changed; and steps that only some views get.

There are two renderers with the same result but for rounding. On the CPU, OpenCV goes over one crop after the
other, on a few threads: it passes over a picture once where torch needs a pass for each sum and product (one
core takes 0.11 ms a view, torch with its passes kept within the cache 0.18), and torch's threads wait for
each other after every pass, which takes ten times as long where the cores have other work. On a GPU, torch
renders the whole batch at once.

Colours: PeCLR's jitter of hue, saturation and value (HSV). What lies outside a crop repeats its edge, as in a
crop that reaches outside its photograph; black corners would tell the encoder the angle of a view.
"""

import math
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

CUT_OUT_COLOUR: Final = (0.485, 0.456, 0.406)
"""What a cut-out square is filled with: the mean colour of ImageNet, which encoders see as 0."""

_WHITE: Final = 255.0
_TINY: Final = 1e-6
"""Of 255. Added to what is divided by: grey has no hue, black no saturation, and neither gets one by this."""
_LUMA: Final = (0.299, 0.587, 0.114)
"""ITU-R BT.601, as OpenCV and Pillow turn colours grey."""
_MOST_THREADS: Final = 4
"""More would wait for Python's lock, which each call of some 10 µs has to take."""
_SHARES_A_THREAD: Final = 4
"""So that one thread that is held up does not delay the others."""
_SURELY_WITHIN: Final = 1 - 1e-6
"""A largest value that rounding does not take beyond 1."""
_PIXELS_AT_ONCE: Final = 1024 * 128 * 128
"""Pixels of views that are rendered at once by torch; it bounds the memory."""
_BLUR_REACH: Final = 3
"""Where a Gaussian is cut off, in standard deviations."""


def render_with_opencv(
    images: Tensor, crops: Tensor, affine: Tensor, halvings: Tensor, colour: Tensor | None
) -> None:
    """Fill float32 ``images`` [B, 3, S, S], RGB in 0..1, with views of ``crops`` uint8 [B, H, H, 3].

    All are on the CPU. ``affine`` float64 [B, 2, 3] maps the crop's unit square to the view's; each crop is
    first averaged down ``halvings`` [B] times. ``colour`` [B, 4] is that of `ViewParameters`; None: colours
    stay.
    """
    renderer = _OpencvRenderer(images, crops, affine, halvings, colour)
    threads = min(_MOST_THREADS, torch.get_num_threads())
    if threads == 1:
        renderer.render(range(len(images)))
        return
    size = -(-len(images) // (threads * _SHARES_A_THREAD))
    with ThreadPoolExecutor(threads) as pool:
        shares = (range(first, min(first + size, len(images))) for first in range(0, len(images), size))
        list(pool.map(renderer.render, shares))  # a list: raises what a thread raises


class _OpencvRenderer:
    """One batch, of which threads may render different views at a time."""

    def __init__(
        self, images: Tensor, crops: Tensor, affine: Tensor, halvings: Tensor, colour: Tensor | None
    ) -> None:
        self._images: NDArray[np.float32] = images.numpy()
        self._crops: NDArray[np.uint8] = crops.numpy()
        self._halvings: list[int] = halvings.tolist()
        sampled_px = crops.shape[1] // 2**halvings
        linear = affine[:, :, :2] * (images.shape[-1] / sampled_px)[:, None, None]
        # OpenCV's pixels have their centres at whole numbers, ours at halves.
        shift = affine[:, :, 2] * images.shape[-1] + linear.sum(2) / 2 - 0.5
        self._affines = torch.cat([linear, shift[:, :, None]], 2).numpy()
        self._colour_matrices = None if colour is None else _colour_matrices(colour)

    def render(self, rows: Iterable[int]) -> None:
        """Render some of the views."""
        size = self._crops.shape[1]
        side = self._images.shape[-1]
        picture = np.empty((size, size, 3), np.float32)
        view, other = np.empty((2, side, side, 3), np.float32)
        for row in rows:
            np.copyto(picture, self._crops[row])
            sampled = picture
            for _ in range(self._halvings[row]):
                half = (sampled.shape[0] // 2, sampled.shape[1] // 2)
                smaller = cv2.resize(sampled, half, interpolation=cv2.INTER_AREA)
                sampled = smaller.astype(np.float32, copy=False)
            cv2.warpAffine(
                sampled,
                self._affines[row],
                (side, side),
                dst=view,
                flags=cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            )
            if self._colour_matrices is None:
                np.divide(view, np.float32(_WHITE), out=other)
            else:
                _change_colours(view, other, self._colour_matrices[row])
            cv2.split(other, list(self._images[row]))


def _colour_matrices(colour: Tensor) -> NDArray[np.float32]:
    """Matrices [B, 3, 4]: hue (degrees), saturation (0..1), value (0..255) to new ones (value: 0..1)."""
    factors = colour.numpy().astype(np.float32)
    matrices = np.zeros((len(factors), 3, 4), np.float32)
    matrices[:, 0, 0], matrices[:, 1, 1] = factors[:, 0], factors[:, 1]
    matrices[:, 2, 2:] = factors[:, 2:] / np.float32(_WHITE)
    return matrices


def _change_colours(
    view: NDArray[np.float32], other: NDArray[np.float32], matrix: NDArray[np.float32]
) -> None:
    """Change the colours of a view [S, S, 3], from 0..255 to 0..1; the result is in ``other``."""
    cv2.cvtColor(view, cv2.COLOR_RGB2HSV, dst=other)
    cv2.transform(other, matrix, dst=view)
    least, most = matrix[2, 3], matrix[2, 2] * _WHITE + matrix[2, 3]
    if least < 0 or most > _SURELY_WITHIN or matrix[1, 1] > 1:  # one view in ten with PeCLR's numbers
        cv2.min(view, (360.0, 1.0, 1.0, 0.0), dst=other)
        cv2.max(other, (0.0, 0.0, 0.0, 0.0), dst=view)
    cv2.cvtColor(view, cv2.COLOR_HSV2RGB, dst=other)


def render_with_torch(
    images: Tensor, crops: Tensor, affine: Tensor, halvings: Tensor, colour: Tensor | None
) -> None:
    """The same as `render_with_opencv`, on the device of ``images`` and ``crops``.

    ``affine``, ``halvings`` and ``colour`` are on the CPU.
    """
    at_once = max(1, _PIXELS_AT_ONCE // images.shape[-1] ** 2)
    columns, rows = _grid_parts(affine, images)
    colours = None if colour is None else colour.to(images)
    for first in range(0, len(images), at_once):
        part = slice(first, first + at_once)
        views = _sample(crops[part], columns[part] + rows[part], halvings[part])
        images[part] = views / _WHITE if colours is None else _jitter_colours(views, colours[part])


def _grid_parts(affine: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
    """Where in crops to sample, from -1 to 1: [B, 1, S, 2] and [B, S, 1, 2], whose sum is the grid.

    Without affine_grid, whose matrix product is rounded as the trainer's are: with TF32 by a quarter of a
    pixel.
    """
    (a, b), (c, d) = (affine[:, row, :2].unbind(1) for row in (0, 1))
    inverse = torch.stack([d, -b, -c, a], 1).view(-1, 2, 2) / (a * d - b * c)[:, None, None]
    origin = -2 * (inverse * affine[:, None, :, 2]).sum(2) - 1
    pixels = 2 * (torch.arange(images.shape[-1], dtype=torch.float64)[:, None] + 0.5) / images.shape[-1]
    columns = inverse[:, None, :, 0] * pixels + origin[:, None]
    rows = inverse[:, None, :, 1] * pixels
    return columns.to(images)[:, None], rows.to(images)[:, :, None]


def _sample(crops: Tensor, grid: Tensor, halvings: Tensor) -> Tensor:
    """Views [n, 3, S, S] in 0..255 of crops at ``grid`` [n, S, S, 2]; ``halvings`` [n] is on the CPU."""
    levels = sorted(set(halvings.tolist()))
    if len(levels) == 1:
        pictures = crops.permute(0, 3, 1, 2).float()
        for _ in range(levels[0]):
            pictures = functional.avg_pool2d(pictures, 2)
        return functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    views = grid.new_empty((len(crops), 3, *grid.shape[1:3]))
    for level in levels:
        same = halvings == level
        rows = same.nonzero()[:, 0].to(crops.device)
        views[rows] = _sample(crops[rows], grid[rows], halvings[same])
    return views


def _jitter_colours(views: Tensor, colour: Tensor) -> Tensor:
    """Views [B, 3, S, S], RGB in 0..255, with their hue, saturation and value changed: RGB in 0..1.

    ``colour`` [B, 4] as in `ViewParameters`; saturation and value are clipped to 0..1. Nothing is indexed or
    masked: a few dozen passes over the pixels. With V the largest, m the least of red, green and blue, and
    C = V - m, the hue in sixths of a turn from red is 1 + (G + B - R - m) / C where green >= blue, else 6
    minus that.
    """
    hue_factor, saturation_factor, value_factor, brightness = colour[:, :, None, None].unbind(1)
    red, green, blue = views.unbind(1)
    value, least = views.amax(1), views.amin(1)
    chroma = value - least
    upper = 1 + (green + blue - red - least) / (chroma + _TINY)
    hue = torch.where(green >= blue, upper, 6 - upper) * hue_factor
    saturation = (chroma / (value + _TINY) * saturation_factor).clamp(max=1)
    value = (value * (value_factor / _WHITE) + brightness / _WHITE).clamp(0, 1)
    chroma = value * saturation
    # How far each colour is below the largest, in shares of the chroma.
    below_red = (2 - (hue - 3).abs()).clamp(0, 1)
    below_green = ((hue - 2).abs() - 1).clamp(0, 1)
    below_blue = ((hue - 4).abs() - 1).clamp(0, 1)
    return torch.stack([value - chroma * below for below in (below_red, below_green, below_blue)], 1)


def to_grey(views: Tensor) -> Tensor:
    """Views [n, 3, S, S] in grey, of the same shape."""
    red, green, blue = views.unbind(1)
    grey = _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue
    return grey[:, None].expand_as(views)


def gaussian_blur(views: Tensor, sigma_px: Tensor, most_px: float) -> Tensor:
    """Views [n, 3, S, S] blurred by ``sigma_px`` [n], none above ``most_px``; edges are replicated."""
    count, channels, size, _ = views.shape
    reach = math.ceil(_BLUR_REACH * most_px)
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


def cut_out(views: Tensor, centre: Tensor, side: Tensor) -> Tensor:
    """Views [n, 3, S, S] in 0..1 with a square filled: around ``centre`` [n, 2], ``side`` [n] long.

    Both in the view's unit square. A square may reach outside its view; a pixel belongs to it if its centre
    does.
    """
    size = views.shape[-1]
    pixels = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    inside = ((pixels - centre[:, :, None]).abs() < side[:, None, None] / 2).to(views.device)
    mask = inside[:, 1, None, :, None] & inside[:, 0, None, None, :]
    return torch.where(mask, views.new_tensor(CUT_OUT_COLOUR)[:, None, None], views)

"""Views painted on the CPU: crop by crop, by OpenCV.

OpenCV goes over a picture once where torch needs a pass for each sum and product: on one core 0.11 ms a view
where torch, its passes kept within the cache, took 0.18. And torch's threads wait for each other after every
pass; where the cores had other things to do, too, that took them ten times as long. These meet once a batch.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.augmentation.colour import WHITE

_MOST_THREADS: Final = 4
"""More would wait for Python's lock, which each call of some 10 µs has to take."""
_SHARES_A_THREAD: Final = 4
"""So that a thread which is held up holds up no other."""
_SURELY_WITHIN: Final = 1 - 1e-6
"""A largest value that rounding does not take beyond 1."""


def paint_one_by_one(
    images: Tensor, crops: Tensor, affine: Tensor, halved: Tensor, colour: Tensor | None
) -> None:
    """Fill float32 ``images`` [B, 3, S, S], RGB in 0..1, with views of ``crops`` uint8 [B, H, H, 3].

    ``affine`` float64 [B, 2, 3] maps the crop's unit square to the view's; each crop is first averaged down
    ``halved`` [B] times. What lies outside of it repeats its edge, as it does where the crop reached outside
    its picture: black corners would tell the encoder by which angle a view was turned. ``colour`` [B, 4] is
    as in `Draws`.
    """
    painter = _Painter(images, crops, affine, halved, colour)
    threads = min(_MOST_THREADS, torch.get_num_threads())
    if threads == 1:
        painter.paint(range(len(images)))
        return
    size = -(-len(images) // (threads * _SHARES_A_THREAD))
    with ThreadPoolExecutor(threads) as pool:
        shares = (range(first, min(first + size, len(images))) for first in range(0, len(images), size))
        list(pool.map(painter.paint, shares))  # a list: what a thread raises is raised here


class _Painter:
    """One batch, from which threads may paint different views at a time."""

    def __init__(
        self, images: Tensor, crops: Tensor, affine: Tensor, halved: Tensor, colour: Tensor | None
    ) -> None:
        self._images: NDArray[np.float32] = images.numpy()
        self._crops: NDArray[np.uint8] = crops.numpy()
        self._halved: list[int] = halved.tolist()
        sampled_px = crops.shape[1] // 2**halved
        linear = affine[:, :, :2] * (images.shape[-1] / sampled_px)[:, None, None]
        # OpenCV's pixels have their centres at whole numbers, ours at halves.
        shift = affine[:, :, 2] * images.shape[-1] + linear.sum(2) / 2 - 0.5
        self._affines = torch.cat([linear, shift[:, :, None]], 2).numpy()
        self._recolouring = None if colour is None else _recolouring(colour)

    def paint(self, rows: Iterable[int]) -> None:
        """Paint some of the views."""
        size = self._crops.shape[1]
        side = self._images.shape[-1]
        picture = np.empty((size, size, 3), np.float32)
        view, other = np.empty((2, side, side, 3), np.float32)
        for row in rows:
            np.copyto(picture, self._crops[row])
            sampled = picture
            for _ in range(self._halved[row]):
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
            if self._recolouring is None:
                np.divide(view, np.float32(WHITE), out=other)
            else:
                _recolour(view, other, self._recolouring[row])
            cv2.split(other, list(self._images[row]))


def _recolouring(colour: Tensor) -> NDArray[np.float32]:
    """Matrices [B, 3, 4]: hue (degrees), saturation (0..1), value (0..255) to new ones (value: 0..1)."""
    factors = colour.numpy().astype(np.float32)
    matrices = np.zeros((len(factors), 3, 4), np.float32)
    matrices[:, 0, 0], matrices[:, 1, 1] = factors[:, 0], factors[:, 1]
    matrices[:, 2, 2:] = factors[:, 2:] / np.float32(WHITE)
    return matrices


def _recolour(view: NDArray[np.float32], other: NDArray[np.float32], matrix: NDArray[np.float32]) -> None:
    """Change the colours of a view [S, S, 3], from 0..255 to 0..1, and leave the result in ``other``."""
    cv2.cvtColor(view, cv2.COLOR_RGB2HSV, dst=other)
    cv2.transform(other, matrix, dst=view)
    least, most = matrix[2, 3], matrix[2, 2] * WHITE + matrix[2, 3]
    if least < 0 or most > _SURELY_WITHIN or matrix[1, 1] > 1:  # one view in ten with PeCLR's numbers
        cv2.min(view, (360.0, 1.0, 1.0, 0.0), dst=other)
        cv2.max(other, (0.0, 0.0, 0.0, 0.0), dst=view)
    cv2.cvtColor(view, cv2.COLOR_HSV2RGB, dst=other)

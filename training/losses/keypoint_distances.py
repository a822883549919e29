"""How far apart two hands' 2D keypoints are: SiMHand's distance and two older ones of its published code.

With the differences (dx, dy) between the joints of two hands, of J joints each:

    distance   of a positive pair                           of two hands in the denominator
    mpjpe      mean_j sqrt(dx^2 + dy^2)                     the same (arXiv 2502.15251)
    w_abs      length of (mean_j |dx|, mean_j |dy|)         length over j of (|dx| + |dy|) / 2
    w_o_abs    length of (mean_j dx, mean_j dy)             length over j of (dx + dy) / 2
"""

from typing import Final

import torch
from torch import Tensor

from training.losses.weighting import KeypointDistance

_CPU_TILE: Final = 1 << 17
"""Pairs per thread in a tile on a CPU: its three buffers stay in the cache of the core that fills them."""
_GPU_TILE: Final = 1 << 22
"""On a GPU: enough to keep it busy between two launches, and few enough for its cache."""


def paired_distances(first: Tensor, second: Tensor, kind: KeypointDistance) -> Tensor:
    """Distance [N] of each positive pair, keypoints [N, J, 2] and [N, J, 2]; in their unit and dtype."""
    difference = first - second
    if kind == "mpjpe":
        return _lengths(difference).mean(-1)
    if kind == "w_abs":
        difference = difference.abs()
    return _lengths(difference.mean(1))


class AllDistances:
    """The distances between C hands, [C, C] of which only a tile is made at a time.

    By direct differences: the product form, |a|^2 + |b|^2 - 2ab, cancels where hands are near each other.
    A hand with a keypoint that is no finite number is not judged: its distances are NaN.
    """

    judged: Tensor
    """[C] bool: hands whose keypoints are all finite."""

    def __init__(self, keypoints: Tensor, kind: KeypointDistance) -> None:
        """Of keypoints [C, J, 2], float32 or float64; the tiles' buffers are made here."""
        self._kind = kind
        self.judged = keypoints.isfinite().flatten(1).all(1)
        points = keypoints.where(self.judged[:, None, None], torch.nan)
        if kind == "w_o_abs":
            points = points.mean(-1, keepdim=True)
        # [J, 1 or 2, C]: a joint's coordinate of all hands lies in one run of memory.
        self._planes = points.permute(1, 2, 0).contiguous()
        pairs = _CPU_TILE * torch.get_num_threads() if keypoints.device.type == "cpu" else _GPU_TILE
        self.rows_per_tile = min(max(1, pairs // len(keypoints)), len(keypoints))
        self._scratch = keypoints.new_empty(2, self.rows_per_tile * len(keypoints))

    def __len__(self) -> int:
        return self._planes.shape[-1]

    def fill(self, tile: Tensor, first_row: int, first_column: int = 0) -> Tensor:
        """Fill ``tile`` [at most rows_per_tile, width] from a row and a column on, and return it."""
        rows, width = tile.shape
        scratch = self._scratch[:, : rows * width].view(2, rows, width)
        down = self._planes[:, :, first_row : first_row + rows, None]
        across = self._planes[:, :, None, first_column : first_column + width]
        tile.zero_()
        for joint_down, joint_across in zip(down, across, strict=True):
            if self._kind == "mpjpe":
                _add_length(tile, joint_down, joint_across, scratch)
            elif self._kind == "w_abs":
                _add_squared_mean_of_absolutes(tile, joint_down, joint_across, scratch)
            else:
                torch.sub(joint_down[0], joint_across[0], out=scratch[0])
                tile.addcmul_(scratch[0], scratch[0])
        return tile.div_(len(self._planes)) if self._kind == "mpjpe" else tile.sqrt_()


def _lengths(vectors: Tensor) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(vectors, dim=-1)
    return lengths


def _add_length(tile: Tensor, down: Tensor, across: Tensor, scratch: Tensor) -> None:
    """Add one joint's distances; ``down`` [2, rows, 1], ``across`` [2, 1, width]."""
    x, y = scratch[0], scratch[1]
    torch.sub(down[0], across[0], out=x)
    torch.sub(down[1], across[1], out=y)
    tile.add_(x.mul_(x).addcmul_(y, y).sqrt_())


def _add_squared_mean_of_absolutes(tile: Tensor, down: Tensor, across: Tensor, scratch: Tensor) -> None:
    """Add one joint's ((|dx| + |dy|) / 2)^2."""
    x, y = scratch[0], scratch[1]
    torch.sub(down[0], across[0], out=x)
    torch.sub(down[1], across[1], out=y)
    x.abs_().add_(y.abs_())
    tile.addcmul_(x, x, value=0.25)

"""The distances between all hands of a denominator, a tile at a time: [2N, 2N, 21, 2] differences would not
fit into memory.

They are made from differences: |a|^2 + |b|^2 - 2ab cancels where hands are near each other.
"""

from typing import Final, Literal

import torch
from torch import Tensor

Measure = Literal["mpjpe", "w_abs", "w_o_abs", "euclidean"]
"""Of keypoints as in `training.losses.simhand_weights`; ``euclidean``: of vectors."""

_CPU_TILE: Final = 1 << 17
"""Pairs per thread in a tile on a CPU: its three buffers stay in the cache of the core that fills them."""
_GPU_TILE: Final = 1 << 22
"""Pairs in a tile on a GPU: enough to keep it busy between two launches, and few enough for its cache."""


class TiledDistances:
    """The distances [C, C] between C hands; NaN for a hand with a number that is not finite."""

    finite: Tensor
    """[C] bool: hands whose numbers are all finite."""
    rows_per_tile: int
    """The most rows that a tile may have."""

    def __init__(self, keypoints: Tensor, measure: Measure) -> None:
        """Of keypoints [C, J, 2] or vectors [C, D], float32 or float64; the tiles' buffers are made here."""
        self._measure = measure
        points = keypoints[..., None] if measure == "euclidean" else keypoints
        self.finite = points.isfinite().flatten(1).all(1)
        points = points.where(self.finite[:, None, None], torch.nan)
        if measure == "w_o_abs":
            points = points.mean(-1, keepdim=True)
        # [J or D, 1 or 2, C]: a joint's coordinate of all hands lies in one run of memory.
        self._planes = points.permute(1, 2, 0).contiguous()
        pairs = _CPU_TILE * torch.get_num_threads() if keypoints.device.type == "cpu" else _GPU_TILE
        self.rows_per_tile = min(max(1, pairs // len(keypoints)), len(keypoints))
        self._scratch = keypoints.new_empty(2, self.rows_per_tile * len(keypoints))

    def __len__(self) -> int:
        return self._planes.shape[-1]

    def fill(self, tile: Tensor, first_row: int, first_column: int = 0) -> Tensor:
        """Fill ``tile`` [at most rows_per_tile, width] from a row and a column on, and return it."""
        rows, width = tile.shape
        x, y = self._scratch[:, : rows * width].view(2, rows, width)
        down = self._planes[:, :, first_row : first_row + rows, None]
        across = self._planes[:, :, None, first_column : first_column + width]
        tile.zero_()
        for joint_down, joint_across in zip(down, across, strict=True):
            torch.sub(joint_down[0], joint_across[0], out=x)
            if self._measure in ("w_o_abs", "euclidean"):
                tile.addcmul_(x, x)
                continue
            torch.sub(joint_down[1], joint_across[1], out=y)
            if self._measure == "mpjpe":
                tile.add_(x.mul_(x).addcmul_(y, y).sqrt_())
            else:
                x.abs_().add_(y.abs_())
                tile.addcmul_(x, x, value=0.25)
        return tile.div_(len(self._planes)) if self._measure == "mpjpe" else tile.sqrt_()

"""Where in its crop each view lies."""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from handsim.geometry import CROP_ENLARGEMENT, CROP_SIZE_PX
from training.augmentation.draws import Draws

_LEAST_EXTENT: Final = 1e-3
"""In sides of the crop. Keypoints closer together than this tell no size of a hand."""


@dataclass(frozen=True, eq=False)
class Placement:
    """The geometry of B views: float64, on the CPU."""

    affine: Tensor
    """[B, 2, 3] from the crop's unit square to the view's: s [[cos, sin], [-sin, cos]] and a translation,
    with the angle of `Draws` (OpenCV's getRotationMatrix2D) and s = 1 / side."""
    side: Tensor
    """[B] side of the view, in sides of the crop."""
    keypoints: Tensor
    """[B, 21, 2] in the view's unit square; a keypoint that was no number still is none."""
    translation: Tensor
    """[B, 2] from the view's centre to the keypoints' mean, in sides of the view."""

    def halvings(self, crop_px: int, view_px: int) -> Tensor:
        """How often to halve each crop, ``crop_px`` a side, before it is sampled for ``view_px``: int64 [B].

        Bilinear sampling sees the two nearest pixels; below half the resolution some are seen by no sample,
        and it aliases. So crops are averaged down until less than half is left to go. Photographs that are to
        be 3.1 times smaller come out 8 dB nearer to their area average than without, 2.3 times smaller 3 dB;
        below 2, halving would blur more than it mends. Crops are halved as long as their sides are even.
        """
        most = (crop_px & -crop_px).bit_length() - 1
        reduction = self.side * crop_px / view_px
        return reduction.log2().floor().clamp(0, most).long()


def place(keypoints: Tensor, draws: Draws, *, follow_hand: bool) -> Placement:
    """Place the views of hands whose keypoints [B, 21, 2] (float64, unit square of the crop) are given.

    The view is a square around the keypoints' mean, as long as the longer side of their box times the margin.
    The box is the one they have when turned, so it lies upright in the view. Without ``follow_hand`` the view
    is the whole crop, turned about its centre. A hand with a keypoint that is no number, or with all of them
    in one spot, is taken for one that fills its crop as crops are cut: its mean in the centre, its box 1 /
    1.3 of the side.
    """
    angle = torch.deg2rad(draws.angle_deg)
    cos, sin = angle.cos(), angle.sin()
    turn = torch.stack([torch.stack([cos, sin], 1), torch.stack([-sin, cos], 1)], 1)
    turned = _mapped(turn, keypoints)
    extent = (turned.amax(1) - turned.amin(1)).amax(1)
    sound = keypoints.isfinite().all(2).all(1) & (extent >= _LEAST_EXTENT)
    mean = torch.where(sound[:, None], keypoints.mean(1), 0.5)
    if follow_hand:
        centre, side = mean, draws.margin * torch.where(sound, extent, 1 / CROP_ENLARGEMENT)
    else:
        centre, side = torch.full_like(mean, 0.5), torch.ones_like(extent)
    linear = turn / side[:, None, None]
    jitter = draws.jitter_px / CROP_SIZE_PX / side[:, None]
    shift = 0.5 + jitter - _mapped(linear, centre[:, None])[:, 0]
    return Placement(
        affine=torch.cat([linear, shift[:, :, None]], 2),
        side=side,
        keypoints=_mapped(linear, keypoints) + shift[:, None],
        translation=_mapped(linear, mean[:, None])[:, 0] + shift - 0.5,
    )


def _mapped(linear: Tensor, points: Tensor) -> Tensor:
    """Points [B, N, 2] under [B, 2, 2]. Written out: a matrix product may round by the threads."""
    x, y = points[..., 0], points[..., 1]
    return torch.stack([linear[:, row, :1] * x + linear[:, row, 1:] * y for row in (0, 1)], 2)

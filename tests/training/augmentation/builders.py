"""Hands, crops and settings for the tests of augmentation."""

from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from training.augmentation import AugmentationSettings

COLOURS_UNCHANGED: Final = AugmentationSettings(
    hue=(1.0, 1.0), saturation=(1.0, 1.0), value=(1.0, 1.0), brightness=(0.0, 0.0)
)
UNCHANGED: Final = replace(COLOURS_UNCHANGED, rotation_deg=0, margin=None, jitter_px=(0, 0))
"""Every step switched off but the resize."""


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_keypoints(count: int, seed: int = 0) -> Tensor:
    """[count, 21, 2], each hand in another part of its crop and of another size."""
    low = 0.15 + 0.2 * torch.rand(count, 1, 2, generator=seeded(seed))
    size = 0.2 + 0.3 * torch.rand(count, 1, 2, generator=seeded(seed + 1))
    return low + size * torch.rand(count, 21, 2, generator=seeded(seed + 2))


def smooth_crops(count: int, size_px: int, seed: int = 0) -> Tensor:
    """Colourful crops uint8 [count, size_px, size_px, 3] without sharp edges."""
    noise = torch.rand(count, 3, 9, 9, generator=seeded(seed)) * 255
    planes = torch.nn.functional.interpolate(noise, size=size_px, mode="bicubic", align_corners=False)
    return planes.clamp(0, 255).permute(0, 2, 3, 1).to(torch.uint8).contiguous()


def motion_of(affine: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
    """Translation [N, 2] and angle [N] in degrees of affines [N, 2, 3], by the affine alone.

    The translation is how far the point ``centre`` [N, 2] of the crop lands from the middle of the view.
    """
    linear, offset = affine[:, :, :2], affine[:, :, 2]
    translation = torch.einsum("nij,nj->ni", linear, centre) + offset - 0.5
    return translation, torch.atan2(linear[:, 0, 1], linear[:, 0, 0]).rad2deg()

"""A batch of crops in, a view of each out."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from handsim.errors import HandsimError
from handsim.skeleton import JOINT_COUNT
from training.augmentation.blur import blurred
from training.augmentation.colour import without_colour
from training.augmentation.cut_out import cut_out
from training.augmentation.draws import Draws, draw
from training.augmentation.one_by_one import paint_one_by_one
from training.augmentation.placement import place
from training.augmentation.settings import AugmentationSettings
from training.augmentation.whole_batch import paint_whole_batch

_SPOILT_AT_ONCE: Final = 256
"""Views blurred, cut or turned grey at once: the memory's bound."""


@dataclass(frozen=True, eq=False)
class Views:
    """A view of each of B hands, on the device of the crops; all float32."""

    images: Tensor
    """[B, 3, S, S], RGB in 0..1, not normalised."""
    keypoints: Tensor
    """[B, 21, 2] in the view's unit square; they may lie outside of it."""
    affine: Tensor
    """[B, 2, 3] from the crop's unit square to the view's: s [[cos, sin], [-sin, cos]] and a translation."""
    angle_deg: Tensor
    """[B] by which the view was turned, counter-clockwise as displayed (OpenCV's getRotationMatrix2D)."""
    translation: Tensor
    """[B, 2] from the view's centre to the mean of its keypoints, in sides of the view."""


def augment(
    crops: Tensor, keypoints: Tensor, settings: AugmentationSettings, generator: torch.Generator
) -> Views:
    """Make a view of each crop: turned, cut out around the hand, moved, resized and its colours changed.

    ``crops`` uint8 [B, H, H, 3] (RGB), ``keypoints`` [B, 21, 2] in the crop's unit square. The affine takes
    all of the geometry in one sampling. All random numbers come from ``generator``, which is the CPU's: the
    views are the same on any device but for rounding, and bit-equal on the CPU whatever the number of
    threads. A hand with a keypoint that is no number is taken for one that fills its crop; its other
    keypoints are mapped as ever. No gradient is followed.

    Raises HandsimError for other shapes and types, for an empty batch and for a generator of another device.
    """
    _check(crops, keypoints, generator)
    drawn = draw(settings, len(crops), generator)
    size = settings.size_px
    # Half precision, which a trainer may ask for around this, is too coarse for pixels' places.
    with torch.no_grad(), torch.autocast(crops.device.type, enabled=False):
        placement = place(keypoints.to("cpu", torch.float64), drawn, follow_hand=settings.margin is not None)
        images = _room((len(crops), 3, size, size), crops.device)
        paint = paint_one_by_one if images.device.type == "cpu" else paint_whole_batch
        paint(
            images,
            crops,
            placement.affine,
            placement.halvings(crops.shape[1], size),
            drawn.colour if settings.changes_colour else None,
        )
        _spoil_(images, settings, drawn)
    numbers = (placement.keypoints, placement.affine, drawn.angle_deg, placement.translation)
    return Views(images, *(tensor.to(crops.device, torch.float32) for tensor in numbers))


def _room(shape: tuple[int, int, int, int], device: torch.device) -> Tensor:
    """A float32 tensor with nothing in it yet."""
    if device.type != "cpu":
        return torch.empty(shape, device=device)
    # Of numpy's: in large pages. Fresh memory in small ones takes as long to come by as the views to paint.
    return torch.from_numpy(np.empty(shape, np.float32))


def _spoil_(images: Tensor, settings: AugmentationSettings, drawn: Draws) -> None:
    """What is done to some of the views only."""
    for rows in _some(drawn.greyed):
        images[rows] = without_colour(images[rows])
    for rows in _some(drawn.blurred):
        images[rows] = blurred(images[rows], drawn.blur_sigma_px[rows], settings.blur_sigma_px[1])
    for rows in _some(drawn.cut):
        images[rows] = cut_out(images[rows], drawn.cut_centre[rows], drawn.cut_side[rows])


def _some(chosen: Tensor) -> tuple[Tensor, ...]:
    """The numbers of those chosen, a part at a time."""
    rows = chosen.nonzero()[:, 0]
    return torch.split(rows, _SPOILT_AT_ONCE) if len(rows) else ()


def _check(crops: Tensor, keypoints: Tensor, generator: torch.Generator) -> None:
    if (
        crops.dtype != torch.uint8
        or crops.ndim != 4
        or crops.shape[1] != crops.shape[2]
        or crops.shape[3] != 3
    ):
        raise HandsimError(f"crops are {_told(crops)}; they are uint8 [B, H, H, 3], square and RGB")
    if 0 in crops.shape:
        raise HandsimError(f"crops are {_told(crops)}; a batch holds at least one, of at least one pixel")
    if not keypoints.is_floating_point() or keypoints.shape != (len(crops), JOINT_COUNT, 2):
        raise HandsimError(
            f"keypoints are {_told(keypoints)}; for {len(crops)} crops they are floating point "
            f"[{len(crops)}, {JOINT_COUNT}, 2]: x and y in the crop's unit square"
        )
    if generator.device.type != "cpu":
        raise HandsimError(
            f"the generator is one of {generator.device}; augmentation draws from one of the CPU, always"
        )


def _told(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"

"""A batch of crops in, a view of each out.

The random numbers behind the views of a batch.

Where in its crop each view lies.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from handsim.errors import HandsimError
from handsim.geometry import CROP_ENLARGEMENT, CROP_SIZE_PX
from handsim.skeleton import JOINT_COUNT
from training.augmentation.pixels import blurred, cut_out, paint_one_by_one, paint_whole_batch, without_colour
from training.augmentation.settings import AugmentationSettings, Range


@dataclass(frozen=True, eq=False)
class ViewParameters:
    """What was parameters for B views: float64 or bool, on the CPU."""

    angle_deg: Tensor
    """[B], positive counter-clockwise as displayed."""
    margin: Tensor
    """[B], nothing to be read from where the settings have none."""
    jitter_px: Tensor
    """[B, 2], x and y."""
    colour: Tensor
    """[B, 4] factors of hue, saturation and value, and what is added to the value (of 255)."""
    greyed: Tensor
    """[B] bool."""
    blurred: Tensor
    """[B] bool."""
    blur_sigma_px: Tensor
    """[B]."""
    cut: Tensor
    """[B] bool."""
    cut_side: Tensor
    """[B], in sides of the view."""
    cut_centre: Tensor
    """[B, 2] in the view's unit square."""


def draw_parameters(settings: AugmentationSettings, count: int, generator: torch.Generator) -> ViewParameters:
    """Draw for ``count`` views.

    Always the same 15 numbers for a view, those of one view after those of the other, used or not: to switch
    one step on or off changes nothing about the others.
    """
    uniform = torch.rand(count, 15, dtype=torch.float64, generator=generator)
    turn, margin, jitter, colour, chance, sigma, side, centre = torch.split(
        uniform, [1, 1, 2, 4, 3, 1, 1, 2], dim=1
    )
    ranges = (settings.hue, settings.saturation, settings.value, settings.brightness)
    return ViewParameters(
        angle_deg=_between((-settings.rotation_deg, settings.rotation_deg), turn[:, 0]),
        margin=_between(settings.margin or (1.0, 1.0), margin[:, 0]),
        jitter_px=_between(settings.jitter_px, jitter),
        colour=torch.stack(
            [_between(bounds, colour[:, column]) for column, bounds in enumerate(ranges)], dim=1
        ),
        greyed=chance[:, 0] < settings.grey_probability,
        blurred=chance[:, 1] < settings.blur_probability,
        blur_sigma_px=_between(settings.blur_sigma_px, sigma[:, 0]),
        cut=chance[:, 2] < settings.cut_out_probability,
        cut_side=_between(settings.cut_out_side, side[:, 0]),
        cut_centre=centre,
    )


def _between(bounds: Range, uniform: Tensor) -> Tensor:
    low, high = bounds
    return low + (high - low) * uniform


_LEAST_EXTENT: Final = 1e-3
"""In sides of the crop. Keypoints closer together than this tell no size of a hand."""


@dataclass(frozen=True, eq=False)
class Placement:
    """The geometry of B views: float64, on the CPU."""

    affine: Tensor
    """[B, 2, 3] from the crop's unit square to the view's: s [[cos, sin], [-sin, cos]] and a translation,
    with the angle of `ViewParameters` (OpenCV's getRotationMatrix2D) and s = 1 / side."""
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


def place(keypoints: Tensor, parameters: ViewParameters, *, follow_hand: bool) -> Placement:
    """Place the views of hands whose keypoints [B, 21, 2] (float64, unit square of the crop) are given.

    The view is a square around the keypoints' mean, as long as the longer side of their box times the margin.
    The box is the one they have when turned, so it lies upright in the view. Without ``follow_hand`` the view
    is the whole crop, turned about its centre. A hand with a keypoint that is no number, or with all of them
    in one spot, is taken for one that fills its crop as crops are cut: its mean in the centre, its box 1 /
    1.3 of the side.
    """
    angle = torch.deg2rad(parameters.angle_deg)
    cos, sin = angle.cos(), angle.sin()
    turn = torch.stack([torch.stack([cos, sin], 1), torch.stack([-sin, cos], 1)], 1)
    turned = _mapped(turn, keypoints)
    extent = (turned.amax(1) - turned.amin(1)).amax(1)
    sound = keypoints.isfinite().all(2).all(1) & (extent >= _LEAST_EXTENT)
    mean = torch.where(sound[:, None], keypoints.mean(1), 0.5)
    if follow_hand:
        centre, side = mean, parameters.margin * torch.where(sound, extent, 1 / CROP_ENLARGEMENT)
    else:
        centre, side = torch.full_like(mean, 0.5), torch.ones_like(extent)
    linear = turn / side[:, None, None]
    jitter = parameters.jitter_px / CROP_SIZE_PX / side[:, None]
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


_SPOILT_AT_ONCE: Final = 256
"""Views blurred, cut or turned grey at once: the memory's bound."""


@dataclass(frozen=True, eq=False)
class AugmentedViews:
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
) -> AugmentedViews:
    """Make a view of each crop: turned, cut out around the hand, moved, resized and its colours changed.

    ``crops`` uint8 [B, H, H, 3] (RGB), ``keypoints`` [B, 21, 2] in the crop's unit square. The affine takes
    all of the geometry in one sampling. All random numbers come from ``generator``, which is the CPU's: the
    views are the same on any device but for rounding, and bit-equal on the CPU whatever the number of
    threads. A hand with a keypoint that is no number is taken for one that fills its crop; its other
    keypoints are mapped as ever. No gradient is followed.

    Raises HandsimError for other shapes and types, for an empty batch and for a generator of another device.
    """
    _check(crops, keypoints, generator)
    parameters = draw_parameters(settings, len(crops), generator)
    size = settings.size_px
    # Half precision, which a trainer may ask for around this, is too coarse for pixels' places.
    with torch.no_grad(), torch.autocast(crops.device.type, enabled=False):
        placement = place(
            keypoints.to("cpu", torch.float64), parameters, follow_hand=settings.margin is not None
        )
        images = _room((len(crops), 3, size, size), crops.device)
        paint = paint_one_by_one if images.device.type == "cpu" else paint_whole_batch
        paint(
            images,
            crops,
            placement.affine,
            placement.halvings(crops.shape[1], size),
            parameters.colour if settings.changes_colour else None,
        )
        _spoil_(images, settings, parameters)
    numbers = (placement.keypoints, placement.affine, parameters.angle_deg, placement.translation)
    return AugmentedViews(images, *(tensor.to(crops.device, torch.float32) for tensor in numbers))


def _room(shape: tuple[int, int, int, int], device: torch.device) -> Tensor:
    """A float32 tensor with nothing in it yet."""
    if device.type != "cpu":
        return torch.empty(shape, device=device)
    # Of numpy's: in large pages. Fresh memory in small ones takes as long to come by as the views to paint.
    return torch.from_numpy(np.empty(shape, np.float32))


def _spoil_(images: Tensor, settings: AugmentationSettings, parameters: ViewParameters) -> None:
    """What is done to some of the views only."""
    for rows in _some(parameters.greyed):
        images[rows] = without_colour(images[rows])
    for rows in _some(parameters.blurred):
        images[rows] = blurred(images[rows], parameters.blur_sigma_px[rows], settings.blur_sigma_px[1])
    for rows in _some(parameters.cut):
        images[rows] = cut_out(images[rows], parameters.cut_centre[rows], parameters.cut_side[rows])


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
            f"the generator is one of {generator.device}; augmentation parameters from one of the CPU, always"
        )


def _told(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"

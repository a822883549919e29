"""A batch of crops in, a view of each out: random numbers, then geometry, then pixels.

The random numbers come from a generator on the CPU, and the geometry is computed there in float64, so that
views are the same on every device. One affine [2, 3] holds all of a view's geometry (rotation, crop around
the hand, translation, resize): pixels are sampled once, and keypoints and PeCLR's inverse equivariance use
the same matrix. Angles are positive counter-clockwise as displayed (OpenCV's getRotationMatrix2D); with angle
a and scale s an affine's linear part is s [[cos a, sin a], [-sin a, cos a]].
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from handsim.errors import HandsimError
from handsim.geometry import CROP_ENLARGEMENT, CROP_SIZE_PX
from handsim.skeleton import JOINT_COUNT
from training.augmentation.pixels import (
    cut_out,
    gaussian_blur,
    render_with_opencv,
    render_with_torch,
    to_grey,
)
from training.augmentation.settings import AugmentationSettings, Extent, Range

_LEAST_EXTENT: Final = 1e-3
"""In sides of the crop. The size of a hand cannot be told from keypoints closer together than this."""
_VIEWS_AT_ONCE: Final = 256
"""Views that are blurred, cut out or turned to grey at once; it bounds the memory."""


@dataclass(frozen=True, eq=False)
class AugmentedViews:
    """A view of each of B hands, on the device of the crops; all float32."""

    images: Tensor
    """[B, 3, S, S], RGB in 0..1, not normalised."""
    keypoints: Tensor
    """[B, 21, 2] in the view's unit square; they may lie outside of it."""
    affine: Tensor
    """[B, 2, 3] from the crop's unit square to the view's."""
    angle_deg: Tensor
    """[B] by which the view was turned."""
    translation: Tensor
    """[B, 2] from the view's centre to the mean of its keypoints, in sides of the view."""
    hand_deg: Tensor | None = None
    """[B] by which the hand was turned in its crop already, where that is to be undone too; else None."""


@dataclass(frozen=True, eq=False)
class ViewParameters:
    """The random numbers of B views: float64 or bool, on the CPU."""

    angle_deg: Tensor
    """[B]."""
    margin: Tensor
    """[B]; without meaning where the settings have no margin."""
    jitter_px: Tensor
    """[B, 2], x and y, in pixels of a crop of 224."""
    colour: Tensor
    """[B, 4] factors of hue, saturation and value, and what is added to the value (of 255)."""
    is_grey: Tensor
    """[B] bool."""
    is_blurred: Tensor
    """[B] bool."""
    blur_sigma_px: Tensor
    """[B]."""
    is_cut_out: Tensor
    """[B] bool."""
    cut_out_side: Tensor
    """[B], in sides of the view."""
    cut_out_centre: Tensor
    """[B, 2] in the view's unit square."""


@dataclass(frozen=True, eq=False)
class ViewGeometry:
    """The geometry of B views: float64, on the CPU."""

    affine: Tensor
    """[B, 2, 3] from the crop's unit square to the view's; its scale is 1 / ``side``."""
    side: Tensor
    """[B] side of the view, in sides of the crop."""
    keypoints: Tensor
    """[B, 21, 2] in the view's unit square; keypoints that were not finite still are not."""
    translation: Tensor
    """[B, 2] from the view's centre to the keypoints' mean, in sides of the view."""

    def halvings(self, crop_px: int, view_px: int) -> Tensor:
        """How often to halve each crop, ``crop_px`` a side, before it is sampled for ``view_px``: int64 [B].

        Bilinear sampling uses the two nearest pixels; below half the resolution it skips some, and aliases.
        So crops are averaged down as long as at least half of the reduction is left, and their sides are
        even. Photographs reduced 3.1 times come out 8 dB nearer to their area average than without this,
        reduced 2.3 times 3 dB; below 2, halving would blur more than it gains.
        """
        most = (crop_px & -crop_px).bit_length() - 1
        reduction = self.side * crop_px / view_px
        return reduction.log2().floor().clamp(0, most).long()


def augment(
    crops: Tensor, keypoints: Tensor, settings: AugmentationSettings, generator: torch.Generator
) -> AugmentedViews:
    """Make a view of each crop: turned, cropped around the hand, moved, resized, and its colours changed.

    ``crops`` uint8 [B, H, H, 3] (RGB), ``keypoints`` [B, 21, 2] in the crop's unit square. All random numbers
    come from ``generator``, one of the CPU: views are the same on every device but for rounding, and
    bit-equal on the CPU for any number of threads. A hand with a keypoint that is not finite is treated as
    one that fills its crop. No gradient is recorded.

    Raises HandsimError for other shapes and types, for an empty batch and for a generator of another device.
    """
    _check_batch(crops, keypoints, generator)
    parameters = draw_parameters(settings, len(crops), generator)
    size = settings.size_px
    # Half precision, which a trainer may have switched on, is too coarse for coordinates of pixels.
    with torch.no_grad(), torch.autocast(crops.device.type, enabled=False):
        extent = None if settings.margin is None else settings.extent
        geometry = place_views(keypoints.to("cpu", torch.float64), parameters, extent)
        images = _empty_images((len(crops), 3, size, size), crops.device)
        render = render_with_opencv if images.device.type == "cpu" else render_with_torch
        colour = parameters.colour if settings.changes_colour else None
        render(images, crops, geometry.affine, geometry.halvings(crops.shape[1], size), colour)
        _apply_occasional_steps(images, settings, parameters)
    numbers = (geometry.keypoints, geometry.affine, parameters.angle_deg, geometry.translation)
    return AugmentedViews(images, *(tensor.to(crops.device, torch.float32) for tensor in numbers))


def draw_parameters(settings: AugmentationSettings, count: int, generator: torch.Generator) -> ViewParameters:
    """Draw for ``count`` views: 15 numbers for each, view after view, whether they are used or not.

    So switching one step on or off does not change the others.
    """
    uniform = torch.rand(count, 15, dtype=torch.float64, generator=generator)
    turn, margin, jitter, colour, chance, sigma, side, centre = torch.split(
        uniform, [1, 1, 2, 4, 3, 1, 1, 2], dim=1
    )
    colour_ranges = (settings.hue, settings.saturation, settings.value, settings.brightness)
    return ViewParameters(
        angle_deg=_scale((-settings.rotation_deg, settings.rotation_deg), turn[:, 0]),
        margin=_scale(settings.margin or (1.0, 1.0), margin[:, 0]),
        jitter_px=_scale(settings.jitter_px, jitter),
        colour=torch.stack([_scale(colour_ranges[i], colour[:, i]) for i in range(4)], dim=1),
        is_grey=chance[:, 0] < settings.grey_probability,
        is_blurred=chance[:, 1] < settings.blur_probability,
        blur_sigma_px=_scale(settings.blur_sigma_px, sigma[:, 0]),
        is_cut_out=chance[:, 2] < settings.cut_out_probability,
        cut_out_side=_scale(settings.cut_out_side, side[:, 0]),
        cut_out_centre=centre,
    )


def place_views(keypoints: Tensor, parameters: ViewParameters, extent: Extent | None) -> ViewGeometry:
    """Where the views of hands lie, whose keypoints are [B, 21, 2] (float64, unit square of the crop).

    A view is a square around the keypoints' mean; its side is the hand's ``extent`` times the margin. A box
    is that of the turned keypoints, so it is upright in the view. Without an extent the view is the whole
    crop, turned about its centre. A hand with a keypoint that is not finite, or with all of them in one spot,
    is treated as one that fills its crop: mean in the centre, 1 / 1.3 of the side long.
    """
    angle = torch.deg2rad(parameters.angle_deg)
    cos, sin = angle.cos(), angle.sin()
    turn = torch.stack([torch.stack([cos, sin], 1), torch.stack([-sin, cos], 1)], 1)
    turned = _transform(turn, keypoints)
    box = _longer_side(turned)
    usable = keypoints.isfinite().all(2).all(1) & (box >= _LEAST_EXTENT)
    mean = torch.where(usable[:, None], keypoints.mean(1), 0.5)
    centre, side, pixels_from = mean, torch.ones_like(box), torch.ones_like(box)
    match extent:
        case "radius":
            radius = (keypoints - mean[:, None]).square().sum(2).amax(1).sqrt()
            side = parameters.margin * torch.where(usable, 2 * radius, 1 / CROP_ENLARGEMENT)
            pixels_from = torch.where(usable, CROP_ENLARGEMENT * _longer_side(keypoints), pixels_from)
        case "box":
            side = parameters.margin * torch.where(usable, box, 1 / CROP_ENLARGEMENT)
        case None:
            centre = torch.full_like(mean, 0.5)
    linear = turn / side[:, None, None]
    jitter = parameters.jitter_px / CROP_SIZE_PX * (pixels_from / side)[:, None]
    shift = 0.5 + jitter - _transform(linear, centre[:, None])[:, 0]
    return ViewGeometry(
        affine=torch.cat([linear, shift[:, :, None]], 2),
        side=side,
        keypoints=_transform(linear, keypoints) + shift[:, None],
        translation=_transform(linear, mean[:, None])[:, 0] + shift - 0.5,
    )


def _longer_side(points: Tensor) -> Tensor:
    """[B] the longer side of the box of points [B, N, 2]."""
    return (points.amax(1) - points.amin(1)).amax(1)


def _scale(bounds: Range, uniform: Tensor) -> Tensor:
    low, high = bounds
    return low + (high - low) * uniform


def _transform(linear: Tensor, points: Tensor) -> Tensor:
    """Points [B, N, 2] under [B, 2, 2]. Written out: a matrix product may round by the number of threads."""
    x, y = points[..., 0], points[..., 1]
    return torch.stack([linear[:, row, :1] * x + linear[:, row, 1:] * y for row in (0, 1)], 2)


def _empty_images(shape: tuple[int, int, int, int], device: torch.device) -> Tensor:
    if device.type != "cpu":
        return torch.empty(shape, device=device)
    # numpy allocates in large pages. Fresh memory in small pages takes as long to map as the views to render.
    return torch.from_numpy(np.empty(shape, np.float32))


def _apply_occasional_steps(
    images: Tensor, settings: AugmentationSettings, parameters: ViewParameters
) -> None:
    """Turn some views to grey, blur some and cut a square out of some, in place."""
    for rows in _batches_of_rows(parameters.is_grey):
        images[rows] = to_grey(images[rows])
    for rows in _batches_of_rows(parameters.is_blurred):
        sigma_px = parameters.blur_sigma_px[rows]
        images[rows] = gaussian_blur(images[rows], sigma_px, settings.blur_sigma_px[1])
    for rows in _batches_of_rows(parameters.is_cut_out):
        centre, side = parameters.cut_out_centre[rows], parameters.cut_out_side[rows]
        images[rows] = cut_out(images[rows], centre, side)


def _batches_of_rows(mask: Tensor) -> tuple[Tensor, ...]:
    rows = mask.nonzero()[:, 0]
    return torch.split(rows, _VIEWS_AT_ONCE) if len(rows) else ()


def _check_batch(crops: Tensor, keypoints: Tensor, generator: torch.Generator) -> None:
    square = crops.ndim == 4 and crops.shape[1] == crops.shape[2] and crops.shape[3] == 3
    if crops.dtype != torch.uint8 or not square:
        raise HandsimError(f"crops are {_describe(crops)}; they are uint8 [B, H, H, 3], square and RGB")
    if 0 in crops.shape:
        raise HandsimError(f"crops are {_describe(crops)}; a batch holds at least one, of at least one pixel")
    if not keypoints.is_floating_point() or keypoints.shape != (len(crops), JOINT_COUNT, 2):
        raise HandsimError(
            f"keypoints are {_describe(keypoints)}; for {len(crops)} crops they are floating point "
            f"[{len(crops)}, {JOINT_COUNT}, 2]: x and y in the crop's unit square"
        )
    if generator.device.type != "cpu":
        raise HandsimError(
            f"the generator is on {generator.device}; augmentation always draws from one of the CPU"
        )


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"

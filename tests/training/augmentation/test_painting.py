"""Both painters: the CPU's, and the GPU's run on the CPU."""

import colorsys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.training.augmentation.hands import random_keypoints, seeded, smooth_crops
from training.augmentation import AugmentationSettings
from training.augmentation.pixels import paint_one_by_one, paint_whole_batch
from training.augmentation.views import draw_parameters, place

Painter = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor | None], None]

PAINTERS = pytest.mark.parametrize("paint", [paint_one_by_one, paint_whole_batch])
WHOLE_CROP = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=torch.float64)


def painted(
    paint: Painter,
    crops: Tensor,
    size_px: int,
    affine: Tensor | None = None,
    halved: Tensor | None = None,
    colour: Tensor | None = None,
) -> Tensor:
    images = torch.full((len(crops), 3, size_px, size_px), torch.nan)
    affine = WHOLE_CROP.expand(len(crops), 2, 3) if affine is None else affine
    halved = torch.zeros(len(crops), dtype=torch.int64) if halved is None else halved
    paint(images, crops, affine, halved, colour)
    return images


def recoloured(rgb: tuple[float, ...], colour: list[float]) -> tuple[float, float, float]:
    """One colour in 0..1, by Python's own HSV."""
    hue, saturation, value = colorsys.rgb_to_hsv(*rgb)
    return colorsys.hsv_to_rgb(
        hue * colour[0],
        min(1.0, saturation * colour[1]),
        min(1.0, max(0.0, value * colour[2] + colour[3] / 255)),
    )


@PAINTERS
@pytest.mark.parametrize(
    ("crop_px", "size_px", "halved"), [(224, 128, 0), (64, 128, 0), (97, 64, 0), (224, 56, 2)]
)
def test_a_dot_lands_where_the_affine_takes_it(
    paint: Painter, crop_px: int, size_px: int, halved: int
) -> None:
    settings = AugmentationSettings(jitter_px=(-15, 15), margin=(1.2, 2.0))
    keypoints = random_keypoints(21).double()
    placement = place(keypoints, draw_parameters(settings, 21, seeded()), follow_hand=True)
    pixels = torch.arange(crop_px, dtype=torch.float64) + 0.5
    sigma_px = crop_px / size_px * 1.5
    crops = torch.zeros(21, crop_px, crop_px, 3, dtype=torch.uint8)
    for joint in range(21):  # in its own picture each, so that no two run together
        x, y = keypoints[joint, joint] * crop_px
        blob = torch.exp(-((pixels[None] - x) ** 2 + (pixels[:, None] - y) ** 2) / (2 * sigma_px**2))
        crops[joint] = (255 * blob).round().to(torch.uint8)[:, :, None]
    images = painted(paint, crops, size_px, placement.affine, torch.full((21,), halved))
    bright = images.double().mean(1)
    pixels = torch.arange(size_px, dtype=torch.float64) + 0.5
    seen = 0
    for joint in range(21):
        expected_px = placement.keypoints[joint, joint] * size_px
        if not 8 < float(expected_px.min()) <= float(expected_px.max()) < size_px - 8:
            continue
        weight = bright[joint] / bright[joint].sum()
        found = torch.stack([(weight.sum(0) * pixels).sum(), (weight.sum(1) * pixels).sum()])
        assert float((found - expected_px).norm()) < 0.1
        seen += 1
    assert seen >= 10


@PAINTERS
def test_a_ramp_is_sampled_at_its_very_coordinates(paint: Painter) -> None:
    """On a plane bilinear sampling is exact, so each pixel's place is known to a hundredth of a pixel."""
    size, view = 200, 48
    ramp = torch.arange(size)
    crops = torch.zeros(4, size, size, 3, dtype=torch.uint8)
    crops[..., 0], crops[..., 1] = ramp[None, None, :], ramp[None, :, None]
    draws = draw_parameters(AugmentationSettings(rotation_deg=180, margin=(0.9, 1.1)), 4, seeded(1))
    placement = place(
        0.25 + 0.5 * torch.rand(4, 21, 2, generator=seeded(2)).double(), draws, follow_hand=True
    )
    images = painted(paint, crops, view, placement.affine) * 255
    pixels = (torch.arange(view, dtype=torch.float64) + 0.5) / view
    points = torch.stack(torch.meshgrid(pixels, pixels, indexing="xy"), -1)
    for row in range(4):
        linear, shift = placement.affine[row, :, :2], placement.affine[row, :, 2]
        seen = torch.linalg.solve(linear, (points.view(-1, 2) - shift).T).T.view(view, view, 2) * size - 0.5
        expected = seen.clamp(0, size - 1).permute(2, 0, 1)
        assert float((images[row, :2] - expected).abs().max()) < 0.01


@PAINTERS
def test_what_lies_outside_the_crop_repeats_its_edge(paint: Painter) -> None:
    crops = torch.full((1, 32, 32, 3), 100, dtype=torch.uint8)
    far_out = torch.tensor([[[0.3, 0.0, 0.35], [0.0, 0.3, 0.35]]], dtype=torch.float64)
    assert painted(paint, crops, 64, far_out).mul(255).sub(100).abs().max() < 1e-3


@PAINTERS
def test_the_whole_crop_at_its_own_size_is_the_crop(paint: Painter) -> None:
    crops = smooth_crops(3, 40)
    torch.testing.assert_close(
        painted(paint, crops, 40) * 255, crops.permute(0, 3, 1, 2).float(), atol=0.01, rtol=0
    )


@PAINTERS
def test_halved_crops_are_averages_and_fine_stripes_turn_grey(paint: Painter) -> None:
    crops = torch.zeros(3, 64, 64, 3, dtype=torch.uint8)
    crops[:, :, ::2] = 200
    images = painted(paint, crops, 15, halved=torch.tensor([2, 0, 1])) * 255
    for row in (0, 2):
        assert (images[row] - 100).abs().max() < 1e-3
    assert images[1].std() > 10  # aliased: stripes of another width
    alike = painted(paint, crops, 15, halved=torch.tensor([1, 1, 1])) * 255
    assert (alike - 100).abs().max() < 1e-3


@PAINTERS
@pytest.mark.parametrize(
    "colour",
    [
        [0.37, 0.6, 0.8, 11.0],
        [0.01, 0.01, 0.5, 20.0],
        [1.0, 1.0, 1.0, 0.0],
        [0.9, 3.0, 0.9, 0.0],  # saturation ends at full
        [0.9, 0.9, 1.5, 0.0],  # and so does value
        [0.5, 0.5, 0.8, -60.0],  # which begins at none
        [0.0, 1.0, 1.0, 0.0],
    ],
)
def test_colours_change_as_pythons_own_hsv_has_them(paint: Painter, colour: list[float]) -> None:
    levels = (0, 1, 60, 128, 254, 255)
    colours = [(red, green, blue) for red in levels for green in levels for blue in levels]
    colours += np.random.default_rng(0).integers(0, 256, (40, 3)).tolist()
    crops = (
        torch.tensor(colours, dtype=torch.uint8)
        .view(16, 16, 1, 1, 3)
        .permute(2, 0, 1, 3, 4)
        .reshape(1, 16, 16, 3)
    )
    image = painted(paint, crops, 16, colour=torch.tensor([colour], dtype=torch.float64))[0]
    for (row, column), rgb in zip(np.ndindex(16, 16), crops[0].reshape(-1, 3).tolist(), strict=True):
        expected = recoloured(tuple(level / 255 for level in rgb), colour)
        assert image[:, row, column].tolist() == pytest.approx(expected, abs=2e-4), rgb


@pytest.mark.parametrize(("crop_px", "size_px"), [(224, 128), (128, 64), (224, 24), (33, 50)])
def test_both_painters_make_the_same_views(crop_px: int, size_px: int) -> None:
    settings = AugmentationSettings(size_px=size_px)
    crops, drawn = smooth_crops(9, crop_px), draw_parameters(settings, 9, seeded(4))
    placement = place(random_keypoints(9).double(), drawn, follow_hand=True)
    halved = placement.halvings(crop_px, size_px)
    for colour, most in ((None, 2e-5), (drawn.colour, 1e-3)):
        one, other = (
            painted(paint, crops, size_px, placement.affine, halved, colour)
            for paint in (paint_one_by_one, paint_whole_batch)
        )
        apart = (one - other).abs().amax(1)
        # A red that rounding takes across the seam of the circle of hues comes out in another colour.
        assert float((apart > most).double().mean()) < (1e-3 if colour is not None else 1e-9)

"""Both renderers (that of the GPU runs on the CPU here), and the steps that only some views get."""

import colorsys
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.training.augmentation.builders import random_keypoints, seeded, smooth_crops
from training.augmentation import AugmentationSettings
from training.augmentation.pixels import (
    CUT_OUT_COLOUR,
    cut_out,
    gaussian_blur,
    render_with_opencv,
    render_with_torch,
    to_grey,
)
from training.augmentation.views import draw_parameters, place_views

Renderer = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor | None], None]

RENDERERS = pytest.mark.parametrize("render", [render_with_opencv, render_with_torch])
WHOLE_CROP = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=torch.float64)


def rendered(
    render: Renderer,
    crops: Tensor,
    size_px: int,
    affine: Tensor | None = None,
    halvings: Tensor | None = None,
    colour: Tensor | None = None,
) -> Tensor:
    images = torch.full((len(crops), 3, size_px, size_px), torch.nan)
    affine = WHOLE_CROP.expand(len(crops), 2, 3) if affine is None else affine
    halvings = torch.zeros(len(crops), dtype=torch.int64) if halvings is None else halvings
    render(images, crops, affine, halvings, colour)
    return images


def recoloured(rgb: tuple[float, ...], colour: list[float]) -> tuple[float, float, float]:
    """One colour in 0..1, by Python's own HSV."""
    hue, saturation, value = colorsys.rgb_to_hsv(*rgb)
    return colorsys.hsv_to_rgb(
        hue * colour[0],
        min(1.0, saturation * colour[1]),
        min(1.0, max(0.0, value * colour[2] + colour[3] / 255)),
    )


@RENDERERS
@pytest.mark.parametrize("halvings", [0, 2])
def test_a_ramp_is_sampled_at_exact_coordinates_and_its_edge_is_repeated(
    render: Renderer, halvings: int
) -> None:
    """On a plane bilinear sampling is exact, so each pixel's place is known to a hundredth of a pixel."""
    size, view = 200, 48
    ramp = torch.arange(size)
    crops = torch.zeros(4, size, size, 3, dtype=torch.uint8)
    crops[..., 0], crops[..., 1] = ramp[None, None, :], ramp[None, :, None]
    parameters = draw_parameters(AugmentationSettings(rotation_deg=180, margin=(0.9, 1.1)), 4, seeded(1))
    geometry = place_views(0.25 + 0.5 * torch.rand(4, 21, 2, generator=seeded(2)).double(), parameters, "box")
    images = rendered(render, crops, view, geometry.affine, torch.full((4,), halvings)) * 255
    edge = (2**halvings - 1) / 2  # the centre of the first averaged pixel
    pixels = (torch.arange(view, dtype=torch.float64) + 0.5) / view
    points = torch.stack(torch.meshgrid(pixels, pixels, indexing="xy"), -1)
    for row in range(4):
        linear, shift = geometry.affine[row, :, :2], geometry.affine[row, :, 2]
        looked_at = (
            torch.linalg.solve(linear, (points.view(-1, 2) - shift).T).T.view(view, view, 2) * size - 0.5
        )
        expected = looked_at.clamp(edge, size - 1 - edge).permute(2, 0, 1)
        assert float((images[row, :2] - expected).abs().max()) < 0.01


@RENDERERS
def test_halved_crops_are_averages_and_fine_stripes_turn_grey(render: Renderer) -> None:
    crops = torch.zeros(3, 64, 64, 3, dtype=torch.uint8)
    crops[:, :, ::2] = 200
    images = rendered(render, crops, 15, halvings=torch.tensor([2, 0, 1])) * 255
    for row in (0, 2):
        assert (images[row] - 100).abs().max() < 1e-3
    assert images[1].std() > 10  # aliased: stripes of another width
    alike = rendered(render, crops, 15, halvings=torch.tensor([1, 1, 1])) * 255
    assert (alike - 100).abs().max() < 1e-3


@RENDERERS
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
def test_colours_change_as_pythons_own_hsv_has_them(render: Renderer, colour: list[float]) -> None:
    colours = [*product((0, 1, 60, 128, 254, 255), repeat=3)]
    colours += np.random.default_rng(0).integers(0, 256, (40, 3)).tolist()
    crops = torch.tensor(colours, dtype=torch.uint8).view(1, 16, 16, 3)
    image = rendered(render, crops, 16, colour=torch.tensor([colour], dtype=torch.float64))[0]
    for (row, column), rgb in zip(np.ndindex(16, 16), crops[0].reshape(-1, 3).tolist(), strict=True):
        expected = recoloured(tuple(level / 255 for level in rgb), colour)
        assert image[:, row, column].tolist() == pytest.approx(expected, abs=2e-4), rgb


@pytest.mark.parametrize(("crop_px", "size_px"), [(224, 128), (128, 64), (224, 24), (33, 50)])
def test_both_renderers_make_the_same_views(crop_px: int, size_px: int) -> None:
    settings = AugmentationSettings(size_px=size_px)
    crops, parameters = smooth_crops(9, crop_px), draw_parameters(settings, 9, seeded(4))
    geometry = place_views(random_keypoints(9).double(), parameters, "radius")
    halvings = geometry.halvings(crop_px, size_px)
    for colour, most in ((None, 2e-5), (parameters.colour, 1e-3)):
        one, other = (
            rendered(render, crops, size_px, geometry.affine, halvings, colour)
            for render in (render_with_opencv, render_with_torch)
        )
        apart = (one - other).abs().amax(1)
        # A red that rounding takes across the seam of the circle of hues comes out in another colour.
        assert float((apart > most).double().mean()) < (1e-3 if colour is not None else 1e-9)


def test_blur_is_the_weighted_mean_of_the_neighbourhood() -> None:
    views = torch.rand(3, 3, 20, 20, generator=seeded(), dtype=torch.float64)
    sigmas = torch.tensor([0.3, 1.0, 2.0], dtype=torch.float64)
    result = gaussian_blur(views, sigmas, 2.0)
    padded = torch.nn.functional.pad(views, (6, 6, 6, 6), mode="replicate")
    for row, sigma in enumerate(sigmas):
        weights = torch.exp(-0.5 * (torch.arange(-6, 7, dtype=torch.float64) / sigma) ** 2)
        weights = weights[:, None] * weights / weights.sum() ** 2
        for y, x in ((0, 0), (3, 19), (10, 10)):
            expected = (padded[row, :, y : y + 13, x : x + 13] * weights).sum((1, 2))
            torch.testing.assert_close(result[row, :, y, x], expected)


def test_blur_may_reach_further_than_a_small_view() -> None:
    assert gaussian_blur(torch.full((1, 3, 8, 8), 0.4), torch.tensor([2.0]), 4.0).sub(0.4).abs().max() < 1e-6


def test_grey_is_that_of_pillow() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    grey = to_grey(torch.from_numpy(pixels).permute(2, 0, 1)[None].float())
    assert grey.shape == (1, 3, 9, 9)
    assert torch.equal(grey[:, 0], grey[:, 1])
    assert torch.equal(grey[:, 0], grey[:, 2])
    expected = np.asarray(Image.fromarray(pixels).convert("L"), dtype=float)
    assert np.abs(grey[0, 0].numpy() - expected).max() <= 0.55  # Pillow rounds to whole ones


def test_a_square_is_cut_out_and_nothing_else() -> None:
    views = torch.zeros(2, 3, 10, 20)[:, :, :, :10] + 0.9
    cut = cut_out(views, torch.tensor([[0.5, 0.3], [1.0, 0.0]]), torch.tensor([0.4, 0.6]))
    colour = torch.tensor(CUT_OUT_COLOUR)
    expected = views.clone()
    expected[0, :, 1:5, 3:7] = colour[:, None, None]
    expected[1, :, 0:3, 7:10] = colour[:, None, None]  # the part of it within the view
    torch.testing.assert_close(cut, expected)


@pytest.mark.parametrize("side", [0.0, 1.0])
def test_a_square_of_no_side_takes_nothing_and_one_of_the_views_side_takes_all(side: float) -> None:
    cut = cut_out(torch.zeros(1, 3, 12, 12), torch.tensor([[0.5, 0.5]]), torch.tensor([side]))
    assert float((cut[0, 0] > 0).float().mean()) == side

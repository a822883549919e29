import numpy as np
import pytest
import torch
from PIL import Image

from tests.training.augmentation.hands import seeded
from training.augmentation.pixels import FILLED_WITH, blurred, cut_out, without_colour


def test_blur_is_the_weighted_mean_of_what_is_around() -> None:
    views = torch.rand(3, 3, 20, 20, generator=seeded(), dtype=torch.float64)
    sigmas = torch.tensor([0.3, 1.0, 2.0], dtype=torch.float64)
    result = blurred(views, sigmas, 2.0)
    for row, sigma in enumerate(sigmas.tolist()):
        for y, x in ((0, 0), (3, 19), (10, 10)):
            total, weights = torch.zeros(3, dtype=torch.float64), 0.0
            for dy in range(-6, 7):
                for dx in range(-6, 7):
                    weight = float(np.exp(-(dx**2 + dy**2) / (2 * sigma**2)))
                    at_y, at_x = min(max(y + dy, 0), 19), min(max(x + dx, 0), 19)
                    total += weight * views[row, :, at_y, at_x]
                    weights += weight
            torch.testing.assert_close(result[row, :, y, x], total / weights)


def test_blur_may_reach_further_than_a_small_view() -> None:
    assert blurred(torch.full((1, 3, 8, 8), 0.4), torch.tensor([2.0]), 4.0).sub(0.4).abs().max() < 1e-6


def test_grey_is_that_of_pillow() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    grey = without_colour(torch.from_numpy(pixels).permute(2, 0, 1)[None].float())
    assert grey.shape == (1, 3, 9, 9)
    assert torch.equal(grey[:, 0], grey[:, 1])
    assert torch.equal(grey[:, 0], grey[:, 2])
    expected = np.asarray(Image.fromarray(pixels).convert("L"), dtype=float)
    assert np.abs(grey[0, 0].numpy() - expected).max() <= 0.55  # Pillow rounds to whole ones


def test_a_square_is_cut_out_and_nothing_else() -> None:
    views = torch.zeros(2, 3, 10, 20)[:, :, :, :10] + 0.9
    cut = cut_out(views, torch.tensor([[0.5, 0.3], [1.0, 0.0]]), torch.tensor([0.4, 0.6]))
    filling = torch.tensor(FILLED_WITH)
    expected = views.clone()
    expected[0, :, 1:5, 3:7] = filling[:, None, None]
    expected[1, :, 0:3, 7:10] = filling[:, None, None]  # what is left of it within the view
    torch.testing.assert_close(cut, expected)


@pytest.mark.parametrize("side", [0.0, 1.0])
def test_a_square_of_no_side_takes_nothing_and_one_of_the_views_side_takes_all(side: float) -> None:
    cut = cut_out(torch.zeros(1, 3, 12, 12), torch.tensor([[0.5, 0.5]]), torch.tensor([side]))
    assert float((cut[0, 0] > 0).float().mean()) == side

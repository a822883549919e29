import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from training.models.detnet import find_peaks, gaussian_heat_maps

SIDE = 16


def _points(seed: int, *, low: float = 0.0, high: float = 1.0) -> Tensor:
    drawn = torch.rand(4, 21, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return low + (high - low) * drawn


@pytest.mark.parametrize("sigma", [1.0, 2.5])
def test_a_gaussian_cell_by_cell(sigma: float) -> None:
    points = _points(0, low=-0.2, high=1.2)
    maps = gaussian_heat_maps(points, 6, sigma)
    assert maps.shape == (4, 21, 6, 6)
    for hand, joint in [(0, 0), (1, 20), (3, 7)]:
        x, y = (6 * float(value) for value in points[hand, joint])
        for row in range(6):
            for column in range(6):
                apart = math.dist((column + 0.5, row + 0.5), (x, y))
                expected = math.exp(-(apart**2) / (2 * sigma**2))
                assert float(maps[hand, joint, row, column]) == pytest.approx(expected, abs=1e-12)


def test_one_cell_is_the_standard_deviation() -> None:
    maps = gaussian_heat_maps(torch.full((1, 21, 2), 8.5 / SIDE), SIDE)
    assert float(maps[0, 0, 8, 8]) == pytest.approx(1)
    assert float(maps[0, 0, 8, 9]) == pytest.approx(math.exp(-0.5))
    assert float(maps[0, 0, 10, 8]) == pytest.approx(math.exp(-2))


@given(st.integers(0, 2**31), st.sampled_from([8, 16, 32]), st.sampled_from([torch.float32, torch.float64]))
@settings(max_examples=40, deadline=None)
def test_peaks_of_gaussians_are_found_exactly(seed: int, side: int, dtype: torch.dtype) -> None:
    points = _points(seed, low=1 / side, high=1 - 1 / side).to(dtype)
    peaks = find_peaks(gaussian_heat_maps(points, side))
    torch.testing.assert_close(peaks.points, points, rtol=0, atol=1e-5 if dtype == torch.float32 else 1e-12)
    column, row = (points * side).long().unbind(-1)
    assert torch.equal(peaks.cell, row * side + column)


def test_peaks_are_found_whatever_their_height() -> None:
    points = _points(1, low=0.1, high=0.9)
    for height in (0.05, 3.0):
        peaks = find_peaks(height * gaussian_heat_maps(points, SIDE))
        torch.testing.assert_close(peaks.points, points, rtol=0, atol=1e-12)
        assert (peaks.height <= height).all()
        assert (peaks.height >= height * math.exp(-0.25)).all(), "no cell's centre is further away"


@given(st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_at_the_border_it_is_the_centre_of_the_cell(seed: int) -> None:
    """The other axis stays as fine as ever."""
    points = _points(seed, low=0.1, high=0.9)
    points[0, :, 0] /= 2 * SIDE  # left of the first cell's centre
    points[1, :, 0] = 1 + points[1, :, 0]
    points[2, :, 1] = -points[2, :, 1] / SIDE
    points[3, :, 1] = 1 + points[3, :, 1] / SIDE
    peaks = find_peaks(gaussian_heat_maps(points, SIDE))
    for hand, axis, place in [(0, 0, 0.5), (1, 0, SIDE - 0.5), (2, 1, 0.5), (3, 1, SIDE - 0.5)]:
        assert (peaks.points[hand, :, axis] == place / SIDE).all()
        if hand != 1:  # so far outside that its other axis is as good as cold
            torch.testing.assert_close(
                peaks.points[hand, :, 1 - axis], points[hand, :, 1 - axis], rtol=0, atol=1e-12
            )


def _lone(cells: dict[tuple[int, int], float], background: float = 0.0) -> Tensor:
    maps = torch.full((1, 21, 4, 6), background)
    for (row, column), heat in cells.items():
        maps[..., row, column] = heat
    return maps


@pytest.mark.parametrize("background", [0.0, -1.0])
def test_beside_cold_cells_it_is_the_centre_of_the_cell(background: float) -> None:
    peaks = find_peaks(_lone({(2, 3): 1.0, (2, 4): 0.5}, background))
    assert (peaks.cell == 2 * 6 + 3).all()
    assert (peaks.points == torch.tensor([3.5 / 6, 2.5 / 4])).all()
    assert (peaks.height == 1).all()


def test_of_several_the_first_is_the_peak() -> None:
    peaks = find_peaks(_lone({(1, 4): 1.0, (2, 2): 1.0, (3, 5): 1.0}))
    assert (peaks.cell == 1 * 6 + 4).all()


def test_plateaus_and_cold_maps_stay_within_the_cell() -> None:
    for maps in (_lone({}), _lone({}, -3.0), _lone({}, 0.7), _lone({(1, 2): 0.9, (1, 3): 0.9}, 0.5)):
        peaks = find_peaks(maps)
        column, row = peaks.cell % 6, peaks.cell // 6
        apart = peaks.points * torch.tensor([6.0, 4.0]) - torch.stack([column, row], -1) - 0.5
        assert (apart.abs() <= 0.5 + 1e-6).all()

from dataclasses import fields, replace
from typing import Any

import pytest
import torch

from tests.training.augmentation.hands import seeded
from training.augmentation import AugmentationSettings
from training.augmentation.views import ViewParameters, draw_parameters

SETTINGS = AugmentationSettings(grey_probability=0.3, blur_probability=0.5, cut_out_probability=0.7)


def columns(draws: ViewParameters) -> dict[str, torch.Tensor]:
    return {field.name: getattr(draws, field.name) for field in fields(draws)}


def test_numbers_fill_their_ranges() -> None:
    draws = draw_parameters(SETTINGS, 4000, seeded())
    for numbers, (low, high) in (
        (draws.angle_deg, (-45, 45)),
        (draws.margin, SETTINGS.margin or (0, 0)),
        (draws.jitter_px, SETTINGS.jitter_px),
        (draws.colour[:, 0], SETTINGS.hue),
        (draws.colour[:, 1], SETTINGS.saturation),
        (draws.colour[:, 2], SETTINGS.value),
        (draws.colour[:, 3], SETTINGS.brightness),
        (draws.blur_sigma_px, SETTINGS.blur_sigma_px),
        (draws.cut_side, SETTINGS.cut_out_side),
        (draws.cut_centre, (0, 1)),
    ):
        spread = high - low
        assert low <= numbers.min() < low + 0.01 * spread
        assert high - 0.01 * spread < numbers.max() <= high
        assert float(numbers.mean()) == pytest.approx((low + high) / 2, abs=0.03 * spread)
    for chosen, probability in ((draws.greyed, 0.3), (draws.blurred, 0.5), (draws.cut, 0.7)):
        assert float(chosen.double().mean()) == pytest.approx(probability, abs=0.03)


def test_numbers_of_a_view_are_not_bound_to_each_other() -> None:
    draws = columns(draw_parameters(SETTINGS, 4000, seeded()))
    table = torch.cat([column.double().reshape(4000, -1) for column in draws.values()], 1)
    correlation = torch.corrcoef(table.T) - torch.eye(table.shape[1])
    assert float(correlation.abs().max()) < 0.08


@pytest.mark.parametrize(
    "changed",
    [
        {"rotation_deg": 0.0},
        {"margin": None},
        {"jitter_px": (0.0, 0.0)},
        {"hue": (1.0, 1.0)},
        {"value": (1.0, 1.0), "brightness": (-5.0, 0.0)},
        {"grey_probability": 0.0},
        {"blur_probability": 1.0},
        {"cut_out_probability": 0.0, "cut_out_side": (0.2, 0.2)},
    ],
)
def test_switching_a_step_changes_no_other_ones_draws(changed: dict[str, Any]) -> None:
    with_it, without = (
        columns(draw_parameters(settings, 50, seeded(3)))
        for settings in (SETTINGS, replace(SETTINGS, **changed))
    )
    touched = {
        "rotation_deg": {"angle_deg"},
        "margin": {"margin"},
        "jitter_px": {"jitter_px"},
        "grey_probability": {"greyed"},
        "blur_probability": {"blurred"},
        "cut_out_probability": {"cut"},
        "cut_out_side": {"cut_side"},
    }
    names = {name for key in changed for name in touched.get(key, {"colour"})}
    for name in with_it:
        assert torch.equal(with_it[name], without[name]) == (name not in names)


def test_a_view_draws_the_same_whatever_follows_it_in_the_batch() -> None:
    few, many = (
        columns(draw_parameters(SETTINGS, 3, seeded(5))),
        columns(draw_parameters(SETTINGS, 30, seeded(5))),
    )
    for name in few:
        assert torch.equal(few[name], many[name][:3])


def test_the_generator_goes_on_from_batch_to_batch() -> None:
    generator = seeded(6)
    first, second = draw_parameters(SETTINGS, 8, generator), draw_parameters(SETTINGS, 8, generator)
    assert not torch.equal(first.angle_deg, second.angle_deg)
    assert torch.equal(second.angle_deg, draw_parameters(SETTINGS, 16, seeded(6)).angle_deg[8:])

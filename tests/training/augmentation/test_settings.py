import re
from dataclasses import replace
from typing import Any

import pytest

from handsim.errors import HandsimError
from tests.training.augmentation.builders import COLOURS_UNCHANGED
from training.augmentation import AugmentationSettings


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"size_px": 7}, "size_px is 7"),
        ({"rotation_deg": -1.0}, "rotation_deg is -1.0"),
        ({"rotation_deg": float("nan")}, "rotation_deg is nan"),
        ({"margin": (1.5, 0.9)}, "margin is (1.5, 0.9)"),
        ({"margin": (0.0, 1.0)}, "margin is (0.0, 1.0)"),
        ({"jitter_px": (0.0, float("inf"))}, "jitter_px is (0.0, inf)"),
        ({"hue": (0.5, 1.1)}, "hue is (0.5, 1.1)"),
        ({"saturation": (-0.1, 1.0)}, "saturation is (-0.1, 1.0)"),
        ({"value": (1.0, 0.5)}, "value is (1.0, 0.5)"),
        ({"brightness": (0.0, 256.0)}, "brightness is (0.0, 256.0)"),
        ({"grey_probability": 1.1}, "grey_probability is 1.1"),
        ({"blur_probability": -0.1}, "blur_probability is -0.1"),
        ({"cut_out_probability": float("nan")}, "cut_out_probability is nan"),
        ({"blur_sigma_px": (0.0, 1.0)}, "blur_sigma_px is (0.0, 1.0)"),
        ({"blur_sigma_px": (1.0, 40.0)}, "both within 0.05 to 32"),
        ({"cut_out_side": (0.5, 1.5)}, "cut_out_side is (0.5, 1.5)"),
    ],
)
def test_bad_settings_are_named_with_their_value_and_bound(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(HandsimError, match=re.escape(named)):
        AugmentationSettings(**changed)


def test_the_defaults_are_the_papers() -> None:
    settings = AugmentationSettings()
    assert (settings.size_px, settings.rotation_deg) == (128, 45.0)
    assert (settings.margin, settings.jitter_px) == ((0.9, 1.5), (0.0, 15.0))
    assert (settings.hue, settings.saturation) == ((0.01, 1.0), (0.01, 1.0))
    assert (settings.value, settings.brightness) == ((0.5, 1.0), (5.0, 20.0))
    assert settings.grey_probability == settings.blur_probability == settings.cut_out_probability == 0


@pytest.mark.parametrize("name", ["hue", "saturation", "value", "brightness"])
def test_colours_change_as_soon_as_one_of_their_numbers_can(name: str) -> None:
    assert not COLOURS_UNCHANGED.changes_colour
    changed: dict[str, Any] = {name: (0.5, 1.0)}
    assert replace(COLOURS_UNCHANGED, **changed).changes_colour


def test_a_small_view_can_be_asked_for_without_touching_the_blur() -> None:
    assert AugmentationSettings(size_px=8).size_px == 8

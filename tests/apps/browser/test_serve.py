"""The browser as a server: who may talk to it, its theme, and what it opens before somebody looks."""

from pathlib import Path
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray

from apps.browser.library import get_library
from apps.browser.serve import THEME, BrowserSettings, build_streamlit_command, open_home


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5"])
def test_any_name_will_do_on_an_address_that_others_can_reach(host: str) -> None:
    command = build_streamlit_command(BrowserSettings(Path("home")), host, 8501)
    assert not any("allowedHosts" in word for word in command)


def test_the_home_is_opened_before_somebody_looks_and_may_be_empty(own_home: Path, tmp_path: Path) -> None:
    open_home(BrowserSettings(tmp_path / "empty"))
    settings = BrowserSettings(own_home)
    open_home(settings)
    for part in own_home.glob("pool/parts/*/hands.parquet"):
        part.write_bytes(b"")  # it cannot be opened any more
    assert len(get_library(settings).open_pool()) == 60


_LEAST_CONTRAST: Final = 4.5
"""WCAG 2.2, for small text."""
_OPACITIES: Final = (0.6, 0.8)
"""Of Streamlit's captions, and of text in charts (`page.css`)."""


def colour(kind: str, name: str) -> NDArray[np.float64]:
    """Red, green and blue in [0, 1]."""
    return np.array([*bytes.fromhex(THEME[f"theme.{kind}.{name}"].removeprefix("#"))]) / 255


def contrast(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    colours = np.stack([one, other])
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    dark, light = np.sort(linear @ [0.2126, 0.7152, 0.0722])
    return float((light + 0.05) / (dark + 0.05))


@pytest.mark.parametrize("kind", ["light", "dark"])
def test_text_in_the_colours_of_the_theme_can_be_read(kind: str) -> None:
    text = colour(kind, "textColor")
    assert contrast(np.ones(3), colour(kind, "primaryColor")) >= _LEAST_CONTRAST
    assert contrast(colour(kind, "linkColor"), colour(kind, "backgroundColor")) >= _LEAST_CONTRAST
    for ground in (colour(kind, "backgroundColor"), colour(kind, "secondaryBackgroundColor")):
        for opacity in _OPACITIES:
            assert contrast(opacity * text + (1 - opacity) * ground, ground) >= _LEAST_CONTRAST

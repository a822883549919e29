"""The browser as a server: who may talk to it, its theme, and what it opens before somebody looks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from apps.browser.entry.server import open_home
from apps.browser.library import get_library
from apps.browser.serve import THEME, BrowserSettings, build_streamlit_command


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5"])
def test_any_name_will_do_on_an_address_that_others_can_reach(host: str) -> None:
    command = build_streamlit_command(BrowserSettings(Path("home")), host, 8501)
    assert not any("allowedHosts" in word for word in command)


def test_the_home_is_opened_before_somebody_looks(own_home: Path) -> None:
    settings = BrowserSettings(own_home)
    open_home(settings)
    for part in own_home.glob("pool/parts/*/hands.parquet"):
        part.write_bytes(b"")  # it cannot be opened any more
    assert len(get_library(settings).open_pool()) == 60


def test_a_server_starts_on_an_empty_home(tmp_path: Path) -> None:
    open_home(BrowserSettings(tmp_path))


_LEAST_CONTRAST: Final = 4.5
"""WCAG 2.2, for small text."""
_OPACITIES: Final = (0.6, 0.8)
"""Of Streamlit's captions, and of text in charts (`page.css`)."""


def colour(kind: str, name: str) -> tuple[float, ...]:
    """Red, green and blue in [0, 1]."""
    return tuple(part / 255 for part in bytes.fromhex(THEME[f"theme.{kind}.{name}"].removeprefix("#")))


def luminance(colour: Sequence[float]) -> float:
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour]
    return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: Sequence[float], other: Sequence[float]) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("kind", ["light", "dark"])
def test_text_in_the_colours_of_the_theme_can_be_read(kind: str) -> None:
    text = colour(kind, "textColor")
    assert contrast((1.0, 1.0, 1.0), colour(kind, "primaryColor")) >= _LEAST_CONTRAST
    assert contrast(colour(kind, "linkColor"), colour(kind, "backgroundColor")) >= _LEAST_CONTRAST
    for ground in (colour(kind, "backgroundColor"), colour(kind, "secondaryBackgroundColor")):
        for opacity in _OPACITIES:
            mixed = [opacity * ink + (1 - opacity) * below for ink, below in zip(text, ground, strict=True)]
            assert contrast(mixed, ground) >= _LEAST_CONTRAST

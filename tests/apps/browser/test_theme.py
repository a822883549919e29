"""What is written in the theme's colours can be read: WCAG 2.2's contrast of small text."""

from collections.abc import Sequence
from typing import Final

import pytest

from apps.browser.serve import THEME

_LEAST: Final = 4.5
_FADED: Final = 0.6
"""What Streamlit leaves of the text's colour in captions."""
_CHARTS: Final = 0.8
"""What `page.css` leaves of it in charts."""
_WHITE: Final = (1.0, 1.0, 1.0)


def _colour(kind: str, name: str) -> tuple[float, ...]:
    """Red, green and blue in [0, 1]."""
    return tuple(part / 255 for part in bytes.fromhex(THEME[f"theme.{kind}.{name}"].removeprefix("#")))


def _luminance(colour: Sequence[float]) -> float:
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour]
    return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def _contrast(one: Sequence[float], other: Sequence[float]) -> float:
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("kind", ["light", "dark"])
def test_text_can_be_read(kind: str) -> None:
    text = _colour(kind, "textColor")
    assert _contrast(_WHITE, _colour(kind, "primaryColor")) >= _LEAST
    assert _contrast(_colour(kind, "linkColor"), _colour(kind, "backgroundColor")) >= _LEAST
    for ground in (_colour(kind, "backgroundColor"), _colour(kind, "secondaryBackgroundColor")):
        for share in (_FADED, _CHARTS):
            mixed = [share * ink + (1 - share) * below for ink, below in zip(text, ground, strict=True)]
            assert _contrast(mixed, ground) >= _LEAST

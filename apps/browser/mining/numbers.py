"""A tried policy's figures, each beside what it was under another policy."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import streamlit as st

from apps.browser.mining.figures import Figures

_WIDTH_PX: Final = 168


@dataclass(frozen=True)
class _Told:
    """How one figure is told."""

    label: str
    of: Callable[[Figures], float | None]
    form: str
    step: float
    help: str


_SHARE: Final = "{:.1%}"
_LENGTH: Final = "{:.3f}"
_TOLD: Final = (
    _Told(
        "With a positive",
        lambda found: found.with_positive,
        _SHARE,
        5e-4,
        "Hands that have a positive under this policy; the others are shown in a second view of their own",
    ),
    _Told(
        "Of another video",
        lambda found: found.cross_video,
        _SHARE,
        5e-4,
        "Pairs that lie in two videos: those of one teach little more than the next frame does",
    ),
    _Told(
        "Pose distance",
        lambda found: found.pose_distance,
        _LENGTH,
        5e-4,
        "Mean distance between the joints of anchor and positive (2D), in crop widths: what weights rest on",
    ),
    _Told(
        "Embedding distance",
        lambda found: found.distance,
        _LENGTH,
        5e-4,
        "Mean distance between anchor and positive in the index's embedding: what 'largest distance' caps",
    ),
    _Told(
        "Different positives",
        lambda found: found.different,
        _SHARE,
        5e-4,
        "Of all times that a hand is a positive, how many different hands that are. Low: a few hands, "
        "hubs, are chosen again and again. It falls with the sample's size and with Top-K",
    ),
    _Told(
        "Same label",
        lambda found: found.same_label,
        _SHARE,
        5e-4,
        "Of the pairs of which both hands have a label, those where it is the same one",
    ),
)


def numbers(found: Figures, other: Figures | None, than: str) -> None:
    """Draw the figures; ``than`` tells whose the ``other`` ones are."""
    with st.container(horizontal=True, gap="small"):
        for told in _TOLD:
            value = told.of(found)
            if value is None and told.label == "Same label":
                continue
            delta = _delta(told, value, None if other is None else told.of(other))
            st.metric(
                told.label,
                None if value is None else told.form.format(value),
                delta,
                delta_color="off",
                delta_description=None if delta is None else f"than {than}",
                help=told.help,
                border=True,
                width=_WIDTH_PX,
                height="stretch",
            )


def _delta(told: _Told, value: float | None, before: float | None) -> str | float | None:
    """The change as text with its sign; 0 where it is too small to be seen."""
    if value is None or before is None:
        return None
    change = value - before
    if abs(change) < told.step:
        return 0
    if told.form == _SHARE:
        return f"{100 * change:+.1f} points".replace("+", "")
    return told.form.format(change)

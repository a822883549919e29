"""A tried policy's figures, each beside what it was under another policy."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import streamlit as st

from apps.browser.mining.figures import Figures

_KEY: Final = "mining_numbers"
"""By which `page.css` lays the figures out."""


@dataclass(frozen=True)
class _Told:
    """How one figure is told: its name, where it is, its format, and what it means."""

    label: str
    of: Callable[[Figures], float | None]
    form: str
    help: str

    def changed(self, value: float | None, before: float | None) -> str | int | None:
        """The change as text; 0 where it is too small to be told."""
        if value is None or before is None:
            return None
        if self.form.format(value) == self.form.format(before):
            return 0
        change = self._read(value) - self._read(before)
        return f"{change:.1f} points" if self.form == _SHARE else self.form.format(type(value)(change))

    def _read(self, value: float) -> float:
        """The number as people read it: rounded, so that the change is that of what they see."""
        return float(self.form.format(value).rstrip("%×").replace(",", ""))


def _times_nearer(found: Figures) -> float | None:
    if not found.pose_distance or found.random_pose_distance is None:
        return None
    return found.random_pose_distance / found.pose_distance


_SHARE: Final = "{:.1%}"
_LENGTH: Final = "{:.3f}"
_TOLD: Final = (
    _Told(
        "With a positive",
        lambda found: found.with_positive,
        _SHARE,
        "Hands that have a positive under this policy; the others are shown in a second view of their own",
    ),
    _Told(
        "Of another video",
        lambda found: found.cross_video,
        _SHARE,
        "Pairs that lie in two videos: those of one teach little more than the next frame does",
    ),
    _Told(
        "Pose distance",
        lambda found: found.pose_distance,
        _LENGTH,
        "Mean distance between the joints of anchor and positive (2D), in crop widths: what weights rest on",
    ),
    _Told(
        "Nearer than random",
        _times_nearer,
        "{:.1f}×",
        "How many times the pose distance is that of random hands of two videos",
    ),
    _Told(
        "Embedding distance",
        lambda found: found.distance,
        _LENGTH,
        "Mean distance between anchor and positive in the index's embedding: what 'largest distance' caps",
    ),
    _Told(
        "Different positives",
        lambda found: found.different,
        _SHARE,
        "Of all times that a hand is a positive, how many different hands that are. Low: a few hands, "
        "hubs, are chosen again and again. It falls with the sample's size and with Top-K",
    ),
    _Told(
        "Most chosen",
        lambda found: found.most_chosen,
        "{:,}",
        "How many of the sample's hands have the most-chosen hand among their positives",
    ),
    _Told(
        "Same label",
        lambda found: found.same_label,
        _SHARE,
        "Of the pairs of which both hands have a label, those where it is the same one",
    ),
)


def numbers(found: Figures, other: Figures | None) -> None:
    """Draw the figures, and how they differ from the ``other`` ones. What cannot be told is left out."""
    with st.container(key=_KEY, gap="small"):
        for told in _TOLD:
            value = told.of(found)
            if value is None:
                continue
            delta = None if other is None else told.changed(value, told.of(other))
            st.metric(
                told.label,
                told.form.format(value),
                delta,
                delta_color="off",
                help=told.help,
                border=True,
            )

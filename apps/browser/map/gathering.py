"""The hands that somebody drew around, together."""

from typing import Final

import numpy as np
import streamlit as st

from apps.browser.cards import hand_card, told_of
from apps.browser.components.hand_grid import hand_grid
from apps.browser.components.pose_map import choice_courier
from apps.browser.going import search_for
from apps.browser.library import Library
from apps.browser.map.lasso import Choice, Gathered, Outline, chosen_rows, gathered, rows_within
from apps.browser.map.pose_map import PoseMap
from apps.browser.search.question import Question
from apps.browser.trouble import plain, told

MOST_CARDS: Final = 60
_OUTLINE: Final = "map_outline"
_CHOICES: Final[dict[Choice, str]] = {"middle": "Nearest to the middle", "random": "Some at random"}


def gathering(library: Library, of: PoseMap, topic: str) -> None:
    """Hear what is clicked on and drawn around on the map, and show what lies within."""
    with told():
        outline = outline_on(of)
        choice_courier(
            of,
            topic=topic,
            key="map_choices",
            outline=outline,
            on_pick=lambda row: search_for(Question(hand=int(of.hand_ids[row]))),
            on_outline=lambda drawn: keep_outline(of, drawn),
        )
        if outline is not None:
            _sheet(library, of, outline)


def keep_outline(of: PoseMap, outline: Outline | None) -> None:
    """Remember what this visitor drew on a map."""
    st.session_state[_OUTLINE] = (of.version, of.checksum, outline)


def outline_on(of: PoseMap) -> Outline | None:
    """What this visitor drew on this map last, and did not put away."""
    kept: tuple[str, str, Outline | None] | None = st.session_state.get(_OUTLINE)
    return kept[2] if kept is not None and kept[:2] == (of.version, of.checksum) else None


def _sheet(library: Library, of: PoseMap, outline: Outline) -> None:
    rows = rows_within(of, outline)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(_sentence(gathered(of, rows), min(len(rows), MOST_CARDS)))
        st.button(
            "Put away",
            icon=":material/close:",
            on_click=keep_outline,
            args=(of, None),
            help="Forget what was drawn around",
        )
    choice: Choice = "middle"
    if len(rows) > MOST_CARDS:
        choice = st.segmented_control(
            "Shown",
            list(_CHOICES),
            default="middle",
            required=True,
            format_func=_CHOICES.__getitem__,
            key="map_choice",
            help=f"Which {MOST_CARDS} of the hands within",
        )
    if not len(rows):
        return
    shown = chosen_rows(of, rows, MOST_CARDS, choice)
    st.caption("Below each: how far it is to the nearest hand of another video.")
    hands = of.hand_ids[shown].tolist()
    with library.version() as version:
        pool, payloads = library.pool(), version.payloads(hands)
    hand_grid(
        [
            hand_card(library, pool, hand, _distance(float(of.distances[row])), told_of(payload))
            for row, hand, payload in zip(shown.tolist(), hands, payloads, strict=True)
        ],
        key="map_sheet",
        label="Hands within what was drawn around",
        on_pick=lambda hand: search_for(Question(hand=hand)),
        compact=True,
    )


def _distance(distance: float) -> str:
    return f"{distance:.3f}" if np.isfinite(distance) else ""


def _sentence(of: Gathered, shown: int) -> str:
    """What lies within, in Markdown."""
    if not of.hands:
        return "**No hand** lies within; draw around some points."
    parts = [f"**{_counted(of.hands, 'hand')}** of {_counted(of.videos, 'video')}"]
    parts += [f"{plain(name)} {share:.0%}" for name, share in of.labels]
    if of.median_distance is not None:
        parts.append(f"median {of.median_distance:.3f} to another video")
    if shown < of.hands:
        parts.append(f"{shown} shown")
    return f"{parts[0]} :gray[· {' · '.join(parts[1:])}]" if parts[1:] else parts[0]


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"

"""The map as it is drawn: what colours it, how much of it, and what is said of the hand pointed at."""

from typing import Final

import numpy as np
import streamlit as st

from apps.browser.cards import keypoints_of, short_id
from apps.browser.components.pose_map import Mark, hover_answer, hover_courier, pose_map
from apps.browser.library import Library
from apps.browser.map.colouring import MOST_CLASSES, ColourBy, Colouring, colouring
from apps.browser.map.pose_map import PoseMap
from apps.browser.trouble import told
from handsim.errors import HandsimError
from handsim.hand import parse_hand_id

DRAWN: Final = (2_000, 5_000, 10_000, 20_000)
"""How many hands can be drawn."""
_DRAWN_AT_FIRST: Final = 10_000
_HOVERED: Final = "map_hovered"
_COLOURS: Final[dict[ColourBy, str]] = {
    "label": "Label",
    "source": "Source",
    "video": "Video",
    "distance": "Distance",
}
_UNKNOWN: Final[dict[ColourBy, str]] = {
    "label": "no label",
    "source": "no source",
    "video": "no video",
    "distance": "no other video",
}
_EXPLAINED: Final = (
    "Label, source and video of each hand, or the distance to its nearest neighbour of another video: "
    "the further, the fewer pairs to learn from"
)


def drawing(library: Library, of: PoseMap, topic: str) -> None:
    """The controls and the map."""
    with told():
        with library.version() as version:
            if not of.is_of(version.info):
                st.rerun()  # another version was published: the page looks for that one's map
        with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
            by: ColourBy = st.segmented_control(
                "Colour by",
                list(_COLOURS),
                default=_first_colour(of),
                required=True,
                format_func=_COLOURS.__getitem__,
                key="colour",
                bind="query-params",
                help=_EXPLAINED,
            )
            most = _most(of)
        colours = colouring(of, by)
        pose_map(
            of, colours, key=topic, most=most, unknown=_UNKNOWN[by], note=_note(colours, by), mark=_mark(of)
        )


def hovering(library: Library, of: PoseMap, topic: str) -> None:
    """Answer which hand is pointed at; draws nothing itself."""
    with told():
        kept: tuple[str, int, int] | None = st.session_state.get(_HOVERED)
        answer = None
        if kept is not None and kept[0] == of.checksum:
            _, row, turn = kept
            hand = int(of.hand_ids[row])
            answer = hover_answer(
                of, row, turn, _picture(library, of, hand), short_id(hand), said_of(of, row)
            )
        hover_courier(
            of,
            topic=topic,
            key="map_hover",
            on_hover=lambda row, turn: st.session_state.update({_HOVERED: (of.checksum, row, turn)}),
            answer=answer,
        )


def said_of(of: PoseMap, row: int) -> tuple[str, ...]:
    """What the colours say of a hand, in words."""
    parts = [part for part in (of.labels[row], of.sources[row]) if part]
    distance = float(of.distances[row])
    near = f"{distance:.3f} to another video" if np.isfinite(distance) else "no other video"
    return (of.videos[row] or "", " · ".join(parts), near)


def _picture(library: Library, of: PoseMap, hand: int) -> str | None:
    pool = library.pool()
    return None if keypoints_of(pool, hand) is None else library.thumbnails.uri(pool, hand)


def _first_colour(of: PoseMap) -> ColourBy:
    """The one that tells most without being asked for."""
    if of.labels.names:
        return "label"
    return "source" if len(of.sources.names) > 1 else "distance"


def _most(of: PoseMap) -> int:
    """How many hands to draw; asked only where there are more than the fewest that can be chosen."""
    if len(of) <= DRAWN[0]:
        return DRAWN[0]
    offered = [count for count in DRAWN if count < len(of)]
    offered.append(next((count for count in DRAWN if count >= len(of)), DRAWN[-1]))
    offered = sorted(set(offered))
    chosen: int = st.select_slider(
        "Hands drawn",
        offered,
        value=min(_DRAWN_AT_FIRST, offered[-1]),
        format_func=lambda count: f"{min(count, len(of)):,}",
        key="drawn",
        width=260,
        help="A part of them, drawn at random, is quicker to move about in; outlines gather all hands within",
    )
    return chosen


def _note(colours: Colouring, by: ColourBy) -> str:
    if colours.kind == "hues":
        return (
            f"{colours.names:,} {_COLOURS[by].lower()}s, more than the {MOST_CLASSES} that a legend has room "
            "for: point at a hand to read its own"
        )
    return "to the nearest hand of another video" if colours.kind == "scale" else ""


def _mark(of: PoseMap) -> Mark | None:
    """The hand that the address names."""
    row = marked_row(of)
    if row is None:
        return None
    x, y = of.places[row].tolist()
    return Mark((x, y), "asked about")


def marked_row(of: PoseMap) -> int | None:
    """The row of the hand in the address; None without one, or where it is not on the map."""
    try:
        return of.row_of(parse_hand_id(st.query_params.get("hand", "")))
    except HandsimError:
        return None

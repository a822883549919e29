"""The map's canvas: what the hands are coloured by, and how many are drawn."""

from typing import Final, Literal

import numpy as np
import streamlit as st

from apps.browser import address, session
from apps.browser.components.pose_map import Legend, map_canvas
from apps.browser.library import Library
from apps.browser.map.cache import can_measure_distances, measure_distances_of, read_columns
from apps.browser.map.colouring import (
    MAX_CLASSES,
    Colouring,
    colour_classes,
    colour_hues,
    colour_scale,
    colour_tracks,
)
from apps.browser.map.columns import SEVERAL, MapColumns
from apps.browser.map.pose_map import PoseMap
from apps.browser.search.question import Question
from apps.browser.ui import show_errors
from handsim.lists import HandLists

TOPIC: Final = "pose_map"
"""Of the messages between the canvas and its channels."""
_DRAWN_CHOICES: Final = (50_000, 200_000, 500_000, 2_000_000)
"""How many hands can be drawn."""

ColourBy = Literal["label", "source", "video", "side", "track", "list", "score", "distance", "query"]
_COLOURS: Final[dict[ColourBy, str]] = {
    "label": "Label",
    "source": "Source",
    "video": "Video",
    "side": "Side",
    "track": "Track",
    "list": "List",
    "score": "Score",
    "distance": "Distance",
    "query": "Distance to the query",
}
_COLOUR_HELP: Final = (
    "Distance: of each hand to the nearest one of another video; the longer, the fewer pairs to learn from. "
    "Score: the detector's confidence. Track: one hand over the frames of a video."
)
_FIELDS: Final[dict[ColourBy, str]] = {
    "label": "labels",
    "source": "sources",
    "side": "side",
    "list": "lists",
}
"""Colour -> the condition of Search that an entry of its legend changes."""


def draw_canvas(library: Library, pose_map: PoseMap) -> None:
    with show_errors(), address.show_notes():
        with library.open_version() as version:
            if not pose_map.matches(version.info):
                st.rerun()  # other hands were published; the page looks for their map
            has_distances = can_measure_distances(pose_map, version.info)
        question, columns = session.read_question(), read_columns(pose_map, library.open_pool())
        lists = HandLists(library.home.lists)
        with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
            options = _colour_options(
                columns, lists.names(), has_query=has_distances and not question.is_empty
            )
            by: ColourBy = st.selectbox(
                "Colour by",
                options,
                format_func=_COLOURS.__getitem__,
                width=260,
                help=_COLOUR_HELP,
                **address.option(
                    "colour", options, options[0], _COLOURS.__getitem__, given="index", explicit=True
                ),
            )
            most = _choose_drawn_count(pose_map)
        colouring = _colour(library, pose_map, columns, by)
        map_canvas(pose_map, colouring, _describe_colours(by, colouring, question), key=TOPIC, most=most)


def _colour_options(columns: MapColumns, lists: list[str], *, has_query: bool) -> list[ColourBy]:
    """What the hands can be coloured by, the most telling first."""
    is_telling: dict[ColourBy, bool] = {
        "label": bool((columns.labels.codes >= 0).any()),
        "source": len(np.unique(columns.sources.codes)) > 1,
        "distance": True,
        "video": True,
        "side": True,
        "score": True,
        "track": bool(columns.tracks.any()),
        "list": bool(lists),
        "query": has_query,
    }
    return [by for by, is_so in is_telling.items() if is_so]


def _colour(library: Library, pose_map: PoseMap, columns: MapColumns, by: ColourBy) -> Colouring:
    match by:
        case "label" | "source" | "side":
            return colour_classes(
                {"label": columns.labels, "source": columns.sources, "side": columns.sides}[by]
            )
        case "video":
            return colour_hues(columns.videos)
        case "track":
            return colour_tracks(columns.tracks)
        case "list":
            lists = HandLists(library.home.lists)
            return colour_classes(columns.lists({name: lists.read(name).hand_ids for name in lists.names()}))
        case "score":
            return colour_scale(columns.scores)
        case "distance":
            return colour_scale(pose_map.distances)
        case "query":
            return colour_scale(measure_distances_of(library, pose_map, session.read_question()))


def _describe_colours(by: ColourBy, colouring: Colouring, question: Question) -> Legend:
    note = ""
    if by == "distance":
        note = "to the nearest hand of another video"
    elif by == "query":
        note = "to the nearest example with +" if question.like else "to the query"
    elif colouring.kind == "hues":
        note = (
            f"{colouring.name_count:,} {by}s, more than the {MAX_CLASSES} that a legend has room for: point "
            "at a hand to read its own"
        )
    unknown = {"distance": "no other video", "list": "on no list", "query": "not in this index"}
    return Legend(
        unknown.get(by, f"no {by}"), _FIELDS.get(by, ""), note, local=(SEVERAL,) if by == "list" else ()
    )


def _choose_drawn_count(pose_map: PoseMap) -> int:
    """How many hands to draw: all, unless somebody with a slow computer wants fewer."""
    if len(pose_map) <= _DRAWN_CHOICES[0]:
        return len(pose_map)
    options = [*(count for count in _DRAWN_CHOICES if count < len(pose_map)), len(pose_map)]
    count: int = st.select_slider(
        "Hands drawn",
        options,
        value=options[-1],
        format_func=lambda count: f"{count:,}",
        width=260,
        help="A random part is quicker to move; an outline still selects all hands within it",
        **address.option("drawn", options, options[-1], given="value"),
    )
    return count

"""A canvas that shows a map of hands, and the channels that carry its messages.

The map's points are sent to the web browser once. Messages about single hands go through components of their
own (channels), each in its fragment, so that an answer does not send the points again. In JavaScript, canvas
and channels of one ``topic`` talk by window events.
"""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from apps.browser.components import read_css, read_scripts
from apps.browser.map.colouring import Colouring
from apps.browser.map.pose_map import PoseMap
from apps.browser.map.selection import Outline, parse_outline
from handsim.english import pluralize

_TOOLS: Final = (
    ("zoomIn", "sign", "+", "Zoom in (+)"),
    ("zoomOut", "sign", "−", "Zoom out (−)"),
    ("reset", "", "Whole map", "Show the whole map (0)"),
    ("lasso", "", "Lasso", "Draw around hands to choose them (L, or Shift and drag)"),
    ("selectView", "", "Choose view", "Choose the hands that are in view"),
)
_BUTTONS: Final = "".join(
    f'<button type="button" data-tool="{name}" class="{kind}" title="{help}" aria-label="{help}">'
    f"{sign}</button>"
    for name, kind, sign, help in _TOOLS
)
_SCRIPTS: Final = ("points", "raster", "density", "drawing", "input", "legend")
"""The last one exports the component."""
CANVAS_HTML: Final = f"""<div class="map"><div class="stage">
      <canvas class="face" tabindex="0" role="application"></canvas>
      <div class="tools" role="toolbar" aria-label="Map">{_BUTTONS}</div>
      <div class="tip" hidden></div>
      <div class="said" role="status"></div>
    </div><div class="legend" role="group" aria-label="What the colours say"></div></div>"""
CANVAS_SCRIPT: Final = read_scripts("pose_map", *(f"pose_map_{part}" for part in _SCRIPTS))
_canvas = st.components.v2.component(
    "handsim_pose_map", html=CANVAS_HTML, css=read_css("pose_map"), js=CANVAS_SCRIPT
)
_channel = st.components.v2.component("handsim_pose_map_channel", js=read_scripts("pose_map_channel"))


@dataclass(frozen=True)
class Legend:
    """What the map's colours say, in words."""

    unknown: str
    """Names the hands without a value."""
    field: str = ""
    """The condition of Search that a click on a name changes; empty: it highlights its hands, here alone."""
    note: str = ""
    local: tuple[str, ...] = ()
    """Names that are no values of ``field``."""


def map_canvas(pose_map: PoseMap, colouring: Colouring, legend: Legend, *, key: str, most: int) -> None:
    """Draw at most ``most`` hands. Messages arrive in the channels whose ``topic`` is this ``key``."""
    _canvas(key=key, data=encode_points(pose_map, colouring, legend, topic=key, most=most))


def encode_points(pose_map: PoseMap, colouring: Colouring, legend: Legend, *, topic: str, most: int) -> bytes:
    """A line of JSON, then three arrays: x and y as 16-bit shares of the unit square, and 8-bit codes."""
    rows = pose_map.drawing_order[:most]
    about = {
        "topic": topic,
        "map": pose_map.checksum,
        "count": len(rows),
        "kind": colouring.kind,
        "classes": [
            [name, count, bool(legend.field) and name not in legend.local]
            for name, count in colouring.classes
        ],
        "ends": colouring.ends,
        "others": [colouring.name_count - len(colouring.classes), colouring.others],
        "unknown": [legend.unknown, colouring.unknown],
        "field": legend.field,
        "note": legend.note,
        "label": f"Map of {pluralize(len(rows), 'hand')}. Arrow keys go from hand to hand, Enter searches "
        "from one, x chooses it; with Shift they move the map, + and - zoom, 0 shows all",
    }
    shares = np.rint(pose_map.places[rows] * 65535).astype("<u2")
    points = shares.T.tobytes() + colouring.codes[rows].tobytes()
    return json.dumps(about).encode() + b"\n" + points


def hover_channel(
    pose_map: PoseMap,
    *,
    topic: str,
    key: str,
    on_hover: Callable[[int, int], None],
    answer: dict[str, Any] | None,
    view: str,
    on_view: Callable[[str], None],
) -> None:
    """Receive which hand is under the pointer; ``on_hover`` gets its row and the number of the question.

    ``answer`` is sent to the canvas, see `describe_hover`. The canvas shows the part ``view`` of the map, and
    ``on_view`` gets the part that a visitor moved to, see `apps.browser.map.view`.
    """

    def take_hover() -> None:
        message = st.session_state[key].get("hovered") or {}
        row, turn = _parse_row(pose_map, message), message.get("turn")
        if row is not None and isinstance(turn, int):
            on_hover(row, turn)

    def take_view() -> None:
        message = st.session_state[key].get("viewed") or {}
        if message.get("map") == pose_map.checksum and isinstance(message.get("view"), str):
            on_view(message["view"])

    _channel(
        key=key,
        data={"topic": topic, "kinds": ["hovered", "viewed"], "answer": {"view": view, "hand": answer}},
        on_hovered_change=take_hover,
        on_viewed_change=take_view,
    )


def describe_hover(
    pose_map: PoseMap, row: int, turn: int, picture: str | None, title: str, lines: tuple[str, ...]
) -> dict[str, Any]:
    """The content of a hand's tooltip: its crop as a data URI, and text."""
    return {
        "map": pose_map.checksum,
        "place": int(pose_map.place_of_row[row]),
        "turn": turn,
        "picture": picture,
        "title": title,
        "lines": list(lines),
    }


def choice_channel(
    pose_map: PoseMap,
    *,
    topic: str,
    key: str,
    outline: Outline | None,
    chosen: NDArray[np.bool_],
    on_pick: Callable[[int], None],
    on_toggle: Callable[[int], None],
    on_outline: Callable[[Outline], None],
) -> None:
    """Receive the row of a hand that was clicked or is to be chosen or taken off, or a new outline.

    The canvas shows ``outline``, and before the others the hands that are ``chosen`` [N].
    """

    def take_pick() -> None:
        row = _parse_row(pose_map, st.session_state[key].get("picked"))
        if row is not None:
            on_pick(row)

    def take_toggle() -> None:
        row = _parse_row(pose_map, st.session_state[key].get("toggled"))
        if row is not None:
            on_toggle(row)

    def take_outline() -> None:
        message = st.session_state[key].get("outlined") or {}
        new = parse_outline(message.get("corners"))
        if new is not None and message.get("map") == pose_map.checksum:
            on_outline(new)

    answer = {"outline": outline, "chosen": encode_bits(pose_map, chosen) if chosen.any() else ""}
    _channel(
        key=key,
        data={"topic": topic, "kinds": ["picked", "toggled", "outlined"], "answer": answer},
        on_picked_change=take_pick,
        on_toggled_change=take_toggle,
        on_outlined_change=take_outline,
    )


def link_channel(
    pose_map: PoseMap,
    *,
    topic: str,
    key: str,
    kept: NDArray[np.bool_],
    active: Mapping[str, Sequence[str]],
    lit: Sequence[int],
    marks: Sequence[tuple[int, str]],
    groups: Sequence[tuple[float, float, str]],
    contours: bool,
    on_filter: Callable[[str, str], None],
) -> None:
    """Show what a question says: hands that are not ``kept`` [N] in grey, rows ``lit`` as its answer.

    ``marks`` are rows with a text, ``groups`` places with one. ``active`` are of each field the names
    that are conditions; ``on_filter`` gets field and name of an entry of the legend that was clicked.
    """

    def take_filter() -> None:
        message = st.session_state[key].get("filtered") or {}
        field, name = message.get("field"), message.get("name")
        if message.get("map") != pose_map.checksum:
            return
        if isinstance(field, str) and isinstance(name, str) and field in active:
            on_filter(field, name)

    answer = {
        "map": pose_map.checksum,
        "kept": "" if kept.all() else encode_bits(pose_map, kept),
        "active": {field: list(names) for field, names in active.items()},
        "lit": [[*pose_map.places[row].tolist(), int(pose_map.place_of_row[row])] for row in lit],
        "groups": [list(group) for group in groups],
        "contours": contours,
        "marks": [[*pose_map.places[row].tolist(), text] for row, text in marks],
    }
    data = {"topic": topic, "kinds": ["filtered"], "answer": {"links": answer}}
    _channel(key=key, data=data, on_filtered_change=take_filter)


def encode_bits(pose_map: PoseMap, is_in: NDArray[np.bool_]) -> str:
    """A bit for each hand, in the drawing order."""
    bits = np.packbits(is_in[pose_map.drawing_order], bitorder="little")
    return base64.b64encode(bits.tobytes()).decode()


def _parse_row(pose_map: PoseMap, message: Any) -> int | None:
    """The row of the hand in a message, which names it by its place in the drawing order.

    None for a message about an earlier map, and for a malformed one.
    """
    if not isinstance(message, dict) or message.get("map") != pose_map.checksum:
        return None
    place = message.get("place")
    if not isinstance(place, int) or not 0 <= place < len(pose_map):
        return None
    return int(pose_map.drawing_order[place])

"""A canvas that shows a map of hands, and the channels that carry its messages.

The map's points are sent to the web browser once. Messages about single hands go through components of their
own (channels), each in its fragment, so that an answer does not send the points again. In JavaScript, canvas
and channels of one ``topic`` talk by window events.
"""

import base64
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from apps.browser.components import read_css, read_scripts
from apps.browser.map.pose_map import PoseMap
from apps.browser.map.selection import Colouring, Outline, parse_outline
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
_canvas = st.components.v2.component(
    "handsim_pose_map",
    html=f"""<div class="map"><div class="stage">
      <canvas class="face" tabindex="0" role="application"></canvas>
      <div class="tools" role="toolbar" aria-label="Map">{_BUTTONS}</div>
      <div class="tip" role="status" hidden></div>
    </div><div class="legend" role="group" aria-label="What the colours say"></div></div>""",
    css=read_css("pose_map"),
    js=read_scripts("pose_map_points", "pose_map", "pose_map_drawing", "pose_map_input"),
)
_channel = st.components.v2.component("handsim_pose_map_channel", js=read_scripts("pose_map_channel"))


def map_canvas(
    pose_map: PoseMap,
    colouring: Colouring,
    *,
    key: str,
    most: int,
    unknown: str,
    note: str = "",
    marked_row: int | None = None,
) -> None:
    """Draw at most ``most`` hands of a map.

    In the legend, ``unknown`` names the hands without a value, and ``note`` is a remark. A ring marks the
    hand in ``marked_row``. Clicks and outlines arrive in the channels whose ``topic`` is this ``key``.
    """
    rows = pose_map.drawing_order[:most]
    shares = np.rint(pose_map.places[rows] * 65535).astype("<u2")
    points = shares.T.tobytes() + colouring.codes[rows].tobytes()
    data = {
        "topic": key,
        "map": pose_map.name,
        "count": len(rows),
        "points": base64.b64encode(points).decode(),
        "kind": colouring.kind,
        "classes": [list(each) for each in colouring.classes],
        "ends": colouring.ends,
        "others": [colouring.name_count - len(colouring.classes), colouring.others],
        "unknown": [unknown, colouring.unknown],
        "note": note,
        "mark": None if marked_row is None else pose_map.places[marked_row].tolist(),
        "label": f"Map of {pluralize(len(rows), 'hand')}. Arrow keys move it, + and - zoom, 0 shows all",
    }
    _canvas(key=key, data=data)


def hover_channel(
    pose_map: PoseMap,
    *,
    topic: str,
    key: str,
    on_hover: Callable[[int, int], None],
    answer: dict[str, Any] | None,
) -> None:
    """Receive which hand is under the pointer; ``on_hover`` gets its row and the number of the question.

    ``answer`` is sent to the canvas, see `describe_hover`.
    """

    def take_hover() -> None:
        message = st.session_state[key].get("hovered") or {}
        row, turn = _parse_row(pose_map, message), message.get("turn")
        if row is not None and isinstance(turn, int):
            on_hover(row, turn)

    data = {"topic": topic, "kinds": ["hovered"], "answer": answer and {"hand": answer}}
    _channel(key=key, data=data, on_hovered_change=take_hover)


def describe_hover(
    pose_map: PoseMap, row: int, turn: int, picture: str | None, title: str, lines: tuple[str, ...]
) -> dict[str, Any]:
    """The content of a hand's tooltip: its crop as a data URI, and text."""
    return {
        "map": pose_map.name,
        "row": int(np.flatnonzero(pose_map.drawing_order == row)[0]),
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
    on_outline: Callable[[Outline], None],
) -> None:
    """Receive the row of a clicked hand, or a new outline.

    The canvas shows ``outline``, and before the others those of its hands that are ``chosen`` [n], in their
    drawing order.
    """

    def take_pick() -> None:
        row = _parse_row(pose_map, st.session_state[key].get("picked"))
        if row is not None:
            on_pick(row)

    def take_outline() -> None:
        message = st.session_state[key].get("outlined") or {}
        new = parse_outline(message.get("corners"))
        if new is not None and message.get("map") == pose_map.name:
            on_outline(new)

    bits = np.packbits(chosen, bitorder="little") if chosen.any() else np.empty(0, dtype=np.uint8)
    answer = {"outline": outline, "chosen": base64.b64encode(bits.tobytes()).decode()}
    data = {"topic": topic, "kinds": ["picked", "outlined"], "answer": answer}
    _channel(key=key, data=data, on_picked_change=take_pick, on_outlined_change=take_outline)


def _parse_row(pose_map: PoseMap, message: Any) -> int | None:
    """The row of the hand in a message, which names it by its place in the drawing order.

    None for a message about an earlier map, and for a malformed one.
    """
    if not isinstance(message, dict) or message.get("map") != pose_map.name:
        return None
    place = message.get("row")
    if not isinstance(place, int) or not 0 <= place < len(pose_map):
        return None
    return int(pose_map.drawing_order[place])

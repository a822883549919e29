"""A map of hands to wander over, and the couriers that carry its questions here and the answers back.

The map's points go to the browser once. What is asked while people point at them goes through components of
their own, each in its fragment, so that an answer takes the points along no more.
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import streamlit as st

from apps.browser.map.pose_map import PoseMap
from apps.browser.map.selection import Colouring, Outline, outline_of

_HERE: Final = Path(__file__)
_PARTS: Final = ("pose_map_points.js", "pose_map.js", "pose_map_painting.js", "pose_map_hands.js")
_TOOLS: Final = (
    ("closer", "sign", "+", "Zoom in (+)"),
    ("wider", "sign", "−", "Zoom out (−)"),
    ("reset", "", "Whole map", "Show the whole map (0)"),
    ("lasso", "", "Lasso", "Draw around hands to see them together (L, or Shift and drag)"),
    ("inView", "", "Gather view", "Show the hands together that are in view"),
)
_BUTTONS: Final = "".join(
    f'<button type="button" data-tool="{name}" class="{kind}" title="{help}" aria-label="{help}">'
    f"{sign}</button>"
    for name, kind, sign, help in _TOOLS
)
_map = st.components.v2.component(
    "handsim_pose_map",
    html=f"""<div class="map"><div class="stage">
      <canvas class="face" tabindex="0" role="application"></canvas>
      <div class="tools" role="toolbar" aria-label="Map">{_BUTTONS}</div>
      <div class="tip" role="status" hidden></div>
    </div><div class="legend" role="group" aria-label="What the colours say"></div></div>""",
    css=_HERE.with_suffix(".css").read_text("utf-8"),
    js="\n".join(_HERE.with_name(part).read_text("utf-8") for part in _PARTS),
)
_courier = st.components.v2.component(
    "handsim_pose_map_courier", js=_HERE.with_name("pose_map_courier.js").read_text("utf-8")
)


@dataclass(frozen=True)
class Mark:
    """A hand that is pointed out."""

    place: tuple[float, float]
    """In the map's unit square."""
    text: str
    """Beside it."""


def pose_map(
    of: PoseMap,
    colours: Colouring,
    *,
    key: str,
    most: int,
    unknown: str,
    note: str = "",
    mark: Mark | None = None,
) -> None:
    """Draw at most ``most`` hands of a map.

    ``unknown`` names in the legend the hands that have no colour, ``note`` says what else there is to know.
    What people do with it comes out of the couriers of the same ``topic``, which is this ``key``.
    """
    rows = of.drawing_order[:most]
    shares = np.rint(of.places[rows] * 65535).astype("<u2")
    packed = shares.T.tobytes() + colours.codes[rows].tobytes()
    data = {
        "topic": key,
        "map": _name(of),
        "shown": len(rows),
        "points": base64.b64encode(packed).decode(),
        "kind": colours.kind,
        "classes": [list(each) for each in colours.classes],
        "ends": colours.ends,
        "others": [colours.names - len(colours.classes), colours.others],
        "unknown": [unknown, colours.unknown],
        "note": note,
        "mark": None if mark is None else {"place": list(mark.place), "text": mark.text},
        "label": f"Map of {len(rows):,} hands. Arrow keys move it, + and - zoom, 0 shows all of it",
    }
    _map(key=key, data=data)


def hover_courier(
    of: PoseMap, *, topic: str, key: str, on_hover: Callable[[int, int], None], answer: dict[str, Any] | None
) -> None:
    """Carry which hand is pointed at; ``on_hover`` gets its row on the map and the number of the question.

    ``answer`` is what `hover_answer` made of it.
    """

    def hovered() -> None:
        said = st.session_state[key].get("hovered") or {}
        row, turn = _row(of, said), said.get("turn")
        if row is not None and isinstance(turn, int):
            on_hover(row, turn)

    data = {"topic": topic, "kinds": ["hovered"], "answer": answer and {"hand": answer}}
    _courier(key=key, data=data, on_hovered_change=hovered)


def hover_answer(
    of: PoseMap, row: int, turn: int, picture: str | None, title: str, lines: tuple[str, ...]
) -> dict[str, Any]:
    """What the map shows beside a hand: its crop as a data URI and words about it."""
    place = int(np.flatnonzero(of.drawing_order == row)[0])
    return {
        "map": _name(of),
        "row": place,
        "turn": turn,
        "picture": picture,
        "title": title,
        "lines": list(lines),
    }


def choice_courier(
    of: PoseMap,
    *,
    topic: str,
    key: str,
    outline: Outline | None,
    on_pick: Callable[[int], None],
    on_outline: Callable[[Outline], None],
) -> None:
    """Carry which hand was clicked on, by its row, and what was drawn around; the map shows ``outline``."""

    def picked() -> None:
        row = _row(of, st.session_state[key].get("picked"))
        if row is not None:
            on_pick(row)

    def outlined() -> None:
        said = st.session_state[key].get("outlined") or {}
        drawn = outline_of(said.get("corners"))
        if drawn is not None and said.get("map") == _name(of):
            on_outline(drawn)

    data = {"topic": topic, "kinds": ["picked", "outlined"], "answer": {"outline": outline}}
    _courier(key=key, data=data, on_picked_change=picked, on_outlined_change=outlined)


def _name(of: PoseMap) -> str:
    return f"{of.version}-{of.checksum}"


def _row(of: PoseMap, said: Any) -> int | None:
    """The row of a hand that a browser named by its place in the drawing order; None where there is none."""
    if not isinstance(said, dict) or said.get("map") != _name(of):
        return None
    place = said.get("row")
    if not isinstance(place, int) or not 0 <= place < len(of):
        return None
    return int(of.drawing_order[place])

"""A hand whose 21 joints can be dragged."""

from collections.abc import Callable

import streamlit as st

from apps.browser.components import read_css, read_scripts
from apps.browser.components.hand_grid import BONE_LIST, COLOURS
from handsim.skeleton import JOINT_COUNT, JOINT_NAMES

_editor = st.components.v2.component(
    "handsim_skeleton_editor",
    html='<svg viewBox="0 0 1000 1000" role="group" aria-label="A hand; drag its joints"></svg>',
    css=read_css("skeleton_editor"),
    js=read_scripts("skeleton_editor"),
)


def skeleton_editor(pose: tuple[int, ...], *, key: str, on_drag: Callable[[tuple[int, ...]], None]) -> None:
    """Draw a pose (see `apps.browser.search.question.Question.pose`); ``on_drag`` gets the new one."""

    def take_drag() -> None:
        message = st.session_state[key].get("points")
        if isinstance(message, list) and all(isinstance(number, int) for number in message):
            on_drag(tuple(message))

    points = [[pose[2 * joint], pose[2 * joint + 1]] for joint in range(JOINT_COUNT)]
    data = {"points": points, "bones": BONE_LIST, "colours": COLOURS, "names": list(JOINT_NAMES)}
    _editor(key=key, data=data, on_points_change=take_drag)

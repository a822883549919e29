"""Map: all poses laid flat, near means alike."""

from typing import Final

import streamlit as st

from apps.browser.library import Library
from apps.browser.map.drawing import drawing, hovering, marked_row
from apps.browser.map.finding import find_map
from apps.browser.map.gathering import gathering
from apps.browser.map.pose_map import PoseMap
from apps.browser.map.waiting import waiting
from apps.browser.trouble import plain, told
from handsim.errors import HandsimError

_TOPIC: Final = "pose_map"


def map(library: Library) -> None:
    """The map of the current version, or the way to have it made."""
    with told():
        with library.version() as version:
            info = version.info
        try:
            made = find_map(library, info)
        except HandsimError as error:
            waiting(library, info, str(error))
            return
        if made is None:
            waiting(library, info)
            return
        _head(made)
        st.fragment(drawing)(library, made, _TOPIC)
        st.fragment(gathering)(library, made, _TOPIC)
        st.fragment(hovering)(library, made, _TOPIC)


def _head(made: PoseMap) -> None:
    part = "" if len(made) == made.hands_in_version else f" of {made.hands_in_version:,}"
    st.markdown(
        f"**{len(made):,}{part} hands**, near means alike :gray[· index {plain(made.version)}]  \n"
        ":gray[Point at a hand to see it, click to search from it. Draw with **Lasso**, or Shift and drag, "
        "to see hands together.]"
    )
    asked = st.query_params.get("hand")
    if asked is not None and marked_row(made) is None:
        st.caption(f"Hand {plain(asked[:16])} is not on this map.")

"""A heading that screen readers hear of when it changes, and that takes the focus when asked to."""

from typing import Literal

import streamlit as st

from apps.browser.components import read_css, read_scripts

# Without a shadow root: screen readers' lists of headings, and skip links, look for it in the page itself.
_heading = st.components.v2.component(
    "handsim_heading",
    html='<div class="heading" aria-live="polite"></div>',
    css=read_css("heading"),
    js=read_scripts("heading"),
    isolate_styles=False,
)


def heading(
    text: str,
    *,
    key: str,
    level: Literal[1, 2],
    turn: int = 0,
    width: Literal["stretch", "content"] = "stretch",
) -> None:
    """Draw ``text``; with a larger ``turn`` than before, the heading takes the focus and comes into view.

    Without that, a changed text is only announced.
    """
    _heading(key=key, data={"text": text, "level": level, "turn": turn, "name": key}, width=width)

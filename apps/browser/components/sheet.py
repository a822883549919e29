"""Sheets: parts of a page that a small screen shows only when asked to, and others always."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import streamlit as st

from apps.browser.components import read_css, read_scripts

_PREFIX: Final = "sheet_"
"""Of the keys of sheets, by which `page.css` knows them and the columns that they are in."""
_button = st.components.v2.component(
    "handsim_sheet",
    html='<button type="button" aria-expanded="false"></button>',
    css=read_css("sheet"),
    js=read_scripts("sheet"),
)


def sheet_button(name: str, label: str) -> None:
    """Draw the button that opens a sheet and closes it; large screens show the sheet without it."""
    _button(key=f"open_{name}", data={"opens": _PREFIX + name, "label": label}, width="content")


@contextmanager
def sheet(name: str) -> Iterator[None]:
    """What is drawn within lies in the sheet. Its column stays in sight on a small screen, above the rest."""
    with st.container(key=_PREFIX + name):
        yield

"""The script that draws the page of the address; Streamlit runs it for each visitor and at each change."""

import sys
from functools import partial
from pathlib import Path
from typing import Final

import streamlit as st

from apps.browser import session
from apps.browser.access import draw_gate, draw_visitor, find_role
from apps.browser.add.page import add
from apps.browser.first_steps import draw_first_steps, find_progress
from apps.browser.header.page import draw_header
from apps.browser.index.page import index
from apps.browser.library import get_library
from apps.browser.map.page import map
from apps.browser.mining.page import mining
from apps.browser.results.page import results
from apps.browser.search.page import search
from apps.browser.serve import BrowserSettings
from apps.browser.session import ADD_PATH, INDEX_PATH, MAP_PATH, MINING_PATH, SEARCH_PATH
from apps.browser.training.page import training
from apps.browser.tray.choosing import enter_page
from apps.browser.tray.page import draw_tray
from apps.browser.ui import draw_title

_HERE: Final = Path(__file__)
_NEED_INDEX: Final = (SEARCH_PATH, MAP_PATH, MINING_PATH)
_SCRIPTS: Final = "\n".join(
    _HERE.with_name(f"{name}.js").read_text("utf-8") for name in ("history", "reload", "drawer")
)


def main() -> None:
    library = get_library(BrowserSettings.from_arguments(sys.argv[1:]))
    # Before the navigation, which else takes the icon of its page, from Google's font server.
    st.set_page_config(page_icon=_HERE.with_name("favicon.svg"), layout="wide")
    st.html(_HERE.with_name("page.css"))
    pages = [
        st.Page(
            partial(draw, library), title=title, icon=f":material/{icon}:", url_path=path, default=default
        )
        for draw, title, icon, path, default in (
            (search, "Search", "search", SEARCH_PATH, True),
            (map, "Map", "map", MAP_PATH, False),
            (mining, "Mining", "join_inner", MINING_PATH, False),
            (training, "Training", "show_chart", "training", False),
            (results, "Results", "table_chart", "results", False),
            (index, "Index", "database", INDEX_PATH, False),
            (add, "Add photographs", "add_photo_alternate", ADD_PATH, False),
        )
    ]
    may_look = find_role(library) is not None
    page = st.navigation(pages, position="top" if may_look else "hidden")
    st.set_page_config(page_title=f"{page.title} · handsim")
    path = page.url_path or SEARCH_PATH
    draw_title(page.title)
    session.enter_page(path)
    enter_page()
    if not may_look:
        draw_gate()
        return
    draw_header(library)
    progress = find_progress(library)
    if progress is None or path not in _NEED_INDEX:
        page.run()
    if progress is not None and path != ADD_PATH:  # below what training and results have to show
        draw_first_steps(library, progress, with_index_jobs=path != INDEX_PATH)
    draw_visitor(library)
    draw_tray(library)
    st.html(f"<script>{_SCRIPTS}</script>", unsafe_allow_javascript=True)


# Streamlit runs the script under this name. A process spawned from here imports the script and draws nothing.
if __name__ == "__main__":
    main()

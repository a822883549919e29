"""The script that draws the page of the address; Streamlit runs it for each visitor and at each change."""

import sys
from functools import partial
from pathlib import Path
from typing import Final

import streamlit as st

from apps.browser import session
from apps.browser.header.page import draw_header
from apps.browser.index.page import index
from apps.browser.library import get_library
from apps.browser.map.page import map
from apps.browser.mining.page import mining
from apps.browser.results.page import results
from apps.browser.search.page import search
from apps.browser.serve import BrowserSettings
from apps.browser.session import MAP_PATH, MINING_PATH, SEARCH_PATH
from apps.browser.training.page import training
from apps.browser.tray.choosing import enter_page
from apps.browser.tray.page import draw_tray

_HERE: Final = Path(__file__)
_SCRIPT: Final = "\n".join(_HERE.with_name(f"{name}.js").read_text("utf-8") for name in ("history", "reload"))


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
            (index, "Index", "database", "index", False),
        )
    ]
    page = st.navigation(pages, position="top")
    st.set_page_config(page_title=f"{page.title} · handsim")
    session.enter_page(page.url_path or SEARCH_PATH)
    enter_page()
    draw_header(library)
    page.run()
    draw_tray(library)
    st.html(f"<script>{_SCRIPT}</script>", unsafe_allow_javascript=True)


# Streamlit runs the script under this name. A process spawned from here imports the script and draws nothing.
if __name__ == "__main__":
    main()

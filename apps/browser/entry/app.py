"""The script that Streamlit runs: ``streamlit run apps/browser/entry/app.py -- --home DIR``."""

import sys
from functools import partial
from pathlib import Path
from typing import Final

import streamlit as st

from apps.browser import session
from apps.browser.favicon import favicon
from apps.browser.index.page import index
from apps.browser.library import get_library
from apps.browser.map.page import map
from apps.browser.mining.page import mining
from apps.browser.mining.policy import MiningTrial
from apps.browser.results.page import results
from apps.browser.search.page import search
from apps.browser.search.question import Question
from apps.browser.serve import BrowserSettings
from apps.browser.session import MAP_PATH, MINING_PATH, SEARCH_PATH
from apps.browser.training.page import training

# What the addresses of pages say that show the same again when one comes back to them. A docstring would be
# drawn: Streamlit shows the strings of its script.
_SAID: Final = {SEARCH_PATH: Question.names(), MINING_PATH: MiningTrial.names()}
_BROWSER: Final = Path(__file__).parents[1]
_RESTARTED: Final = (_BROWSER / "restarted.js").read_text("utf-8")


def main() -> None:
    """Draw the page that the address names."""
    library = get_library(BrowserSettings.from_arguments(sys.argv[1:]))
    st.html(_BROWSER / "page.css")
    pages = [
        st.Page(
            partial(search, library),
            title="Search",
            icon=":material/search:",
            url_path=SEARCH_PATH,
            default=True,
        ),
        st.Page(partial(map, library), title="Map", icon=":material/map:", url_path=MAP_PATH),
        st.Page(partial(mining, library), title="Mining", icon=":material/join_inner:", url_path=MINING_PATH),
        st.Page(
            partial(training, library), title="Training", icon=":material/show_chart:", url_path="training"
        ),
        st.Page(
            partial(results, library), title="Results", icon=":material/table_chart:", url_path="results"
        ),
        st.Page(partial(index, library), title="Index", icon=":material/database:", url_path="index"),
    ]
    page = st.navigation(pages, position="top")
    st.set_page_config(page_title=f"{page.title} · handsim", page_icon=favicon(), layout="wide")
    path = page.url_path or SEARCH_PATH
    session.restore_address(path, _SAID.get(path, ()))
    page.run()
    st.html(f"<script>{_RESTARTED}</script>", unsafe_allow_javascript=True)


# As Streamlit calls it; a process that is spawned from here imports it, and draws nothing.
if __name__ == "__main__":
    main()

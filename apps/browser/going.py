"""The ways from any page to the search and to the map."""

from typing import Final, NoReturn

import streamlit as st

from apps.browser.search.question import Question

SEARCH_PATH: Final = "search"
MAP_PATH: Final = "map"
MINING_PATH: Final = "mining"


def search_for(question: Question) -> NoReturn:
    """Leave the page for the search's answer to a question; also within a callback or a fragment."""
    # Streamlit knows a page by its path alone; what draws it was said where the pages are listed.
    there = st.Page(_nothing, url_path=SEARCH_PATH, default=True)
    st.switch_page(there, query_params=question.as_params())


def show_on_map(question: Question) -> NoReturn:
    """Leave the page for the map, with the hand of a question marked; also within a callback or a fragment.

    The address says all of the question still: Streamlit puts it to this page before it leaves, and the way
    back would lead to less than was asked.
    """
    st.switch_page(st.Page(_nothing, url_path=MAP_PATH), query_params=question.as_params())


def _nothing() -> None:
    """Stands for the page."""

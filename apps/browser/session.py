"""What one visitor is doing: the question in the address, the way that led there, the pictures sent.

The ways from any page to the search and to the map.
"""

from collections.abc import Collection
from typing import Final, NoReturn

import streamlit as st

from apps.browser.search.question import Question
from handsim.detection import DetectedHand

_TRAIL: Final = "search_trail"
_SEEN: Final = "search_seen"
_PAGE: Final = "page"
_ADDRESSES: Final = "page_addresses"
_LONGEST_TRAIL: Final = 12
_MOST_SEEN: Final = 24


def restore_address(page: str, names: Collection[str]) -> None:
    """Come to a page, whose address may say ``names``.

    Where it says none of them, as after a click in the navigation, it says again what it said when the page
    was left.
    """
    before, st.session_state[_PAGE] = st.session_state.get(_PAGE), page
    kept = _addresses().get(page)
    if kept and before not in (None, page) and not any(name in st.query_params for name in names):
        st.query_params.from_dict(kept)


def save_address(page: str) -> None:
    """Remember what a page's address says, for when it is left."""
    st.session_state[_ADDRESSES] = {**_addresses(), page: st.query_params.to_dict()}


def _addresses() -> dict[str, dict[str, str]]:
    kept: dict[str, dict[str, str]] = st.session_state.get(_ADDRESSES, {})
    return kept


def set_widget(key: str, value: object) -> None:
    """Have a control show a value; one that does is left alone, or it would jump back while it is moved."""
    if key not in st.session_state or st.session_state[key] != value:
        st.session_state[key] = value


def read_question() -> Question:
    """What the address asks; raises HandsimError where it cannot be read."""
    return Question.from_params(st.query_params.to_dict())


def ask(asked: Question) -> None:
    """Put a question into the address, from which the page answers it; the one before joins the trail."""
    try:
        before = read_question()
    except ValueError:
        before = Question()
    if not before.is_empty and before.subject != asked.subject:
        remember(before)
    st.query_params.from_dict(asked.as_params())


def remember(asked: Question) -> None:
    """Add a question to the way back."""
    kept = [other for other in get_trail() if other.subject != asked.subject]
    st.session_state[_TRAIL] = [*kept, asked][-_LONGEST_TRAIL:]


def get_trail() -> list[Question]:
    """What was asked before, oldest first."""
    asked: list[Question] = st.session_state.get(_TRAIL, [])
    return asked


def store_detection(pose: tuple[int, ...], hand: DetectedHand) -> None:
    """Keep a hand of a picture that was sent, under the pose that the address tells."""
    seen = {**st.session_state.get(_SEEN, {}), pose: hand}
    st.session_state[_SEEN] = dict(list(seen.items())[-_MOST_SEEN:])


def find_detection(pose: tuple[int, ...] | None) -> DetectedHand | None:
    """The picture that a pose was found in; None where it was drawn, or came by a link."""
    found: DetectedHand | None = st.session_state.get(_SEEN, {}).get(pose)
    return found


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

"""What one visitor is doing: addresses, the trail of questions, uploaded hands, and ways between pages.

The address holds the question. Streamlit's session state holds the rest, so visitors do not see each other.
"""

from collections.abc import Collection
from typing import Final, NoReturn

import streamlit as st

from apps.browser.search.question import Question
from handsim.detection import DetectedHand
from handsim.errors import HandsimError

SEARCH_PATH: Final = "search"
MAP_PATH: Final = "map"
MINING_PATH: Final = "mining"

_TRAIL: Final = "search_trail"
_DETECTIONS: Final = "search_detections"
_PAGE: Final = "page"
_ADDRESSES: Final = "page_addresses"
_LONGEST_TRAIL: Final = 12
_MOST_DETECTIONS: Final = 24


def restore_address(page: str, names: Collection[str]) -> None:
    """Enter a page; ``names`` are the parameters that its address may have.

    If the address has none of them, as after a click in the navigation, the page gets the address again that
    it had when the visitor left it.
    """
    previous_page, st.session_state[_PAGE] = st.session_state.get(_PAGE), page
    saved = _addresses().get(page)
    if saved and previous_page not in (None, page) and not any(name in st.query_params for name in names):
        st.query_params.from_dict(saved)


def save_address(page: str) -> None:
    """Remember the parameters in a page's address, for `restore_address`."""
    st.session_state[_ADDRESSES] = {**_addresses(), page: st.query_params.to_dict()}


def _addresses() -> dict[str, dict[str, str]]:
    addresses: dict[str, dict[str, str]] = st.session_state.get(_ADDRESSES, {})
    return addresses


def set_widget(key: str, value: object) -> None:
    """Set a widget's value if it differs; set without need, a widget jumps back while somebody moves it."""
    if key not in st.session_state or st.session_state[key] != value:
        st.session_state[key] = value


def read_question() -> Question:
    """The question in the address; raises HandsimError if it cannot be read."""
    return Question.from_params(st.query_params.to_dict())


def last_question() -> Question:
    """What the search page was asked last, from any page; an empty question if that was nothing."""
    try:
        return Question.from_params(_addresses().get(SEARCH_PATH, {}))
    except HandsimError:
        return Question()


def ask(question: Question) -> None:
    """Put a question into the address, which the page then answers; add the previous one to the trail."""
    try:
        previous = read_question()
    except ValueError:
        previous = Question()
    if not previous.is_empty and previous.subject != question.subject:
        others = [other for other in get_trail() if other.subject != previous.subject]
        st.session_state[_TRAIL] = [*others, previous][-_LONGEST_TRAIL:]
    st.query_params.from_dict(question.to_params())


def get_trail() -> list[Question]:
    """The earlier questions, oldest first."""
    trail: list[Question] = st.session_state.get(_TRAIL, [])
    return trail


def store_detection(pose: tuple[int, ...], hand: DetectedHand) -> None:
    """Keep a hand of an uploaded picture under the pose that stands for it in the address."""
    detections = {**st.session_state.get(_DETECTIONS, {}), pose: hand}
    st.session_state[_DETECTIONS] = dict(list(detections.items())[-_MOST_DETECTIONS:])


def find_detection(pose: tuple[int, ...] | None) -> DetectedHand | None:
    """The uploaded hand with this pose; None if the pose was drawn or came with a link."""
    detection: DetectedHand | None = st.session_state.get(_DETECTIONS, {}).get(pose)
    return detection


def search_for(question: Question) -> NoReturn:
    """Go to the search page and its answer to a question; works within callbacks and fragments, too."""
    st.switch_page(_page(SEARCH_PATH, default=True), query_params=question.to_params())


def show_on_map(question: Question) -> NoReturn:
    """Go to the map with the question's hand marked; works within callbacks and fragments, too.

    The address keeps the whole question. Streamlit writes it into the address of the page that it leaves, so
    with the hand alone the browser's way back would lose the conditions.
    """
    st.switch_page(_page(MAP_PATH), query_params=question.to_params())


def _page(path: str, *, default: bool = False) -> st.Page:
    # Streamlit identifies a page by its path; app.py has registered what draws it.
    return st.Page(lambda: None, url_path=path, default=default)

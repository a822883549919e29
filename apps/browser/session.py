"""What one visitor is doing: addresses, the trail of questions, uploaded hands, and ways between pages.

The address holds what a page shows, the question first of all; `apps.browser.address` ties widgets to it.
Streamlit's session state holds the rest, so visitors do not see each other.
"""

import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from secrets import token_hex
from threading import Lock
from typing import Final, NoReturn
from urllib.parse import parse_qs, urlencode, urlsplit

import streamlit as st

from apps.browser.search.question import Question
from handsim.detection import DetectedHand

SEARCH_PATH: Final = "search"
MAP_PATH: Final = "map"
MINING_PATH: Final = "mining"
ADD_PATH: Final = "add"
INDEX_PATH: Final = "index"

_OF_ONE_QUESTION: Final = (SEARCH_PATH, MAP_PATH)
_TRAIL: Final = "search_trail"
_VISITOR: Final = "visitor"
_COOKIE: Final = "handsim_visitor"
_PAGE: Final = "page"
_ADDRESSES: Final = "page_addresses"
_RESULTS_TURN: Final = "results_turn"
_LONGEST_TRAIL: Final = 12
_MOST_DETECTIONS: Final = 256
"""Of all visitors; about 30 MB."""


def enter_page(page: str) -> None:
    """Note which page this is.

    Without parameters, as after a click in the navigation, its address gets those again that it had when the
    visitor left it.
    """
    previous_page, st.session_state[_PAGE] = st.session_state.get(_PAGE), page
    saved = _addresses().get(page)
    if saved and previous_page not in (None, page) and not st.query_params:
        st.query_params.from_dict(saved)
    _save_address()


def read_params(page: str | None = None) -> dict[str, list[str]]:
    """The parameters in the address, or in the last one of another page."""
    if page is not None:
        return _addresses().get(page, {})
    return {name: st.query_params.get_all(name) for name in st.query_params}


def write_params(names: Iterable[str], params: Mapping[str, str | Sequence[str]]) -> None:
    """Give the address these parameters in the place of those called ``names``; the others stay.

    All at once: each change of the address is a step for the web browser's *back*.
    """
    others = {name: values for name, values in read_params().items() if name not in names}
    st.query_params.from_dict({**others, **params})
    _save_address()


def _save_address() -> None:
    """Remember the address of this page; the search page and the map share their question."""
    page, params, addresses = st.session_state.get(_PAGE, ""), read_params(), _addresses()
    addresses = {**addresses, page: params}
    if page in _OF_ONE_QUESTION:
        names = Question.param_names()
        question = {name: values for name, values in params.items() if name in names}
        for other in set(_OF_ONE_QUESTION) - {page}:
            display = {name: value for name, value in addresses.get(other, {}).items() if name not in names}
            addresses[other] = {**display, **question}
    st.session_state[_ADDRESSES] = addresses


def _addresses() -> dict[str, dict[str, list[str]]]:
    addresses: dict[str, dict[str, list[str]]] = st.session_state.get(_ADDRESSES, {})
    return addresses


def set_widget(key: str, value: object) -> None:
    """Set a widget's value if it differs; set without need, a widget jumps back while somebody moves it.

    Give the widget the value as its default, too: a web browser that has the widget's script only after the
    page was drawn again begins with the default, and sends that with the next change of anything.
    """
    if key not in st.session_state or st.session_state[key] != value:
        st.session_state[key] = value


def read_question() -> Question:
    """The question in the address, without what cannot be used of it (`read_notes`)."""
    return Question.from_params(st.query_params.to_dict())[0]


def read_notes() -> list[str]:
    """A sentence for each value in the address that was limited or left out."""
    return Question.from_params(st.query_params.to_dict())[1]


def last_question() -> Question:
    """What the search page was asked last, from any page; an empty question if that was nothing."""
    return Question.from_params(_last_values(read_params(SEARCH_PATH)))[0]


def _last_values(params: Mapping[str, Sequence[str]]) -> dict[str, str]:
    return {name: values[-1] for name, values in params.items() if values}


def ask(question: Question) -> None:
    """Put a question into the address, which the page then answers; add the previous one to the trail."""
    previous = read_question()
    if not previous.is_empty and previous.subject != question.subject:
        trail: list[Question] = st.session_state.get(_TRAIL, [])
        others = [other for other in trail if other.subject != previous.subject]
        st.session_state[_TRAIL] = [*others, previous][-_LONGEST_TRAIL:]
    change_conditions(question)


def change_conditions(question: Question) -> None:
    """Put a question into the address, which is about the same subject as the one before."""
    write_params(Question.param_names(), question.to_params())


def get_trail() -> list[Question]:
    """The earlier questions, oldest first, without the one in the address: *Back* leads to one of them."""
    trail: list[Question] = st.session_state.get(_TRAIL, [])
    now = read_question().subject
    return [question for question in trail if question.subject != now]


class Detections:
    """Hands in the pictures that visitors uploaded, in memory: each visitor finds only their own."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._hands: OrderedDict[tuple[str, tuple[int, ...]], DetectedHand] = OrderedDict()

    def store(self, visitor: str, pose: tuple[int, ...], hand: DetectedHand) -> None:
        with self._lock:
            self._hands[visitor, pose] = hand
            while len(self._hands) > _MOST_DETECTIONS:
                self._hands.popitem(last=False)

    def find(self, visitor: str, pose: tuple[int, ...]) -> DetectedHand | None:
        with self._lock:
            return self._hands.get((visitor, pose))


@st.cache_resource(show_spinner=False)
def _detections() -> Detections:
    return Detections()


def visitor() -> str:
    """A random number that the web browser keeps (`visitor_cookie`): a reload is another session of it."""
    if _VISITOR not in st.session_state:
        cookie = str(st.context.cookies.get(_COOKIE))
        # It becomes a file's name.
        st.session_state[_VISITOR] = cookie if re.fullmatch("[0-9a-f]{32}", cookie) else token_hex(16)
    return str(st.session_state[_VISITOR])


def visitor_cookie() -> str:
    """What the web browser is to keep, so that the visitor is known again after a reload."""
    return f"{_COOKIE}={visitor()}"


def store_detection(pose: tuple[int, ...], hand: DetectedHand) -> None:
    """Keep a hand of an uploaded picture under the pose that stands for it in the address."""
    _detections().store(visitor(), pose, hand)


def find_detection(pose: tuple[int, ...]) -> DetectedHand | None:
    """The hand with this pose that this visitor uploaded; None if it was drawn or came with a link."""
    return _detections().find(visitor(), pose)


def go_to_results() -> None:
    """The focus shall go to the heading of the results (`results_turn`): somebody chose what they are of."""
    st.session_state[_RESULTS_TURN] = results_turn() + 1


def results_turn() -> int:
    """How often somebody went to the results."""
    return int(st.session_state.get(_RESULTS_TURN, 0))


def search_for(question: Question) -> NoReturn:
    """Go to the search page and its answer to a question; works within callbacks and fragments, too."""
    go_to_results()
    _go_with(question, SEARCH_PATH)


def read_address() -> str:
    """Path and query of the page, relative to where the browser is served."""
    page = st.session_state.get(_PAGE, SEARCH_PATH)
    query = urlencode(read_params(), doseq=True)
    return ("" if page == SEARCH_PATH else page) + (f"?{query}" if query else "")


def open_address(address: str) -> NoReturn:
    """Go to what `read_address` gave; works within callbacks and fragments, too."""
    parts = urlsplit(address)
    page = parts.path or SEARCH_PATH
    params = parse_qs(parts.query, keep_blank_values=True)
    st.switch_page(_page(page, default=page == SEARCH_PATH), query_params=params)


def show_on_map(question: Question) -> NoReturn:
    """Go to the whole map, which shows the question's answer; works within callbacks and fragments, too.

    The address keeps the whole question. Streamlit writes it into the address of the page that it leaves, so
    with the hand alone the browser's way back would lose the conditions.
    """
    _go_with(question, MAP_PATH, leave_out=("view",))


def _go_with(question: Question, page: str, *, leave_out: Sequence[str] = ()) -> NoReturn:
    """Go to a page with a question, which it shows as it showed the last one, but for parameters left out."""
    names = (*Question.param_names(), *leave_out)
    display = {name: values for name, values in read_params(page).items() if name not in names}
    st.switch_page(_page(page, default=page == SEARCH_PATH), query_params={**display, **question.to_params()})


def add_photographs() -> NoReturn:
    """Go to the page that adds photographs; works within callbacks and fragments, too."""
    st.switch_page(_page(ADD_PATH))


def _page(path: str, *, default: bool = False) -> st.Page:
    # Streamlit identifies a page by its path; app.py has registered what draws it.
    return st.Page(lambda: None, url_path=path, default=default)

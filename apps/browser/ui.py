"""Parts that pages share: errors with a way out, harmless Markdown, and cards of hands."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import inf
from time import monotonic
from typing import Final

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from apps.browser.components.hand_grid import Card
from apps.browser.components.heading import heading
from apps.browser.library import Library
from handsim.errors import HandsimError, NotThereError, UnavailableError
from handsim.hand import format_hand_id
from handsim.pool import Pool
from index.query import Payload

_RETRY_S: Final = 3
_RETRY_DUE: Final = "retry_due"
_TITLE: Final = "page_title_turn"

_MARKUP: Final = frozenset("\\`*_{}[]()#+-.!|<>~$:&")
_WORD_JOINER: Final = "\u2060"
"""Has no width."""
_SHORTCODE: Final = re.compile(
    r"(?<=:)(?=[a-z/+_-])|(?<=www)(?=\.)|(?<=@)|(?<=[<>~=-])(?=[<>=-])", re.IGNORECASE
)
"""Places within icons, emoji, links and arrows, which Streamlit replaces after it has resolved escapes."""


@contextmanager
def show_errors() -> Iterator[None]:
    """Show errors that people can mend. What may be temporary is tried again every few seconds."""
    try:
        yield
    except UnavailableError as error:
        st.warning(f"**The index does not answer.** {escape(str(error))}", icon=":material/cloud_off:")
        _retry()
    except NotThereError as error:
        st.info(f"**Not there yet.** {escape(str(error))}", icon=":material/search_off:")
        _retry()
    except (HandsimError, OSError) as error:
        st.error(escape(str(error)), icon=":material/error:")


@st.fragment(run_every=_RETRY_S)
def _retry() -> None:
    # Runs at once for each part of the page that failed, then by the clock: only then is the retry due.
    now = monotonic()
    if now >= st.session_state.get(_RETRY_DUE, inf):
        del st.session_state[_RETRY_DUE]
        st.rerun(scope="app")
    st.session_state[_RETRY_DUE] = now + 0.9 * _RETRY_S
    st.caption("Trying again every few seconds.")


def draw_title(title: str) -> None:
    """The heading of a page; it takes the focus whenever somebody comes from another page."""
    previous, turn = st.session_state.get(_TITLE, (title, 0))
    turn += previous != title
    st.session_state[_TITLE] = (title, turn)
    heading(title, key="page_title", level=1, turn=turn)


def escape(text: str) -> str:
    """Text from files, names or errors such that Markdown shows it unchanged, on one line."""
    inert = _SHORTCODE.sub(_WORD_JOINER, text.replace("\n", " "))
    return "".join(f"\\{letter}" if letter in _MARKUP else letter for letter in inert)


def show_command(command: str) -> None:
    st.code(command, language="sh", wrap_lines=True)


def show_log(log: str) -> None:
    """The end of a job's output; nothing for an empty one."""
    if log:
        with st.expander("The end of its log", icon=":material/notes:"):
            st.code(log, language=None, wrap_lines=True)


def build_card(
    library: Library,
    pool: Pool,
    hand_id: int,
    title: str = "",
    lines: Iterable[str] = (),
    *,
    liked: bool | None = None,
) -> Card:
    """A hand with its picture and skeleton, where the pool has them."""
    keypoints = find_keypoints(pool, hand_id)
    picture = None if keypoints is None else library.thumbnails.get_uri(pool, hand_id)
    if pool.was_removed(hand_id):
        lines = (*lines, "removed from the pool since")
    return Card(hand_id, picture, keypoints, title, tuple(lines), liked)


def find_keypoints(pool: Pool, hand_id: int) -> NDArray[np.float32] | None:
    """[21, 3] in the crop's unit square; None for a hand that the index has and the pool does not."""
    if hand_id not in pool:
        return None
    keypoints: NDArray[np.float32] = pool.keypoints[pool.rows(hand_id)[0]]
    return keypoints


def describe_payload(payload: Payload | None) -> tuple[str, ...]:
    """Two lines below a picture: label, side and source; then the video."""
    if payload is None:
        return ()
    parts = (payload["label"], payload["side"], payload["source"])
    return tuple(filter(None, (" · ".join(filter(None, parts)), payload["video"])))


def shorten_id(hand_id: int) -> str:
    return format_hand_id(hand_id)[:8] + "…"

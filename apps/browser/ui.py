"""What a page says when something is not there, and how it comes back by itself.

Hands of the index as cards of a grid.
"""

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
from apps.browser.library import Library
from handsim.errors import HandsimError, NotThereError, UnavailableError
from handsim.hand import format_hand_id
from handsim.pool import Pool
from index.query import Payload

_AGAIN_S: Final = 3
_DUE: Final = "trouble_due"


@contextmanager
def show_errors() -> Iterator[None]:
    """Say what a person can mend instead of failing; what may pass by is tried again every few seconds."""
    try:
        yield
    except UnavailableError as error:
        st.warning(f"**The index is away.** {escape(str(error))}", icon=":material/cloud_off:")
        _try_again()
    except NotThereError as error:
        st.info(f"**Not there yet.** {escape(str(error))}", icon=":material/search_off:")
        _try_again()
    except (HandsimError, OSError) as error:
        st.error(escape(str(error)), icon=":material/error:")


def escape(text: str) -> str:
    """A text of a file's, a name's or an error's, so that Markdown shows it as it is, on one line."""
    unlinked = _LIVE.sub(_JOINER, text.replace("\n", " "))
    return "".join(f"\\{letter}" if letter in _MARKUP else letter for letter in unlinked)


_MARKUP: Final = frozenset("\\`*_{}[]()#+-.!|<>~$:&")
_JOINER: Final = "\u2060"
"""Has no width."""
_LIVE: Final = re.compile(r"(?<=:)(?=[a-z/+_-])|(?<=www)(?=\.)|(?<=@)|(?<=[<>~=-])(?=[<>=-])", re.IGNORECASE)
"""Inside of icons, emoji, links and arrows, which Streamlit makes of a text once its escapes are resolved."""


@st.fragment(run_every=_AGAIN_S)
def _try_again() -> None:
    # Run with the page that failed, once for each of its parts that did, and then by the clock: by then the
    # time has come to try the page again.
    now = monotonic()
    if now >= st.session_state.get(_DUE, inf):
        del st.session_state[_DUE]
        st.rerun(scope="app")
    st.session_state[_DUE] = now + 0.9 * _AGAIN_S
    st.caption("Trying again every few seconds.")


def build_card(
    library: Library,
    pool: Pool,
    hand_id: int,
    title: str = "",
    lines: Iterable[str] = (),
    *,
    liked: bool | None = None,
) -> Card:
    """A hand with its picture and its skeleton, as far as the pool has them."""
    keypoints = find_keypoints(pool, hand_id)
    picture = None if keypoints is None else library.thumbnails.uri(pool, hand_id)
    return Card(hand_id, picture, keypoints, title, tuple(lines), liked)


def find_keypoints(pool: Pool, hand_id: int) -> NDArray[np.float32] | None:
    """[21, 3]; None for a hand that the index holds and the pool does not."""
    if hand_id not in pool:
        return None
    found: NDArray[np.float32] = pool.keypoints[pool.rows(hand_id)[0]]
    return found


def describe_payload(payload: Payload | None) -> tuple[str, ...]:
    """Video, then side, source and label: lines below a picture."""
    if payload is None:
        return ()
    parts = (payload["side"], payload["source"], payload["label"])
    return payload["video"], " · ".join(part for part in parts if part)


def shorten_id(hand_id: int) -> str:
    """The id's first digits, for captions."""
    return format_hand_id(hand_id)[:8] + "…"

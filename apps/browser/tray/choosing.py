"""Whose tray it is, and how the hands of a page's grids get into it.

A choice draws the tray again (the fragment `TRAY`) and nothing else of the page.
"""

from collections.abc import Sequence
from typing import Final

import streamlit as st
from numpy.typing import ArrayLike

from apps.browser.components.hand_grid import Chooser
from apps.browser.library import Library
from apps.browser.session import visitor
from apps.browser.tray.tray import Tray

TRAY: Final = "tray"
"""The key of the fragment that draws it."""
_FOLLOWERS: Final = "tray_followers"
_SHOWN: Final = "tray_shown"
_SEEN: Final = "tray_seen"


def my_tray(library: Library) -> Tray:
    """The tray of this visitor."""
    return library.trays.of(visitor())


def make_chooser(library: Library) -> Chooser:
    """What a grid needs so that its hands can be chosen."""

    def start(key: str, hands: Sequence[int]) -> list[bool]:
        st.session_state[_SHOWN] = {**st.session_state.get(_SHOWN, {}), key: tuple(hands)}
        return [bool(on) for on in my_tray(library).contains(hands)]

    def choose(key: str, number: int, add: list[int], remove: list[int]) -> None:
        st.session_state[_SEEN] = {**seen_messages(), key: number}
        choose_hands(library, add, remove)

    return Chooser(start, choose)


def choose_hands(library: Library, add: ArrayLike, remove: ArrayLike = ()) -> None:
    """Change the tray and draw it again; only for callbacks, as the last thing that they do."""
    my_tray(library).change(add, remove)
    redraw_tray()


def redraw_tray() -> None:
    """Draw the tray again, and what follows it; only for callbacks, as the last thing that they do."""
    st.rerun([TRAY, *st.session_state.get(_FOLLOWERS, ())])


def follow_tray(fragment: str) -> None:
    """Draw a keyed fragment of this page again, too, whenever the tray changes."""
    st.session_state[_FOLLOWERS] = (fragment,)


def enter_page() -> None:
    """Forget what the page before showed."""
    for name in (_FOLLOWERS, _SHOWN):
        st.session_state.pop(name, None)


def seen_messages() -> dict[str, int]:
    """Of each grid the number of the last message that arrived."""
    seen: dict[str, int] = st.session_state.get(_SEEN, {})
    return seen


def shown_and_chosen(library: Library) -> list[int]:
    """Those hands that are in the tray, of all that grids of this session show."""
    shown = {hand for hands in st.session_state.get(_SHOWN, {}).values() for hand in hands}
    hands = sorted(shown)
    return [hand for hand, on in zip(hands, my_tray(library).contains(hands).tolist(), strict=True) if on]

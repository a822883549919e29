"""The tray's hands: how many are chosen, and pictures of some; grids hear from it what is chosen."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import streamlit as st

from apps.browser.components import parse_hand, read_css, read_scripts
from handsim.hand import format_hand_id

_tray = st.components.v2.component(
    "handsim_tray", html='<div class="tray"></div>', css=read_css("tray"), js=read_scripts("tray")
)
_KEY: Final = "tray_hands"


def tray_hands(
    title: str,
    hands: Sequence[tuple[int, str | None]],
    *,
    chosen: Sequence[int],
    seen: Mapping[str, int],
    cookie: str,
    on_take_off: Callable[[int], None],
) -> None:
    """Draw ``title`` and hands with their pictures (data URIs); a click on one calls ``on_take_off``.

    ``chosen`` are the hands in the tray, of all that grids show, ``seen`` the number of the last message of
    each grid that arrived: the grids correct their check marks. The web browser keeps ``cookie``.
    """

    def take_off() -> None:
        hand = parse_hand(st.session_state[_KEY].get("taken"))
        if hand is not None:
            on_take_off(hand)

    data = {
        "title": title,
        "hands": [{"id": format_hand_id(hand), "picture": picture} for hand, picture in hands],
        "chosen": [format_hand_id(hand) for hand in chosen],
        "seen": dict(seen),
        "cookie": cookie,
    }
    _tray(key=_KEY, data=data, on_taken_change=take_off)

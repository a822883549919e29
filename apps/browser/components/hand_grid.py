"""A grid of hands to look at, to click on, to mark with + and -, and to choose for the tray."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from apps.browser.components import parse_hand, read_css, read_scripts
from handsim.hand import format_hand_id, labelled_joints
from handsim.skeleton import BONES, JOINT_COUNT, joint_colour

_VIEW_BOX: Final = 1000
_grid = st.components.v2.component(
    "handsim_hand_grid",
    html='<div class="grid" role="group"></div>',
    css=read_css("hand_grid"),
    js=read_scripts("choices", "hand_grid"),
)

BONE_LIST: Final = [list(bone) for bone in BONES]
COLOURS: Final = ["#{:02x}{:02x}{:02x}".format(*joint_colour(joint)) for joint in range(JOINT_COUNT)]


@dataclass(frozen=True, eq=False)
class Card:
    """One hand of the grid."""

    hand_id: int
    """What a click reports: a hand of the index, or another number of the caller's choice."""
    picture: str | None
    """The crop as a data URI; None draws the skeleton alone."""
    keypoints: NDArray[np.floating] | None
    """[21, 2 or 3] in the crop's unit square; an unlabelled joint is not drawn."""
    title: str = ""
    """Below the picture, in bold."""
    lines: tuple[str, ...] = ()
    """Below the title; a long line is cut, and its tooltip shows all of it."""
    liked: bool | None = None
    """Whether it is marked with + (True) or - (False)."""

    def to_json(self) -> dict[str, Any]:
        """What the web browser receives."""
        points = None
        if self.keypoints is not None:
            is_labelled = labelled_joints(self.keypoints)
            places = np.rint(self.keypoints[:, :2] * _VIEW_BOX)
            points = [
                [int(x), int(y)] if labelled else None
                for (x, y), labelled in zip(places.tolist(), is_labelled.tolist(), strict=True)
            ]
        return {
            "id": format_hand_id(self.hand_id),
            "picture": self.picture,
            "points": points,
            "title": self.title,
            "lines": list(self.lines),
            "mark": None if self.liked is None else ("like" if self.liked else "unlike"),
        }


@dataclass(frozen=True)
class Chooser:
    """Lets visitors choose hands of a grid."""

    start: Callable[[str, Sequence[int]], list[bool]]
    """Takes the grid's key and its hands when they are drawn; returns which of them are chosen."""
    on_choose: Callable[[str, int, list[int], list[int]], None]
    """Takes the grid's key, the number of its message, and the hands to choose and to take off."""


def hand_grid(
    cards: Sequence[Card],
    *,
    key: str,
    label: str,
    on_pick: Callable[[int], None] | None = None,
    on_mark: Callable[[int, bool], None] | None = None,
    skeletons: bool = True,
    compact: bool = False,
    strip: bool = False,
    verb: str = "Search from hand {id}",
    pairs: Sequence[str] | None = None,
    chooser: Chooser | None = None,
    behind: Sequence[int] = (),
) -> None:
    """Draw the grid; ``on_pick`` gets the clicked hand, ``on_mark`` a hand and whether it is marked with +.

    With a ``chooser``, hands can be chosen by a check mark, with Shift and with the keyboard; all together
    are also those ``behind`` the cards, as the other hands of a stack. ``label`` names the grid, and ``verb``
    what a click does, for screen readers. With ``pairs``, each two cards stay side by side under one of these
    captions. A small screen shows a ``strip`` as one low row. Callbacks run before the page is drawn again.
    """

    def take_pick() -> None:
        hand = parse_hand(st.session_state[key].get("picked"))
        if hand is not None and on_pick is not None:
            on_pick(hand)

    def take_mark() -> None:
        message = st.session_state[key].get("marked") or {}
        hand = parse_hand(message.get("id"))
        if hand is not None and on_mark is not None:
            on_mark(hand, bool(message.get("like")))

    hands = [*(card.hand_id for card in cards), *behind]

    def take_choice() -> None:
        message = st.session_state[key].get("chosen") or {}
        number = message.get("number")
        if chooser is not None and isinstance(number, int):
            # Not only what is shown now: a click may come from the cards before.
            chooser.on_choose(
                key, number, _parse_hands(message.get("add")), _parse_hands(message.get("remove"))
            )

    are_chosen = [False] * len(hands) if chooser is None else chooser.start(key, hands)
    data = {
        "hands": [card.to_json() for card in cards],
        "all": list(map(format_hand_id, hands)),
        "chosen": [format_hand_id(hand) for hand, on in zip(hands, are_chosen, strict=True) if on],
        "choosable": chooser is not None,
        "choice_name": key,
        "bones": BONE_LIST,
        "colours": COLOURS,
        "skeletons": skeletons,
        "compact": compact,
        "strip": strip,
        "pickable": on_pick is not None,
        "markable": on_mark is not None,
        "label": label,
        "verb": verb,
        "pairs": None if pairs is None else list(pairs),
    }
    _grid(
        key=key,
        data=data,
        on_picked_change=take_pick,
        on_marked_change=take_mark,
        on_chosen_change=take_choice,
    )


def _parse_hands(texts: object) -> list[int]:
    """The hands that a web browser named, without what is malformed."""
    found = map(parse_hand, texts if isinstance(texts, list) else ())
    return [hand for hand in found if hand is not None]

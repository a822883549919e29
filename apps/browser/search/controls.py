"""The conditions of a question as controls: what they show is what the address says, and back."""

from dataclasses import replace
from typing import Any, Final

import streamlit as st

from apps.browser import session
from apps.browser.search.question import FEWEST, MOST, Question
from handsim.errors import HandsimError
from handsim.hand import SIDES
from handsim.pool import Pool

_KEY: Final = "condition_"
_RARE: Final = ("sources", "labels", "diversity", "max_distance")
_FIRST_LIMIT: Final = 1.0


def controls(question: Question, pool: Pool) -> None:
    """Draw them; a change is in the address before the page is drawn again."""
    for name in ("k", "other_video", "one_per_video", "sources", "labels", "side", "diversity"):
        value = getattr(question, name)
        session.set_widget(_KEY + name, list(value) if isinstance(value, tuple) else value)
    session.set_widget(_KEY + "capped", question.max_distance is not None)
    session.set_widget(
        _KEY + "max_distance", _FIRST_LIMIT if question.max_distance is None else question.max_distance
    )
    st.slider(
        "Answers",
        FEWEST,
        MOST,
        key=_KEY + "k",
        on_change=_changed,
        args=("k",),
        help="How many hands to show",
    )
    _toggle(
        "Other videos only",
        "other_video",
        "Leave out the video of the hand asked about: its next frame teaches nothing",
    )
    _toggle(
        "One per video",
        "one_per_video",
        "Only the nearest hand of each video; goes without diversity",
        disabled=question.diversity > 0,
    )
    st.pills(
        "Side",
        SIDES,
        key=_KEY + "side",
        on_change=_changed,
        args=("side",),
        help="The subject's own hand; left ones are shown mirrored. None chosen: both",
    )
    active = sum(name in _RARE for name in question.conditions)
    more = f"More conditions ({active} active)" if active else "More conditions"
    with st.popover(more, icon=":material/tune:", help="Source, label, diversity, largest distance"):
        _rare_controls(question, pool)


def _rare_controls(question: Question, pool: Pool) -> None:
    _choice("Source", "sources", pool.sources.names, "Only hands of these collections; none chosen: of all")
    _choice("Label", "labels", pool.labels.names, "Only hands with these labels; none chosen: any")
    st.slider(
        "Diversity",
        0.0,
        1.0,
        step=0.05,
        key=_KEY + "diversity",
        on_change=_changed,
        args=("diversity",),
        disabled=bool(question.like),
        help="0: the nearest hands. Towards 1: near ones that are unlike each other. Not with examples",
    )
    _toggle(
        "Limit the distance",
        "capped",
        "Leave out what is further away",
        condition="max_distance",
    )
    if question.max_distance is not None:
        st.number_input(
            "Largest distance",
            0.0,
            step=0.05,
            format="%.3f",
            key=_KEY + "max_distance",
            on_change=_changed,
            args=("max_distance",),
            help="Euclidean, in the index's embedding",
        )


def _toggle(
    label: str, name: str, help: str, *, condition: str | None = None, disabled: bool = False
) -> None:
    st.toggle(
        label, key=_KEY + name, on_change=_changed, args=(condition or name,), help=help, disabled=disabled
    )


def _choice(label: str, name: str, options: tuple[str, ...], help: str) -> None:
    # A link may name what this pool does not have; it is shown, so that it can be taken away.
    given = st.session_state[_KEY + name]
    offered = [*options, *(each for each in given if each not in options)]
    if offered:
        st.multiselect(label, offered, key=_KEY + name, on_change=_changed, args=(name,), help=help)


def _changed(name: str) -> None:
    """Take one control's value into the address."""
    value: Any = st.session_state[_KEY + name]
    if name == "max_distance" and not st.session_state[_KEY + "capped"]:
        value = None
    if isinstance(value, list):
        value = tuple(value)
    try:
        asked = replace(session.read_question(), **_taken(name, value))
    except HandsimError:
        return  # the page says what is wrong with the address
    st.query_params.from_dict(asked.as_params())


def _taken(name: str, value: Any) -> dict[str, Any]:
    """The change, and what has to give way to it."""
    return {name: value, "one_per_video": False} if name == "diversity" and value else {name: value}

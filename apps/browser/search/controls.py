"""The conditions of a question as widgets: they show the address, and a change goes into the address."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import streamlit as st

from apps.browser import session
from apps.browser.address import note
from apps.browser.library import Library
from apps.browser.search.question import MAX_K, MIN_K, Question
from handsim.hand import SIDES
from handsim.lists import HandLists
from handsim.pool import Pool

_KEY: Final = "condition_"
_RARE: Final = ("sources", "labels", "lists", "not_lists", "diversity", "max_distance")
_FIRST_LIMIT: Final = 1.0


def read_question(library: Library) -> Question:
    """The question in the address without what cannot be used of it, which `address.show_notes` says."""
    question, names = session.read_question(), HandLists(library.home.lists).names()
    for text in session.read_notes():
        note(text)
    for name in dict.fromkeys((*question.lists, *question.not_lists)):
        if name not in names:
            note(f"There is no list {name[:60]!r}, which the address names; it is left out.")
    lists, not_lists = (
        tuple(name for name in chosen if name in names) for chosen in (question.lists, question.not_lists)
    )
    return replace(question, lists=lists, not_lists=not_lists)


def draw_controls(question: Question, pool: Pool, lists: tuple[str, ...]) -> None:
    """``lists`` are the named lists of the home."""
    for name in ("k", "one_per_video", "sources", "labels", "lists", "not_lists", "side", "diversity"):
        value = getattr(question, name)
        session.set_widget(_KEY + name, list(value) if isinstance(value, tuple) else value)
    session.set_widget(_KEY + "other_video", question.other_video and question.has_video)
    limit = question.max_distance
    session.set_widget(_KEY + "capped", limit is not None)
    session.set_widget(_KEY + "max_distance", _FIRST_LIMIT if limit is None else limit)
    st.slider("Answers", MIN_K, MAX_K, question.k, help="How many hands to show", **_bind("k"))
    st.toggle(
        "Other videos only",
        question.other_video and question.has_video,
        help="Leave out the video of the query: its next frame teaches nothing"
        if question.has_video
        else "Off: a picture of yours or a drawn pose is of no video of the index",
        disabled=not question.has_video,
        **_bind("other_video"),
    )
    st.toggle(
        "One per video",
        question.one_per_video,
        help="Only the nearest hand of each video; not together with diversity",
        disabled=question.diversity > 0,
        **_bind("one_per_video"),
    )
    _draw_side(question, ())
    active = sum(name in _RARE for name in question.conditions)
    more = f"More conditions ({active} active)" if active else "More conditions"
    with st.popover(more, icon=":material/tune:"):  # a tooltip would lie over what it opens
        _draw_rare_controls(question, pool, lists)


def draw_hand_conditions(
    question: Question, pool: Pool, lists: tuple[str, ...], *, redraw: Sequence[str]
) -> None:
    """The conditions on hands themselves, for the map; a change draws the fragments ``redraw`` again."""
    session.set_widget(_KEY + "side", question.side)
    for name in ("sources", "labels", "lists", "not_lists"):
        session.set_widget(_KEY + name, list(getattr(question, name)))
    _draw_side(question, redraw)
    _draw_names(pool, lists, redraw)


def _draw_side(question: Question, redraw: Sequence[str]) -> None:
    st.pills(
        "Side",
        SIDES,
        default=question.side,
        help="The subject's own hand; left hands are shown mirrored. None chosen: both",
        **_bind("side", redraw=redraw),
    )


def _draw_names(pool: Pool, lists: tuple[str, ...], redraw: Sequence[str]) -> None:
    for label, name, options, help in (
        ("Source", "sources", pool.sources.names, "Only hands of these collections; none chosen: all"),
        ("Label", "labels", pool.labels.names, "Only hands with these labels; none chosen: any"),
        ("List", "lists", lists, "Only hands of these lists; none chosen: all"),
        ("Not of list", "not_lists", lists, "No hand of these lists"),
    ):
        _draw_choice(label, name, options, help, redraw)


def _draw_rare_controls(question: Question, pool: Pool, lists: tuple[str, ...]) -> None:
    _draw_names(pool, lists, ())
    st.slider(
        "Diversity",
        0.0,
        1.0,
        question.diversity,
        step=0.05,
        disabled=bool(question.like),
        help="0: the nearest hands. Towards 1: near hands that differ from each other. Not with examples",
        **_bind("diversity"),
    )
    st.toggle(
        "Limit the distance",
        question.max_distance is not None,
        help="Leave out what is further away",
        **_bind("capped", condition="max_distance"),
    )
    if question.max_distance is not None:
        st.number_input(
            "Largest distance",
            0.0,
            value=question.max_distance,
            step=0.05,
            format="%.3f",
            help="Euclidean, in the index's embedding",
            **_bind("max_distance"),
        )


def _draw_choice(label: str, name: str, options: tuple[str, ...], help: str, redraw: Sequence[str]) -> None:
    # A link may contain names that this pool does not have. They are offered so that they can be removed.
    chosen = st.session_state[_KEY + name]
    options = (*options, *(each for each in chosen if each not in options))
    if options:
        st.multiselect(label, options, chosen, help=help, **_bind(name, redraw=redraw))


def _bind(name: str, *, condition: str | None = None, redraw: Sequence[str] = ()) -> dict[str, Any]:
    """What ties a widget to a condition, by default the one of its name."""
    return {"key": _KEY + name, "on_change": _take_change, "args": (condition or name, redraw)}


def _take_change(name: str, redraw: Sequence[str]) -> None:
    """Put a widget's value into the address."""
    value: Any = st.session_state[_KEY + name]
    if name == "max_distance" and not st.session_state[_KEY + "capped"]:
        value = None
    if isinstance(value, list):
        value = tuple(value)
    changes = {name: value}
    if name == "diversity" and value:
        changes["one_per_video"] = False  # they exclude each other
    session.change_conditions(replace(session.read_question(), **changes))
    if redraw:
        st.rerun(list(redraw))

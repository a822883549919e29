"""The query beside its answers."""

import time
from collections.abc import Sequence
from typing import Final

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from apps.browser import session
from apps.browser.cards import hand_card, told_of
from apps.browser.components.hand_grid import Card, hand_grid
from apps.browser.going import SEARCH_PATH, show_on_map
from apps.browser.library import Library
from apps.browser.search.answer import TOLD, Answer, answer
from apps.browser.search.controls import controls
from apps.browser.search.exporting import as_csv, as_png
from apps.browser.search.query import query_cards, query_picture, trail_cards
from apps.browser.search.question import Condition, Question
from apps.browser.trouble import told
from handsim.errors import HandsimError
from handsim.pool import Pool
from index import IndexVersion

_SKELETONS: Final = "search_skeletons"
_BEGINNINGS: Final = "search_beginnings"
_TOAST: Final = "search_toast"
_BEGIN_WITH: Final = 24


@st.fragment
def results(library: Library) -> None:
    """The answers to what the address asks; a changed condition draws this again, and nothing else."""
    if text := st.session_state.pop(_TOAST, None):
        st.toast(text, icon=":material/info:")
    with told():
        question = session.question()
        session.keep_address(SEARCH_PATH)
        with library.version() as version:
            pool = library.pool()
            _trail(library, pool)
            if question.is_empty:
                _beginnings(library, pool, version, question)
            else:
                _answered(library, pool, version, question)


def _answered(library: Library, pool: Pool, version: IndexVersion, question: Question) -> None:
    left, right = st.columns([1, 3], gap="large")
    with left:
        hand_grid(
            query_cards(library, pool, version, question),
            key="search_query",
            label="What is asked about",
            on_mark=(lambda hand, like: _mark(question, hand, like)) if question.like else None,
            skeletons=_skeletons(),
            compact=len(question.like) + len(question.unlike) > 1,
        )
        if question.hand is not None:
            st.button(
                "On the map",
                key="search_on_map",
                icon=":material/map:",
                on_click=show_on_map,
                args=(question,),
                help="Where this hand lies among all poses",
            )
        controls(question, pool)
    with right:
        started = time.perf_counter()
        # Where no answer can be had, of an unknown hand or a server that is away, the rest stays.
        with told():
            seen = session.seen_hand(question.pose)
            crop = None if seen is None else seen.crop
            said = answer(version, question, crop)
            cards = _cards(library, pool, said)
            _head(library, pool, question, crop, said, (time.perf_counter() - started) * 1000)
            if not said.neighbors:
                _empty(question, said)
                return
            hand_grid(
                cards,
                key="search_results",
                label="Answers, nearest first",
                on_pick=lambda hand: session.ask(question.about(hand)),
                on_mark=lambda hand, like: _mark(question, hand, like),
                skeletons=_skeletons(),
            )


def _cards(library: Library, pool: Pool, said: Answer) -> list[Card]:
    return [
        hand_card(library, pool, found.hand_id, f"{found.distance:.3f}", told_of(found.payload))
        for found in said.neighbors
    ]


def _skeletons() -> bool:
    return bool(st.session_state.get(_SKELETONS, True))


def _mark(question: Question, hand: int, like: bool) -> None:
    try:
        asked = question.marked(hand, like=like)
    except HandsimError as error:
        _say(f"{error}.")
        return
    if asked == question:
        _say("Mark a hand with + first: less like one goes with more like another.")
    else:
        session.ask(asked)


def _say(text: str) -> None:
    # By the next draw: what a callback draws takes the place of what the page drew first.
    st.session_state[_TOAST] = text


def _head(
    library: Library,
    pool: Pool,
    question: Question,
    crop: NDArray[np.uint8] | None,
    said: Answer,
    took_ms: float,
) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        count = len(said.neighbors)
        st.markdown(
            f"**{count or 'No'} hand{'' if count == 1 else 's'}**{', nearest first' if count else ''} "
            f":gray[· {took_ms:,.0f} ms · index {said.version}]"
        )
        st.toggle("Skeletons", value=True, key=_SKELETONS, help="Draw the 21 joints over each crop")
        if count:
            st.download_button(
                "CSV",
                lambda: as_csv(said.neighbors),
                "similar-hands.csv",
                "text/csv",
                on_click="ignore",
                icon=":material/table:",
                help="The answers as a table",
            )
            st.download_button(
                "Montage",
                lambda: as_png(
                    pool, query_picture(library, pool, question, said.version, crop), said.neighbors
                ),
                "similar-hands.png",
                "image/png",
                on_click="ignore",
                icon=":material/image:",
                help="The query and its answers as one picture",
            )


def _empty(question: Question, said: Answer) -> None:
    if said.to_relax:
        st.info(
            "No hand meets all conditions. Without one of these there are some:",
            icon=":material/filter_alt_off:",
        )
        for condition in said.to_relax:
            st.button(
                f"Leave out {TOLD[condition]}",
                key=f"relax_{condition}",
                on_click=_relax,
                args=(question, condition),
                help="Ask the same without this condition",
            )
    elif question.conditions:
        told_all = ", ".join(TOLD[condition] for condition in question.conditions)
        st.info(f"No hand meets these conditions, nor would leaving out one of them help: {told_all}.")
        st.button(
            "Leave out all of them",
            on_click=_relax_all,
            args=(question,),
            help="Ask the same without any condition",
        )
    else:
        st.info("There is no other hand in the index; `handsim ingest` and `handsim index build` add some.")


def _relax(question: Question, condition: Condition) -> None:
    session.ask(question.without(condition))


def _relax_all(question: Question) -> None:
    for condition in question.conditions:
        question = question.without(condition)
    session.ask(question)


def _trail(library: Library, pool: Pool) -> None:
    trail = session.trail()
    if trail:
        st.caption("The way here")
        hand_grid(
            trail_cards(library, pool, trail),
            key="search_trail_grid",
            label="What was asked before, oldest first",
            on_pick=lambda number: session.ask(trail[number % len(trail)]),
            skeletons=False,
            compact=True,
            verb="Go back to step",
        )


def _beginnings(library: Library, pool: Pool, version: IndexVersion, question: Question) -> None:
    """Some hands to begin with; the same ones until others are asked for."""
    kept: tuple[str, Sequence[int]] | None = st.session_state.get(_BEGINNINGS)
    if kept is None or kept[0] != version.info.name:
        kept = (version.info.name, version.sample(_BEGIN_WITH).tolist())
        st.session_state[_BEGINNINGS] = kept
    hands = list(kept[1])
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"Some of **{len(version):,}** hands: click one to find those posed alike.")
        st.button(
            "Others",
            icon=":material/refresh:",
            on_click=lambda: st.session_state.pop(_BEGINNINGS, None),
            help="Draw other hands at random",
        )
    payloads = version.payloads(hands)
    hand_grid(
        [
            hand_card(library, pool, hand, "", told_of(payload))
            for hand, payload in zip(hands, payloads, strict=True)
        ],
        key="search_beginnings_grid",
        label="Hands to begin with",
        on_pick=lambda hand: session.ask(question.about(hand)),
    )

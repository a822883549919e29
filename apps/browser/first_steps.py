"""The way from nothing to a search, shown on every page of a home that lacks hands or an index."""

from dataclasses import dataclass
from typing import Final

import streamlit as st

from apps.browser import session
from apps.browser.access import find_refusal
from apps.browser.add.page import draw_build, draw_jobs
from apps.browser.index import actions
from apps.browser.library import Library
from apps.browser.ui import escape, show_command, show_errors
from handsim.english import pluralize
from handsim.errors import HandsimError, NotThereError
from handsim.pool.layout import count_hands

_LOOKS_EVERY_S: Final = 3.0


@dataclass(frozen=True)
class Progress:
    """How far a home is."""

    hands: int
    """Of the pool."""
    missing_index: str
    """What is wrong with the index, in a sentence; empty if there is a current version."""

    @property
    def is_done(self) -> bool:
        return bool(self.hands) and not self.missing_index


def find_progress(library: Library) -> Progress | None:
    """None where the home is ready, or was once, or cannot be read: then each page says what is wrong."""
    if library.was_ready:
        return None
    try:
        progress = _read_progress(library)
    except (HandsimError, OSError):
        return None
    library.was_ready = progress.is_done
    return None if progress.is_done else progress


def _read_progress(library: Library) -> Progress:
    try:
        hands = count_hands(library.home.pool)
    except NotThereError:
        hands = 0
    try:
        with library.open_version():
            return Progress(hands, "")
    except NotThereError as error:
        return Progress(hands, str(error))


def draw_first_steps(library: Library, progress: Progress, *, with_index_jobs: bool = True) -> None:
    """Three steps with the commands that do them, what is done ticked; the first open one has its button."""
    actions.show_outcome()
    st.header("First steps", anchor=False)
    st.markdown(
        "Three steps lead to the first search; each can be done here, or by its command in a terminal."
    )
    with show_errors():
        st.fragment(_watch, run_every=_LOOKS_EVERY_S)(library, progress)
        draw_jobs(library, of_index=with_index_jobs)
        steps = (
            (bool(progress.hands), "Add photographs, in which handsim finds the hands", "ingest PATH"),
            (not progress.missing_index, "Build the index of these hands", "index build"),
            (False, "Search: click a hand, or bring a photograph of yours", "query PHOTO"),
        )
        first_open = [done for done, _, _ in steps].index(False)
        for place, (done, what, command) in enumerate(steps):
            mark = ":material/check_circle:" if done else f":material/counter_{place + 1}:"
            state = f" :gray[· done{_count(progress) if place == 0 else ''}]" if done else ""
            st.markdown(f"{mark} **{what}**{state}")
            if place == first_open:
                _draw_button(library, place, progress)
            show_command(library.format_command(command))


def _count(progress: Progress) -> str:
    return f", the pool holds {pluralize(progress.hands, 'hand')}"


def _draw_button(library: Library, place: int, progress: Progress) -> None:
    if place == 0:
        refusal = find_refusal(library)
        st.button(
            "Add photographs",
            icon=":material/add_photo_alternate:",
            type="primary",
            on_click=session.add_photographs,
            disabled=refusal is not None,
            help=refusal or "From this web browser, without the command line",
        )
    else:
        st.caption(escape(progress.missing_index))
        draw_build(library)


def _watch(library: Library, known: Progress) -> None:
    """Draw the page again once somebody has done a step, here or in a terminal."""
    if find_progress(library) != known:
        st.rerun()

"""Index: its versions, how they are, and what can be done to them."""

from typing import Final

import streamlit as st

from apps.browser.library import Library
from apps.browser.trouble import plain, told
from apps.browser.versions import asking, at_work, shelf
from apps.browser.versions.overview import READ_ONLY, Action, Overview, findings, look, refusals

_LEVELS: Final = {
    "good": ":material/check_circle:",
    "note": ":material/info:",
    "bad": ":material/warning:",
}


def index(library: Library) -> None:
    """Where the index stands, the jobs at work on it, its health, its versions."""
    asking.outcome()
    with told():
        running = at_work.running(library)
        seen = look(library)
        refused = refusals(seen, actions=library.settings.actions, running=running)
        _head(seen)
        if not library.settings.actions:
            st.info(f"{plain(READ_ONLY)}.", icon=":material/lock:")
        if seen.versions:
            _actions(seen, refused)
        else:
            _first_steps(library, seen, refused)
        at_work.progress(library, seen, running)
        if seen.versions:
            chosen = shelf.table(seen)
            left, right = st.columns(2, gap="large")
            with left:
                shelf.card(chosen, shelf.of_version(chosen, refused))
            with right:
                _health(seen)
                at_work.ended(library)
        else:
            at_work.ended(library)
        asking.question(library, seen)


def _head(seen: Overview) -> None:
    current = seen.current
    said = "Nothing is published yet"
    if current is not None:
        said = f"Everybody is answered by **{current.name}** with **{current.points:,}** hands"
    st.markdown(f"{said} :gray[· {plain(seen.address)}]")


def _actions(seen: Overview, refused: dict[Action, str]) -> None:
    with st.container(horizontal=True):
        shelf.button(
            "build",
            "Build a new version",
            ":material/construction:",
            "Of all hands of the pool, beside the others",
            refused,
            primary=True,
        )
        shelf.button(
            "add",
            f"Add {seen.to_add:,} hands" if seen.to_add else "Add hands",
            ":material/add:",
            "Make those hands searchable that were ingested since",
            refused,
        )
        shelf.button(
            "rollback",
            f"Roll back to {seen.earlier}" if seen.earlier else "Roll back",
            ":material/undo:",
            "Make the version current again that was published before",
            refused,
            seen.earlier or "",
        )
        shelf.button("prune", "Clear up", ":material/cleaning_services:", "Remove old versions", refused)


def _health(seen: Overview) -> None:
    for finding in findings(seen):
        show = {"good": st.success, "note": st.info, "bad": st.warning}[finding.level]
        show(plain(finding.text), icon=_LEVELS[finding.level])


def _first_steps(library: Library, seen: Overview, refused: dict[Action, str]) -> None:
    """The way to an index, and how far along it this home is."""
    pool = bool(seen.pool_hands)
    for trouble in seen.trouble:
        st.warning(plain(trouble), icon=":material/warning:")
    for number, done, what, command in (
        (1, pool, "Take hands out of pictures and videos", library.command("ingest PATH")),
        (2, False, "Build an index of them", library.command("index build")),
        (3, False, "Ask it, there or on the search page", library.command("query PHOTO")),
    ):
        mark = ":material/check_circle:" if done else f":material/counter_{number}:"
        told_pool = f" :gray[· the pool holds {seen.pool_hands:,} hands]" if done else ""
        st.markdown(f"{mark} {what}{told_pool}")
        st.code(command, language="bash", wrap_lines=True)
    shelf.button(
        "build",
        "Build the index",
        ":material/construction:",
        "Of all hands of the pool, by a process of its own",
        refused,
        primary=True,
    )
    if "build" in refused:
        st.caption(plain(refused["build"]))

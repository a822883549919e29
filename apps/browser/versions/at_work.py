"""Jobs on the index: how far they are, and how they ended."""

from datetime import UTC, datetime
from functools import partial
from typing import Final

import streamlit as st

from apps.browser.jobs import Job
from apps.browser.library import Library
from apps.browser.trouble import plain, told
from apps.browser.versions import actions
from apps.browser.versions.actions import WORKS, Work
from apps.browser.versions.asking import act
from apps.browser.versions.overview import READ_ONLY, Overview

_LOOKS_EVERY_S: Final = 1.0
_WAITS_S: Final = 3.0
_STOPPED: Final[dict[Work, str]] = {
    "build": "What it has written so far is thrown away at the next build. Readers notice nothing.",
    "add": "What it has written so far is thrown away at the next build. Readers notice nothing.",
    "verify": "Nothing comes of it; the version stays as it is.",
}
_ICONS: Final = {
    "running": ":material/progress_activity:",
    "done": ":material/check_circle:",
    "failed": ":material/error:",
    "stopped": ":material/stop_circle:",
    "died": ":material/error:",
}


def running(library: Library) -> frozenset[str]:
    """The jobs on the index that run just now."""
    return frozenset(work for work, job in _jobs(library).items() if job.status == "running")


def progress(library: Library, seen: Overview, at_work: frozenset[str]) -> None:
    """How far jobs are; while there is something to wait for, that is looked at by the clock.

    When one has ended, or another process's build, the whole page is drawn again.
    """
    every = _LOOKS_EVERY_S if at_work else _WAITS_S if seen.builder or not seen.versions else None
    st.fragment(_watch, run_every=every)(library, seen, at_work)


def ended(library: Library) -> None:
    """How the last job of each kind ended, the latest first."""
    found = [(work, job) for work, job in _jobs(library).items() if job.status != "running"]
    for work, job in sorted(found, key=lambda each: each[1].record.started_at, reverse=True):
        _ended(library, work, job)


def _watch(library: Library, seen: Overview, at_work: frozenset[str]) -> None:
    with told():
        before = (at_work, seen.builder, None if seen.current is None else seen.current.name)
        if before != (running(library), library.catalog.under_way(), library.catalog.current_name()):
            st.rerun()
        for work, job in _jobs(library).items():
            if job.status == "running":
                with st.container(border=True):
                    _running(library, work, job)


def _jobs(library: Library) -> dict[Work, Job]:
    found = {work: library.jobs.find(work) for work in WORKS}
    return {work: job for work, job in found.items() if job is not None}


def _running(library: Library, work: Work, job: Job) -> None:
    record = job.record
    seconds = (datetime.now(UTC) - datetime.fromisoformat(record.started_at)).total_seconds()
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(
            f"{_ICONS[job.status]} **{WORKS[work]}** · {plain(record.phase)} :gray[· {seconds:,.0f} s]"
        )
        # A dialog would be in the way of what is drawn again every second.
        with st.popover("Stop", icon=":material/stop:", help="End it before it is done"):
            st.markdown(_STOPPED[work])
            allowed = library.settings.actions
            st.button(
                "Stop it",
                key=f"index_stop_{work}",
                on_click=act,
                args=(library, partial(actions.stop, library, work)),
                disabled=not allowed,
                help="End its process now" if allowed else READ_ONLY,
            )
    if record.total:
        st.progress(
            min(1.0, record.done / record.total),
            f"{record.done:,} of {record.total:,} hands",
            width="stretch",
        )


def _ended(library: Library, work: Work, job: Job) -> None:
    record = job.record
    at = (record.finished_at or record.started_at)[:16].replace("T", " ")
    st.markdown(
        f"{_ICONS[job.status]} **{WORKS[work]}** · {plain(_how(job))} "
        f":gray[· {'ended' if record.finished_at else 'started'} {at} UTC]"
    )
    if rows := record.result.get("rows"):
        with st.expander("What was found", icon=":material/fact_check:"):
            st.table(dict(rows), border="horizontal")
    log = library.jobs.log_end(work) if job.status in ("failed", "died") else ""
    if log:
        with st.expander("The end of its log", icon=":material/notes:"):
            st.code(log, language=None, wrap_lines=True)


def _how(job: Job) -> str:
    """How a job ended, in a sentence."""
    if job.status == "died":
        return f"it was stopped from outside while {job.record.phase}: its process is gone"
    if job.status == "stopped":
        return f"stopped while {job.record.phase}"
    return job.record.error or str(job.record.result.get("said", "done"))

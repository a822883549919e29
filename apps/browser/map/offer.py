"""What the map page shows without a map: an offer to make one, or how far that is and a way to stop it."""

from typing import Final

import streamlit as st

from apps.browser.jobs import Job
from apps.browser.library import Library
from apps.browser.map.build import JOB, MAX_FITTED, MAX_HANDS, PHASES, start_job
from apps.browser.ui import escape, show_errors, show_log
from handsim.english import pluralize
from handsim.errors import HandsimError
from index import VersionInfo

_START_ERROR: Final = "map_start_error"
_POLL_S: Final = 1.0


def offer_map(library: Library, info: VersionInfo, problem: str) -> None:
    """Offer to make the map, or show the progress; ``problem`` says why an existing file is no use."""
    job = library.jobs.find(JOB)
    if job is not None and job.status == "running":
        st.fragment(_draw_progress, run_every=_POLL_S)(library)
        return
    if problem:
        st.warning(escape(problem), icon=":material/broken_image:")
    minutes = 2 + min(info.points, MAX_HANDS) // 200_000  # on two idle cores
    duration = "about a minute" if info.points <= MAX_FITTED else f"about {minutes} minutes"
    st.info(
        f"**No map of index {escape(info.name)} yet.** It places its {pluralize(info.points, 'hand')} such "
        f"that similar poses lie near each other. Making it takes {duration}; it is made once and stored, "
        "for all versions of these hands, and you may use other pages meanwhile.",
        icon=":material/map:",
    )
    st.button(
        "Make the map",
        type="primary",
        icon=":material/map:",
        on_click=_start,
        args=(library, info),
        help="In a process of its own; the index is only read",
    )
    start_error = st.session_state.pop(_START_ERROR, None)
    if start_error is not None:
        st.error(escape(start_error), icon=":material/error:")
    elif job is not None and job.status != "done":
        _draw_failure(library, job)


def _start(library: Library, info: VersionInfo) -> None:
    try:
        start_job(library.jobs, library.settings, info.name)
    except HandsimError as error:
        st.session_state[_START_ERROR] = str(error)


def _draw_progress(library: Library) -> None:
    with show_errors():
        job = library.jobs.find(JOB)
        if job is None or job.status != "running":
            st.rerun()
        record = job.record
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(
                f":material/progress_activity: **The map is being made** :gray[· {record.age_s:,.0f} s]"
            )
            st.button(
                "Stop",
                icon=":material/stop:",
                on_click=_stop,
                args=(library,),
                help="End it; nothing of it is kept, and the index stays as it is",
            )
        step = PHASES.index(record.phase) if record.phase in PHASES else 0
        for number, phase in enumerate(PHASES):
            if number < step:
                st.markdown(f":material/check: :gray[{phase}]")
            elif number > step:
                st.markdown(f":material/radio_button_unchecked: :gray[{phase}]")
            elif record.total:
                count = f"{phase} · {record.done:,} of {record.total:,} hands"
                st.progress(min(1.0, record.done / record.total), count, width="stretch")
            else:
                st.markdown(f":material/hourglass_top: **{phase}**")


def _stop(library: Library) -> None:
    library.jobs.stop(JOB)


def _draw_failure(library: Library, job: Job) -> None:
    if job.status == "stopped":
        st.info(f"The last attempt was stopped: {job.record.phase.lower()}.", icon=":material/stop_circle:")
        return
    reason = job.record.error or f"it ended while {job.record.phase.lower()}"
    st.error(f"The last attempt made no map: {escape(reason)}", icon=":material/error:")
    show_log(library.jobs.read_log_end(JOB))

"""While there is no map: how to have one made, and how far that is."""

from datetime import UTC, datetime
from typing import Final

import streamlit as st

from apps.browser.jobs import Job
from apps.browser.library import Library
from apps.browser.map.making import MOST_FITTED, MOST_HANDS
from apps.browser.map.work import JOB, start_making
from apps.browser.trouble import plain, told
from handsim.errors import HandsimError
from index import VersionInfo

_LOOKS_EVERY_S: Final = 1.0
_REFUSED: Final = "map_refused"


def waiting(library: Library, info: VersionInfo, why: str = "") -> None:
    """Offer to make the version's map, or show how far it is; ``why`` tells what is wrong with one there."""
    job = library.jobs.find(JOB)
    if job is not None and job.status == "running":
        st.fragment(_watch, run_every=_LOOKS_EVERY_S)(library)
        return
    if why:
        st.warning(plain(why), icon=":material/broken_image:")
    st.info(
        f"**No map of index {plain(info.name)} yet.** It lays its {info.points:,} hands out so that those "
        f"posed alike lie near each other. Making it takes {_time_told(info.points)}; it is made once and "
        "kept, and you may go on elsewhere meanwhile.",
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
    refused = st.session_state.pop(_REFUSED, None)
    if refused is not None:
        st.error(plain(refused), icon=":material/error:")
    elif job is not None and job.status != "done":
        _ended_badly(library, job)


def _start(library: Library, info: VersionInfo) -> None:
    try:
        start_making(library.jobs, library.settings, info.name)
    except HandsimError as error:
        st.session_state[_REFUSED] = str(error)


def _watch(library: Library) -> None:
    with told():
        job = library.jobs.find(JOB)
        if job is None or job.status != "running":
            st.rerun()
        record = job.record
        seconds = (datetime.now(UTC) - datetime.fromisoformat(record.started_at)).total_seconds()
        share = min(1.0, record.done / record.total) if record.total else 0.0
        counted = f" · {record.done:,} of {record.total:,} hands" if record.total else ""
        st.markdown(f":material/progress_activity: **The map is being made** :gray[· {seconds:,.0f} s]")
        st.progress(share, f"{plain(record.phase)}{counted}", width="stretch")


def _ended_badly(library: Library, job: Job) -> None:
    reason = job.record.error or f"it ended while {job.record.phase.lower()}"
    st.error(f"The last attempt made no map: {plain(reason)}", icon=":material/error:")
    log = library.jobs.log_end(JOB)
    if log:
        with st.expander("The end of its log", icon=":material/notes:"):
            st.code(log, language=None, wrap_lines=True)


def _time_told(points: int) -> str:
    """About how long it takes a machine of two cores with nothing else to do."""
    if points <= MOST_FITTED:
        return "about a minute"
    return f"about {2 + min(points, MOST_HANDS) // 200_000} minutes"

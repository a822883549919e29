"""The page Index: the versions of the index, their health, the actions on them, and the jobs that run."""

from datetime import UTC, datetime
from functools import partial
from typing import Final

import streamlit as st

from apps.browser.index import actions
from apps.browser.index.actions import WORKS, Work, act, ask
from apps.browser.index.overview import (
    READ_ONLY,
    Action,
    Overview,
    embedding_title,
    findings,
    read_overview,
    refusals,
)
from apps.browser.jobs import Job
from apps.browser.library import Library
from apps.browser.ui import escape, show_errors
from index import VersionInfo
from index.evaluation import LEAST_RECALL

_CHOSEN: Final = "index_chosen"
_BUTTONS: Final[tuple[tuple[Action, str, str, str], ...]] = (
    ("publish", "Publish", ":material/publish:", "Make it the current version, for everybody"),
    ("verify", "Verify", ":material/fact_check:", "Read all of it, compare with exact search"),
    ("remove", "Remove", ":material/delete:", "Remove it for good"),
)


def _table(overview: Overview) -> VersionInfo:
    """Draw the versions, newest first; returns the one that is chosen."""
    names = [info.name for info in overview.versions]
    before = st.session_state.get(_CHOSEN)
    if before not in names:
        before = next((info.name for info in overview.versions if info.is_current), names[0])
    picked = st.dataframe(
        {
            "Version": names,
            "Standing": [standing(info) for info in overview.versions],
            "Hands": [info.points for info in overview.versions],
            "Recall@1": [info.recall_at_1 for info in overview.versions],
            "Embedding": [embedding_title(info) for info in overview.versions],
            "Built (UTC)": [_built(info) for info in overview.versions],
            "Took": [info.build_seconds for info in overview.versions],
            "Size": [
                None if info.bytes_on_disk is None else info.bytes_on_disk / 1e6 for info in overview.versions
            ],
        },
        # Rows are chosen by their number: other versions are another table.
        key=f"index_versions_{'_'.join(names)}",
        hide_index=True,
        placeholder="",
        on_select="rerun",
        selection_mode="single-row-required",
        selection_default={"selection": {"rows": [names.index(before)]}},
        column_config={
            "Standing": st.column_config.TextColumn(help="Which one everybody gets, and what to mind"),
            "Hands": st.column_config.NumberColumn(format="localized"),
            "Recall@1": st.column_config.NumberColumn(
                format="%.4f", help="Share of hands whose nearest one of another video is found"
            ),
            "Took": st.column_config.NumberColumn(format="%.1f s", help="To build it"),
            "Size": st.column_config.NumberColumn(format="%.1f MB", help="On disk; a server does not tell"),
        },
        alt="Versions of the index, newest first; one is chosen",
    )
    rows = picked["selection"]["rows"]
    chosen = (
        overview.versions[rows[0]]
        if rows and rows[0] < len(names)
        else overview.versions[names.index(before)]
    )
    if chosen.name != before:  # until one is chosen, the current one is shown
        st.session_state[_CHOSEN] = chosen.name
    return chosen


def standing(info: VersionInfo) -> str:
    """What to know of a version before anything else."""
    if info.recall_at_1 is None:
        problem = "not verified"
    else:
        problem = "low recall" if info.recall_at_1 < LEAST_RECALL else ""
    return ", ".join(word for word in ("current" if info.is_current else "", problem) if word)


def _card(info: VersionInfo, refused: dict[Action, str]) -> None:
    """One version: its facts, and what can be done to it."""
    with st.container(border=True):
        st.subheader(f"{escape(info.name)}{' · current' if info.is_current else ''}", anchor=False)
        st.table({what: escape(value) for what, value in describe_version(info).items()}, border="horizontal")
        with st.container(horizontal=True):
            for action, label, icon, help in _BUTTONS:
                _button(action, label, icon, help, refused, info.name)


def _refusals_of(info: VersionInfo, refused: dict[Action, str]) -> dict[Action, str]:
    """Why actions on a version cannot be done now."""
    if not info.is_current:
        return refused
    return {
        "publish": "It is the current version",
        "remove": "It is the current version; publish another one first",
        **refused,
    }


def _button(
    action: Action,
    label: str,
    icon: str,
    help: str,
    refused: dict[Action, str],
    name: str = "",
    *,
    primary: bool = False,
) -> None:
    """A button that asks about an action, or is off and says why."""
    st.button(
        label,
        key=f"index_{action}",
        icon=icon,
        type="primary" if primary else "secondary",
        on_click=ask,
        args=(action, name),
        disabled=action in refused,
        help=refused.get(action, help),
    )


def describe_version(info: VersionInfo) -> dict[str, str]:
    """What is known of a version, for people."""
    settings = info.settings
    known = {
        "Hands": f"{info.points:,}",
        "Recall@1": "never verified" if info.recall_at_1 is None else f"{info.recall_at_1:.4f}",
        "Embedding": embedding_title(info),
        "Built": f"{_built(info)} UTC in {info.build_seconds:,.1f} s",
        "Graph": f"m {settings.m}, ef_construct {settings.ef_construct}, ef {settings.ef}",
    }
    if info.bytes_on_disk is not None:
        known["Size"] = f"{info.bytes_on_disk / 1e6:,.1f} MB"
    if settings.shards > 1 or settings.replicas > 1:
        known["Spread"] = f"{settings.shards} shards, {settings.replicas} replicas"
    return known


def _built(info: VersionInfo) -> str:
    return info.built_at[:19].replace("T", " ")


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


def _running_jobs(library: Library) -> frozenset[str]:
    """The jobs on the index that run just now."""
    return frozenset(work for work, job in _jobs(library).items() if job.status == "running")


def _progress(library: Library, overview: Overview, running_jobs: frozenset[str]) -> None:
    """How far jobs are; while there is something to wait for, that is looked at by the clock.

    When one has ended, or another process's build, the whole page is drawn again.
    """
    every = (
        _LOOKS_EVERY_S if running_jobs else _WAITS_S if overview.builder or not overview.versions else None
    )
    st.fragment(_watch, run_every=every)(library, overview, running_jobs)


def _ended_jobs(library: Library) -> None:
    """How the last job of each kind ended, the latest first."""
    found = [(work, job) for work, job in _jobs(library).items() if job.status != "running"]
    for work, job in sorted(found, key=lambda each: each[1].record.started_at, reverse=True):
        _ended(library, work, job)


def _watch(library: Library, overview: Overview, running_jobs: frozenset[str]) -> None:
    with show_errors():
        before = (running_jobs, overview.builder, None if overview.current is None else overview.current.name)
        if before != (
            _running_jobs(library),
            library.catalog.active_builder(),
            library.catalog.current_name(),
        ):
            st.rerun()
        for work, job in _jobs(library).items():
            if job.status == "running":
                with st.container(border=True):
                    _running(library, work, job)


def _jobs(library: Library) -> dict[Work, Job]:
    jobs = {work: library.jobs.find(work) for work in WORKS}
    return {work: job for work, job in jobs.items() if job is not None}


def _running(library: Library, work: Work, job: Job) -> None:
    record = job.record
    seconds = (datetime.now(UTC) - datetime.fromisoformat(record.started_at)).total_seconds()
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(
            f"{_ICONS[job.status]} **{WORKS[work]}** · {escape(record.phase)} :gray[· {seconds:,.0f} s]"
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
        f"{_ICONS[job.status]} **{WORKS[work]}** · {escape(_outcome(job))} "
        f":gray[· {'ended' if record.finished_at else 'started'} {at} UTC]"
    )
    if rows := record.result.get("rows"):
        with st.expander("What was found", icon=":material/fact_check:"):
            st.table(dict(rows), border="horizontal")
    log = library.jobs.read_log_end(work) if job.status in ("failed", "died") else ""
    if log:
        with st.expander("The end of its log", icon=":material/notes:"):
            st.code(log, language=None, wrap_lines=True)


def _outcome(job: Job) -> str:
    """How a job ended, in a sentence."""
    if job.status == "died":
        return f"it was stopped from outside while {job.record.phase}: its process is gone"
    if job.status == "stopped":
        return f"stopped while {job.record.phase}"
    result = job.record.result  # "said" is the older name
    return job.record.error or str(result.get("message") or result.get("said", "done"))


_LEVELS: Final = {
    "good": ":material/check_circle:",
    "note": ":material/info:",
    "bad": ":material/warning:",
}


def index(library: Library) -> None:
    """Where the index stands, the jobs at work on it, its health, its versions."""
    actions.show_outcome()
    with show_errors():
        running_jobs = _running_jobs(library)
        overview = read_overview(library)
        refused = refusals(overview, actions=library.settings.actions, running=running_jobs)
        _head(overview)
        if not library.settings.actions:
            st.info(f"{escape(READ_ONLY)}.", icon=":material/lock:")
        if overview.versions:
            _actions(overview, refused)
        else:
            _first_steps(library, overview, refused)
        _progress(library, overview, running_jobs)
        if overview.versions:
            chosen = _table(overview)
            left, right = st.columns(2, gap="large")
            with left:
                _card(chosen, _refusals_of(chosen, refused))
            with right:
                _health(overview)
                _ended_jobs(library)
        else:
            _ended_jobs(library)
        actions.show_dialog(library, overview)


def _head(overview: Overview) -> None:
    current = overview.current
    state = "Nothing is published yet"
    if current is not None:
        state = f"Everybody is answered by **{current.name}** with **{current.points:,}** hands"
    st.markdown(f"{state} :gray[· {escape(overview.address)}]")


def _actions(overview: Overview, refused: dict[Action, str]) -> None:
    with st.container(horizontal=True):
        _button(
            "build",
            "Build a new version",
            ":material/construction:",
            "Of all hands of the pool, beside the others",
            refused,
            primary=True,
        )
        _button(
            "add",
            f"Add {overview.to_add:,} hands" if overview.to_add else "Add hands",
            ":material/add:",
            "Make those hands searchable that were ingested since",
            refused,
        )
        _button(
            "rollback",
            f"Roll back to {overview.earlier}" if overview.earlier else "Roll back",
            ":material/undo:",
            "Make the version current again that was published before",
            refused,
            overview.earlier or "",
        )
        _button("prune", "Clear up", ":material/cleaning_services:", "Remove old versions", refused)


def _health(overview: Overview) -> None:
    for finding in findings(overview):
        show = {"good": st.success, "note": st.info, "bad": st.warning}[finding.level]
        show(escape(finding.text), icon=_LEVELS[finding.level])


def _first_steps(library: Library, overview: Overview, refused: dict[Action, str]) -> None:
    """The way to an index, and how far along it this home is."""
    pool = bool(overview.pool_hands)
    for error in overview.errors:
        st.warning(escape(error), icon=":material/warning:")
    for number, done, what, command in (
        (1, pool, "Take hands out of pictures and videos", library.format_command("ingest PATH")),
        (2, False, "Build an index of them", library.format_command("index build")),
        (3, False, "Ask it, there or on the search page", library.format_command("query PHOTO")),
    ):
        mark = ":material/check_circle:" if done else f":material/counter_{number}:"
        pool_size = f" :gray[· the pool holds {overview.pool_hands:,} hands]" if done else ""
        st.markdown(f"{mark} {what}{pool_size}")
        st.code(command, language="bash", wrap_lines=True)
    _button(
        "build",
        "Build the index",
        ":material/construction:",
        "Of all hands of the pool, by a process of its own",
        refused,
        primary=True,
    )
    if "build" in refused:
        st.caption(escape(refused["build"]))

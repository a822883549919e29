"""The page Index: the versions of the index, their health, the actions on them, and the jobs that run."""

from functools import partial
from typing import Final

import streamlit as st

from apps.browser import address, session
from apps.browser.access import find_refusal
from apps.browser.index import actions
from apps.browser.index.actions import WORKS, Work, act, ask
from apps.browser.index.overview import (
    Action,
    Overview,
    embedding_title,
    findings,
    read_overview,
    refusals,
)
from apps.browser.jobs import Job
from apps.browser.library import Library
from apps.browser.ui import escape, show_errors, show_log
from handsim.english import pluralize
from index import VersionInfo
from index.evaluation import LEAST_RECALL
from index.info import VersionHealth

_VERSION: Final = "version"
"""Of the address: the version that is looked at; absent: the current one."""
_SEEN: Final = "index_seen"
"""The versions when the page was drawn last, the current one, and the one in the address."""
_TABLE: Final = "index_table"
"""Which table it is, and the version that is chosen in it."""
_BUTTONS: Final[dict[Action, tuple[str, str, str]]] = {
    "build": ("Build a new version", "construction", "Of all hands of the pool, beside the others"),
    "add": ("Add hands", "add", "Make those hands searchable that were ingested since"),
    "rollback": ("Roll back", "undo", "Make the version current again that was published before"),
    "prune": ("Clear up", "cleaning_services", "Remove old versions"),
    "publish": ("Publish", "publish", "Make it the current version, for everybody"),
    "verify": ("Verify", "fact_check", "Read all of it, compare with exact search"),
    "remove": ("Remove", "delete", "Remove it for good"),
}
"""Action -> label, icon and help."""


def _table(overview: Overview) -> VersionInfo:
    """Draw the versions, newest first; returns the one that is chosen."""
    names = [info.name for info in overview.versions]
    chosen = _read_version(overview)
    # A table's choice cannot be changed from here: another one is another table.
    number, shown = st.session_state.get(_TABLE, (0, None))
    st.session_state[_TABLE] = number, shown = (number + (shown != chosen), chosen)
    key = f"index_versions_{'_'.join(names)}_{number}"
    st.dataframe(
        {
            "Version": names,
            "Status": [standing(info) for info in overview.versions],
            "Hands": [info.points for info in overview.versions],
            "Recall@1": [info.recall_at_1 for info in overview.versions],
            "Embedding": [embedding_title(info) for info in overview.versions],
            "Built (UTC)": [_built(info) for info in overview.versions],
            "Took": [info.build_seconds for info in overview.versions],
            "Size": [
                None if info.bytes_on_disk is None else info.bytes_on_disk / 1e6 for info in overview.versions
            ],
        },
        key=key,
        hide_index=True,
        placeholder="",
        on_select=lambda: _take_choice(key, names),
        selection_mode="single-row-required",
        selection_default={"selection": {"rows": [names.index(chosen)]}},
        column_config={
            "Status": st.column_config.TextColumn(help="Which one searches use, and what to mind"),
            "Hands": st.column_config.NumberColumn(format="localized"),
            "Recall@1": st.column_config.NumberColumn(
                format="%.4f", help="Share of hands whose nearest one of another video is found"
            ),
            "Took": st.column_config.NumberColumn(format="%.1f s", help="To build it"),
            "Size": st.column_config.NumberColumn(format="%.1f MB", help="On disk; a server does not tell"),
        },
        alt="Versions of the index, newest first; one is chosen",
    )
    return overview.versions[names.index(chosen)]


def _read_version(overview: Overview) -> str:
    """The version in the address; else the current one, or one that came while the page was open."""
    names = [info.name for info in overview.versions]
    current = next((info.name for info in overview.versions if info.is_current), names[0])
    asked = st.query_params.get(_VERSION)
    seen_names, seen_current, seen_asked = st.session_state.get(_SEEN, (names, current, asked))
    made = [name for name in names if name not in seen_names]
    # What was built or published is what one waits for, unless one came back for something else. A version is
    # there for a moment before it is published.
    if asked == seen_asked and current != seen_current:
        asked = None
        session.write_params([_VERSION], {})
    elif asked == seen_asked and made:
        asked = made[0]
        session.write_params([_VERSION], {_VERSION: asked})
    st.session_state[_SEEN] = names, current, asked
    if asked is None:
        return current
    if asked not in names:
        address.note(f"There is no version {asked[:40]!r}, as the address says; the current one is shown.")
        return current
    return asked


def _take_choice(key: str, names: list[str]) -> None:
    rows = st.session_state[key]["selection"]["rows"]
    number, shown = st.session_state[_TABLE]
    # The row that is chosen at first is reported as a choice, too, even when the page is left.
    if rows and rows[0] < len(names) and names[rows[0]] != shown:
        st.session_state[_TABLE] = (number, names[rows[0]])
        session.write_params([_VERSION], {_VERSION: names[rows[0]]})


def standing(info: VersionInfo) -> str:
    words = ["current"] if info.is_current else []
    if info.recall_at_1 is None:
        words.append("not verified")
    elif info.recall_at_1 < LEAST_RECALL:
        words.append("low recall")
    return ", ".join(words)


def _card(info: VersionInfo, health: VersionHealth | None, refused: dict[Action, str]) -> None:
    if info.is_current:
        refused = {
            "publish": "It is the current version",
            "remove": "It is the current version; publish another one first",
            **refused,
        }
    with st.container(border=True):
        st.header(f"{escape(info.name)}{' · current' if info.is_current else ''}", anchor=False)
        st.table(
            {what: escape(value) for what, value in describe_version(info, health).items()},
            border="horizontal",
        )
        with st.container(horizontal=True):
            for action in ("publish", "verify", "remove"):
                _button(action, refused, name=info.name)


def _button(
    action: Action, refused: dict[Action, str], *, name: str = "", label: str = "", is_main: bool = True
) -> None:
    """A button that asks about an action on the version ``name``, or is off and says why."""
    usual_label, icon, help = _BUTTONS[action]
    st.button(
        label or usual_label,
        key=f"index_{action}",
        icon=f":material/{icon}:",
        type="primary" if action == "build" and is_main else "secondary",
        on_click=ask,
        args=(action, name),
        disabled=action in refused,
        help=refused.get(action, help),
    )


def describe_version(info: VersionInfo, health: VersionHealth | None = None) -> dict[str, str]:
    settings = info.settings
    known = {
        "Hands": f"{info.points:,}",
        "Recall@1": "never verified" if info.recall_at_1 is None else f"{info.recall_at_1:.4f}",
        "Embedding": embedding_title(info),
        "Built": f"{_built(info)} UTC in {info.build_seconds:,.1f} s",
        "Graph": f"m {settings.m}, ef_construct {settings.ef_construct}, ef {settings.ef}",
    }
    size = health.bytes if health is not None else info.bytes_on_disk
    if size is not None:
        known["Size"] = f"{size / 1e6:,.1f} MB"
    if health is not None:
        known["Health"] = str(health)
    if settings.shards > 1 or settings.replicas > 1:
        known["Spread"] = f"{settings.shards} shards, {settings.replicas} replicas"
    return known


def _built(info: VersionInfo) -> str:
    return info.built_at[:19].replace("T", " ")


_LOOKS_EVERY_S: Final = 1.0
_WAITS_S: Final = 3.0
_STOPPED: Final[dict[Work, str]] = {
    "build": "The next build continues or replaces what it has written. Readers notice nothing.",
    "add": "The next build continues or replaces what it has written. Readers notice nothing.",
    "verify": "Nothing comes of it; the version stays as it is.",
}
_ICONS: Final = {
    "running": ":material/progress_activity:",
    "done": ":material/check_circle:",
    "failed": ":material/error:",
    "stopped": ":material/stop_circle:",
    "died": ":material/error:",
}


def find_jobs(library: Library) -> dict[Work, Job]:
    """The last job of each kind."""
    jobs = {work: library.jobs.find(work) for work in WORKS}
    return {work: job for work, job in jobs.items() if job is not None}


def _running_jobs(library: Library) -> frozenset[str]:
    return frozenset(work for work, job in find_jobs(library).items() if job.status == "running")


def _progress(library: Library, overview: Overview, running_jobs: frozenset[str]) -> None:
    """How far jobs are; while there is something to wait for, that is looked at by the clock."""
    every = _LOOKS_EVERY_S if running_jobs else None
    if every is None and (overview.builder or not overview.versions):
        every = _WAITS_S
    st.fragment(_watch, run_every=every)(library, overview, running_jobs)


def _watch(library: Library, overview: Overview, running_jobs: frozenset[str]) -> None:
    """Draw the page again when a job has ended, or another process's build."""
    with show_errors():
        current = None if overview.current is None else overview.current.name
        now = (_running_jobs(library), library.catalog.active_builder(), library.catalog.current_name())
        if now != (running_jobs, overview.builder, current):
            st.rerun()
        for work, job in find_jobs(library).items():
            if job.status == "running":
                with st.container(border=True):
                    draw_running(library, work, job)


def _ended_jobs(library: Library) -> None:
    """How the last job of each kind ended, the latest first."""
    found = [(work, job) for work, job in find_jobs(library).items() if job.status != "running"]
    for work, job in sorted(found, key=lambda each: each[1].record.started_at, reverse=True):
        draw_ended(library, work, job)


def draw_running(library: Library, work: Work, job: Job) -> None:
    record = job.record
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(
            f"{_ICONS[job.status]} **{WORKS[work]}** · {escape(record.phase)} :gray[· {record.age_s:,.0f} s]"
        )
        # A dialog would be in the way of what is drawn again every second.
        with st.popover("Stop", icon=":material/stop:", help="End it before it is done"):
            st.markdown(_STOPPED[work])
            refusal = find_refusal(library)
            st.button(
                "Stop it",
                key=f"index_stop_{work}",
                on_click=act,
                args=(library, partial(actions.stop, library, work)),
                disabled=refusal is not None,
                help=refusal or "End its process now",
            )
    if record.total:
        st.progress(
            min(1.0, record.done / record.total),
            f"{record.done:,} of {pluralize(record.total, 'hand')}",
            width="stretch",
        )


def draw_ended(library: Library, work: Work, job: Job) -> None:
    record = job.record
    at = (record.finished_at or record.started_at)[:16].replace("T", " ")
    st.markdown(
        f"{_ICONS[job.status]} **{WORKS[work]}** · {escape(_outcome(job))} "
        f":gray[· {'ended' if record.finished_at else 'started'} {at} UTC]"
    )
    if rows := record.result.get("rows"):
        with st.expander("What was found", icon=":material/fact_check:"):
            st.table(dict(rows), border="horizontal")
    if job.status in ("failed", "died"):
        show_log(library.jobs.read_log_end(work))


def _outcome(job: Job) -> str:
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
    actions.show_outcome()
    with show_errors(), address.show_notes():
        running_jobs = _running_jobs(library)
        overview = read_overview(library)
        refusal = find_refusal(library)
        refused = refusals(overview, refusal=refusal, running=running_jobs)
        _head(overview)
        if refusal is not None:
            st.info(f"{escape(refusal)}.", icon=":material/lock:")
        if overview.versions:
            _actions(overview, refused)
        else:
            for error in overview.errors:
                st.warning(escape(error), icon=":material/warning:")
            _button("build", refused, label="Build with other settings", is_main=False)
        _progress(library, overview, running_jobs)
        if overview.versions:
            chosen = _table(overview)
            left, right = st.columns(2, gap="large")
            with left:
                health = overview.health
                if not chosen.is_current:
                    health = library.catalog.read_health(chosen.name)
                _card(chosen, health, refused)
            with right:
                _health(overview)
                _ended_jobs(library)
        else:
            _ended_jobs(library)
        actions.show_dialog(library, overview)


def _head(overview: Overview) -> None:
    current = overview.current
    state = "Nothing is published yet"
    if current is None and overview.versions:
        names = ", ".join(info.name for info in overview.versions)
        state = f"No version is current, of {names}: choose one and publish it"
    if current is not None:
        state = f"Searches use version **{current.name}** with **{current.points:,}** hands"
    st.markdown(f"{state} :gray[· {escape(overview.address)}]")


def _actions(overview: Overview, refused: dict[Action, str]) -> None:
    earlier = overview.earlier
    with st.container(horizontal=True):
        _button("build", refused)
        _button("add", refused, label=f"Add {pluralize(overview.to_add, 'hand')}" if overview.to_add else "")
        _button("rollback", refused, name=earlier or "", label=f"Roll back to {earlier}" if earlier else "")
        _button("prune", refused)


def _health(overview: Overview) -> None:
    for finding in findings(overview):
        show = {"good": st.success, "note": st.info, "bad": st.warning}[finding.level]
        show(escape(finding.text), icon=_LEVELS[finding.level])

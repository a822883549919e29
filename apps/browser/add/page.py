"""The page Add photographs: hands out of uploaded pictures or a folder, and then into the index."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import streamlit as st

from apps.browser import session
from apps.browser.access import check_may_manage, find_refusal
from apps.browser.add.job import JOB
from apps.browser.add.uploads import Upload, parse_folder_name, store_uploads
from apps.browser.index import actions
from apps.browser.index.actions import act
from apps.browser.index.overview import read_overview, refusals
from apps.browser.index.page import draw_ended, draw_running, find_jobs
from apps.browser.jobs import Job
from apps.browser.library import UPLOAD_LIMIT_MB, Library
from apps.browser.search.question import Question
from apps.browser.ui import escape, show_command, show_errors, show_log
from handsim.detection import DetectorOptions, describe_detector
from handsim.english import pluralize
from handsim.errors import HandsimError, NotThereError
from handsim.processes import module_command
from index import IndexSettings

_POLL_S: Final = 1.0
_FEW: Final = 10
_MOST_UPLOADS: Final = 1000
"""At once: the server holds them in memory, and their names make a command line."""
_WAY: Final = "add_way"
_PERSON: Final = "add_person"
_ALONE: Final = "add_each_alone"
_FOLDER: Final = "add_folder"
_ROUND: Final = "add_round"
"""Counts what was added: the next upload is another widget, which is empty."""
_REFUSED: Final = "add_refused"
_PICTURES: Final = "Photographs"
_UPLOADED_FOLDER: Final = "A folder"
_PATH: Final = "By path"
_BUSY: Final = "Others are being added; wait, or stop that"
_PERSON_HELP: Final = (
    "Whose hands these are, or which recording. The most similar hand of one's own is the next picture: "
    "searches for other videos only, and mining, leave out hands of the same name"
)


def add(library: Library) -> None:
    actions.show_outcome()
    with show_errors():
        if refusal := find_refusal(library):
            st.info(f"{escape(refusal)}.", icon=":material/lock:")
            return
        running = draw_jobs(library)
        for sentence in st.session_state.get(_REFUSED, ()):
            st.warning(escape(sentence), icon=":material/image_not_supported:")
        _draw_report(library)
        if not running:
            _draw_next(library)
        _draw_form(library, JOB in running)


# What to add.


def _draw_form(library: Library, is_busy: bool) -> None:
    try:
        describe_detector(DetectorOptions(mediapipe_model=library.settings.model))
    except NotThereError as error:
        st.warning(escape(str(error)), icon=":material/download:")
        show_command("handsim models fetch")
        st.button("Look again", icon=":material/refresh:", help="Once the command has ended")
        return
    ways = [_PICTURES, _UPLOADED_FOLDER, *([_PATH] if library.settings.folders else [])]
    way = st.segmented_control("Add", ways, default=_PICTURES, required=True, key=_WAY)
    with st.container(border=True):
        if way == _PATH:
            _draw_path(library, is_busy)
        else:
            _draw_upload(library, is_busy, is_folder=way == _UPLOADED_FOLDER)


def _draw_upload(library: Library, is_busy: bool, *, is_folder: bool) -> None:
    key = f"add_upload_{is_folder}_{st.session_state.get(_ROUND, 0)}"
    limits = f"At most {_MOST_UPLOADS:,} pictures at once, each of at most {UPLOAD_LIMIT_MB} MB"
    if is_folder:
        uploads = st.file_uploader(
            "A folder, within it one for each person or recording",
            accept_multiple_files="directory",
            key=key,
        )
    else:
        uploads = st.file_uploader("Photographs", accept_multiple_files=True, key=key)
        alone = st.toggle(
            "Each picture shows another person", key=_ALONE, help="Then hands of any two pictures may match"
        )
        st.text_input(
            "Person or recording", "me", key=_PERSON, disabled=alone, max_chars=100, help=_PERSON_HELP
        )
    st.button(
        f"Add {pluralize(len(uploads), 'photograph')}" if uploads else "Add photographs",
        icon=":material/add_photo_alternate:",
        type="primary",
        disabled=not uploads or is_busy,
        on_click=act,
        args=(library, partial(_add_uploads, library, key, is_folder)),
        help=_BUSY if is_busy else "Find the hands in them" if uploads else "Choose some first",
    )
    st.caption(f"{limits}. They are kept in {escape(str(library.home.uploads))}.")


def _draw_path(library: Library, is_busy: bool) -> None:
    folder = st.text_input(
        "Folder on the computer that handsim runs on",
        key=_FOLDER,
        placeholder="/home/anna/photographs",
        help="With its whole path. Folders in it are persons or recordings",
    )
    st.toggle(
        "Each picture shows another person",
        key=_ALONE,
        help="Else hands of one folder are of one person or recording",
    )
    st.button(
        "Add its photographs",
        icon=":material/add_photo_alternate:",
        type="primary",
        disabled=not folder or is_busy,
        on_click=act,
        args=(library, partial(_add_folder, library)),
        help=_BUSY if is_busy else "Find the hands in its pictures and videos; they are only read",
    )


# What the widgets hold is read when a button is pressed: a text may have been typed just before.


def _add_uploads(library: Library, key: str, is_folder: bool) -> str:
    state = st.session_state
    alone = not is_folder and bool(state[_ALONE])
    return start_upload(library, state[key], None if is_folder else state[_PERSON], each_alone=alone)


def _add_folder(library: Library) -> str:
    return start_folder(library, st.session_state[_FOLDER], each_alone=st.session_state[_ALONE])


def start_upload(
    library: Library, uploads: Sequence[Upload], person: str | None, *, each_alone: bool = False
) -> str:
    """Store pictures and start to look for hands in them; ``person`` None: their names have folders.

    Raises HandsimError for visitors who may not, for a name that is none, and while others are added.
    """
    check_may_manage(library)
    if len(uploads) > _MOST_UPLOADS:
        raise HandsimError(
            f"{len(uploads):,} pictures are too many at once; add at most {_MOST_UPLOADS:,}, or give their "
            "folder to `handsim ingest`"
        )
    folder = library.home.uploads
    if each_alone:
        folder = folder / "each alone"
    elif person is not None:
        folder = folder / parse_folder_name(person)
    stored = store_uploads(uploads, folder)
    st.session_state[_REFUSED] = stored.refused
    if not stored.files:
        raise HandsimError("none of these files can be added")
    message = _start(library, stored.files, each_alone)
    st.session_state[_ROUND] = st.session_state.get(_ROUND, 0) + 1
    return message


def start_folder(library: Library, folder: str, *, each_alone: bool = False) -> str:
    """Start to look for hands in a folder of this computer; raises HandsimError as `start_upload`."""
    check_may_manage(library)
    st.session_state[_REFUSED] = []
    if not library.settings.folders:
        raise HandsimError("folders of this computer can be added only where it alone reaches the page")
    path = Path(folder.strip()).expanduser()
    if not path.is_absolute() or not path.exists():
        raise NotThereError(
            f"there is no folder {folder.strip()}; give one of this computer with its whole path, such as "
            "/home/anna/photographs"
        )
    return _start(library, [path], each_alone)


def _start(library: Library, paths: Sequence[Path], each_alone: bool) -> str:
    command = module_command("apps.browser.add.job", "--home", str(library.home.path))
    if library.settings.model is not None:
        command += ["--model", str(library.settings.model)]
    if each_alone:
        command.append("--each-alone")
    library.jobs.start(JOB, [*command, "--", *map(str, paths)])
    return "Looking for hands; it continues when this page is closed."


def stop(library: Library) -> str:
    """Stop looking for hands; what was found stays."""
    check_may_manage(library)
    return "Stopped." if library.jobs.stop(JOB) else "It had ended already."


# Jobs: looking for hands, and building the index of them.


def draw_jobs(library: Library, *, of_index: bool = True) -> frozenset[str]:
    """Progress of what runs, with Stop; returns the jobs' names. The page is drawn again when they change."""
    running = _find_running(library)
    if running:
        st.fragment(_watch, run_every=_POLL_S)(library, running, of_index)
    return running


def _find_running(library: Library) -> frozenset[str]:
    works = [work for work, job in find_jobs(library).items() if job.status == "running"]
    return frozenset([*works, *([JOB] if _find_ingest(library) else [])])


def _find_ingest(library: Library) -> Job | None:
    """The job that looks for hands, while it runs."""
    job = library.jobs.find(JOB)
    return job if job is not None and job.status == "running" else None


def _watch(library: Library, running: frozenset[str], of_index: bool) -> None:
    with show_errors():
        if _find_running(library) != running:
            st.rerun()
        if job := _find_ingest(library):
            with st.container(border=True):
                _draw_running(library, job)
        for work, each in find_jobs(library).items():
            if of_index and each.status == "running":
                with st.container(border=True):
                    draw_running(library, work, each)


def _draw_running(library: Library, job: Job) -> None:
    record, refusal = job.record, find_refusal(library)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(
            f":material/progress_activity: **Adding photographs** · {escape(record.phase)} "
            f":gray[· {record.age_s:,.0f} s]"
        )
        st.button(
            "Stop",
            key="add_stop",
            icon=":material/stop:",
            on_click=act,
            args=(library, partial(stop, library)),
            disabled=refusal is not None,
            help=refusal or "What was found stays; adding the same again goes on from there",
        )
    if record.total:
        share = min(1.0, record.done / record.total)
        st.progress(share, f"{record.done:,} of {pluralize(record.total, 'picture')}", width="stretch")


# What came of it.


def _draw_report(library: Library) -> None:
    """The report of the last job, as `handsim ingest` prints it."""
    job = library.jobs.find(JOB)
    if job is None or job.status == "running":
        return
    if job.status in ("failed", "died"):
        reason = job.record.error or "its process was ended from outside"
        st.error(f"Adding photographs failed: {escape(reason)}", icon=":material/error:")
        show_log(library.jobs.read_log_end(JOB))
        return
    result = job.record.result
    if not result:
        st.info(
            "Adding photographs was stopped; what was found until then is in the pool.",
            icon=":material/stop_circle:",
        )
        return
    first, *lines = result["lines"]
    mark = ":material/stop_circle:" if result["interrupted"] else ":material/check_circle:"
    st.markdown("  \n".join([f"{mark} **{escape(first)}**", *map(escape, lines)]))
    if result["interrupted"]:
        st.markdown("Stopped before the end: adding the same again goes on from there.")
    _draw_skipped(library, result)


def _draw_skipped(library: Library, result: dict[str, Any]) -> None:
    if not result["table"]:
        return
    st.markdown(
        "\n".join(
            f"- {escape(row['block'])}: **{escape(row['what'])}** {row['count']:,} "
            f":gray[· first {escape(row['first'])} · {escape(row['remedy'])}]"
            for row in result["table"]
        )
    )
    if result["skipped"]:
        few = len(result["skipped"]) <= _FEW
        with st.expander("File by file", few, icon=":material/image_not_supported:"):
            st.markdown("\n".join(f"- {escape(sentence)}" for sentence in result["skipped"]))
            if result["skipped_more"]:
                st.caption(
                    f"And {result['skipped_more']:,} more, in {escape(str(library.home.ingest_report))}."
                )


def _draw_next(library: Library) -> None:
    """One click further: into the index, or to a search."""
    overview = read_overview(library)
    if not overview.pool_hands:
        return
    if overview.current is None or overview.to_add:
        draw_build(library)
        return
    st.markdown(f"All {pluralize(overview.pool_hands, 'hand')} of the pool can be searched.")
    st.button(
        "Search",
        icon=":material/search:",
        type="primary",
        on_click=session.search_for,
        args=(Question(),),
        help="Go to the search page",
    )


def draw_build(library: Library) -> None:
    """A button that makes the pool's hands searchable: a first version is built, or they are added."""
    overview = read_overview(library)
    is_first = overview.current is None
    refused = refusals(overview, refusal=find_refusal(library), running=_find_running(library))
    reason = refused.get("build" if is_first else "add")
    label = "Build the index" if is_first else f"Add {pluralize(overview.to_add, 'hand')} to the index"
    st.button(
        label,
        key="add_build",
        icon=":material/construction:" if is_first else ":material/add:",
        type="primary",
        on_click=act,
        args=(
            library,
            partial(actions.start_build, library, IndexSettings(), publish=True)
            if is_first
            else partial(actions.start_add, library, publish=True),
        ),
        disabled=reason is not None,
        help=reason or "So that they are found",
    )
    if reason is not None:
        st.caption(escape(reason))
    for work, job in find_jobs(library).items():
        if work != "verify" and job.status in ("failed", "died"):
            draw_ended(library, work, job)

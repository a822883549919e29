"""The actions on an index: what they do, and the dialog that asks before they do it.

Each action is checked here, whatever the page offered.
"""

import json
from dataclasses import asdict
from functools import partial
from typing import Any, Final, Literal

import streamlit as st

from apps.browser.access import check_may_manage
from apps.browser.index.overview import (
    DIALOGS,
    Action,
    Overview,
    earlier_version,
    pruned,
    what_happens,
)
from apps.browser.library import Library
from apps.browser.ui import escape
from handsim.errors import HandsimError
from handsim.processes import module_command
from index import Catalog, IndexSettings

Work = Literal["build", "add", "verify"]
WORKS: Final[dict[Work, str]] = {"build": "Build", "add": "Add hands", "verify": "Verify"}
"""Jobs of an index, for people."""


def start_build(library: Library, settings: IndexSettings, *, publish: bool) -> str:
    """Start to build a new version of the whole pool; raises HandsimError while another one is built."""
    _check_nobody_builds(_catalog(library))
    return _start(library, "build", "--settings", json.dumps(asdict(settings)), publish=publish)


def start_add(library: Library, *, publish: bool) -> str:
    """Start to add the pool's new hands in a new version; raises HandsimError while another one is built."""
    _check_nobody_builds(_catalog(library))
    return _start(library, "add", publish=publish)


def start_verify(library: Library, name: str) -> str:
    """Start to verify a version; raises NotThereError when there is none of that name."""
    return _start(library, "verify", "--version", _catalog(library).info(name).name)


def stop(library: Library, work: Work) -> str:
    check_may_manage(library)
    if library.jobs.stop(work):
        return f"{WORKS[work]}: stopped."
    return f"{WORKS[work]} had ended already."


def publish(library: Library, name: str) -> str:
    """Make a version the current one; raises NotThereError when it was removed meanwhile."""
    _catalog(library).publish(name)
    return f"{name} is now the current version."


def roll_back(library: Library, expected: str) -> str:
    """Go back to the version published before; raises HandsimError where that is not the ``expected`` one."""
    catalog = _catalog(library)
    earlier = earlier_version(catalog, catalog.versions())
    if earlier is not None and earlier != expected:
        raise HandsimError(
            f"others published or removed versions meanwhile: rolling back now leads to {earlier}, not to "
            f"{expected}; look again"
        )
    return f"{catalog.rollback()} is now the current version again."


def remove(library: Library, name: str) -> str:
    """Remove a version for good; raises HandsimError for the current one, or one that a reader has open."""
    catalog = _catalog(library)
    _leave_old_version(library)
    if not catalog.remove(name):
        raise HandsimError(f"a reader has {name} open; end it first, or wait")
    return f"{name} is removed."


def prune(library: Library, keep: int) -> str:
    """Keep the newest versions alone, and those that are current or in use."""
    catalog = _catalog(library)
    _leave_old_version(library)
    remnants = [] if catalog.active_builder() else [str(remnant) for remnant in catalog.remnants()]
    removed, in_use = catalog.prune(keep)
    removed = [*remnants, *removed]
    message = f"Removed {', '.join(removed)}." if removed else "There was nothing to remove."
    return f"{message} Left {', '.join(in_use)}: readers have them open." if in_use else message


def _catalog(library: Library) -> Catalog:
    """The catalog, for those who may change it."""
    check_may_manage(library)
    return library.catalog


def _check_nobody_builds(catalog: Catalog) -> None:
    if builder := catalog.active_builder():
        raise HandsimError(f"a version is being built by {builder}; wait for it to end, or stop it")


def _start(library: Library, work: Work, *words: str, publish: bool = True) -> str:
    command = module_command("apps.browser.index.job", work, "--home", str(library.home.path), *words)
    if library.settings.index is not None:
        command += ["--index", library.settings.index]
    if not publish:
        command.append("--no-publish")
    library.jobs.start(work, command)
    return f"{WORKS[work]}: started; it continues when this page is closed."


def _leave_old_version(library: Library) -> None:
    """Have the browser itself open the current version, so that it keeps no other one open."""
    if library.catalog.current_name() is not None:
        with library.open_version():
            pass


_PENDING: Final = "index_pending"
_OUTCOME: Final = "index_outcome"
_PUBLISH: Final = "index_option_publish"
_KEEP: Final = "index_option_keep"
_SETTING: Final = "index_option_"
_VERSIONS_TO_KEEP: Final = 2
_ON_A_VERSION: Final = {
    "verify": start_verify,
    "publish": publish,
    "rollback": roll_back,
    "remove": remove,
}
_GRAPH: Final = {
    "m": "Links a hand has in the graph. More find more and cost memory",
    "ef_construct": "Candidates looked at for each link. More build slower",
    "ef": "Candidates that a query looks at. More find more, more slowly",
}
_SPREAD: Final = {
    "shards": "Parts that the server's nodes share out",
    "replicas": "Nodes that hold each part",
}
"""Settings of a server's index alone."""


def ask(action: Action, name: str = "") -> None:
    """Make an action pending: the page shows its dialog. ``name`` is the version, where it is about one."""
    st.session_state[_PENDING] = (action, name)


def act(library: Library, run: partial[str]) -> None:
    """Run an action, as a callback; the page then shows the outcome."""
    st.session_state.pop(_PENDING, None)
    try:
        st.session_state[_OUTCOME] = (True, run())
    except (HandsimError, OSError) as error:
        st.session_state[_OUTCOME] = (False, str(error))


def show_outcome() -> None:
    done, message = st.session_state.pop(_OUTCOME, (True, ""))
    if message and done:
        st.toast(escape(message), icon=":material/check:")
    elif message:
        st.error(escape(message), icon=":material/error:")


def show_dialog(library: Library, overview: Overview) -> None:
    pending: tuple[Action, str] | None = st.session_state.get(_PENDING)
    if pending is not None:
        action, name = pending
        title, _ = DIALOGS[action]
        st.dialog(f"{title}: {name}" if name else title, on_dismiss=_close)(_body)(
            library, overview, action, name
        )


def _close() -> None:
    st.session_state.pop(_PENDING, None)


def _body(library: Library, overview: Overview, action: Action, name: str) -> None:
    if st.session_state.get(_PENDING) != (action, name):
        st.rerun()  # it was answered: redrawing the page closes the dialog
    for sentence in what_happens(overview, action, name):
        st.markdown(escape(sentence))
    run = _choose_action(library, overview, action, name)
    with st.container(horizontal=True, horizontal_alignment="right"):
        st.button("Cancel", key="index_no", on_click=_close, help="Leave everything as it is")
        st.button(
            DIALOGS[action][1],
            key="index_yes",
            type="primary",
            on_click=None if run is None else act,
            args=(library, run),
            disabled=run is None,
            help="Do it now",
        )


def _choose_action(library: Library, overview: Overview, action: Action, name: str) -> partial[str] | None:
    """The action with the settings chosen in the dialog; None where they are invalid."""
    match action:
        case "build":
            at_once, settings = _choose_publish(), _choose_settings(overview.is_on_server)
            return None if settings is None else partial(start_build, library, settings, publish=at_once)
        case "add":
            return partial(start_add, library, publish=_choose_publish())
        case "prune":
            return partial(prune, library, _choose_keep(overview))
        case _:
            return partial(_ON_A_VERSION[action], library, name)


def _choose_publish() -> bool:
    return st.toggle(
        "Publish it once it is verified",
        value=True,
        key=_PUBLISH,
        help="Everybody is then answered by it from their next question on. Else it waits to be published",
    )


def _choose_keep(overview: Overview) -> int:
    keep = int(
        st.number_input(
            "Newest versions to keep",
            1,
            value=_VERSIONS_TO_KEEP,
            key=_KEEP,
            help="Besides the current one and those in use",
        )
    )
    names = [*map(str, overview.remnants), *pruned(overview, keep)]
    st.markdown(f"That removes **{', '.join(names)}**." if names else "That removes no version.")
    return keep


def _choose_settings(on_server: bool) -> IndexSettings | None:
    """The graph's settings; None, with the reason, where they are out of their bounds."""
    usual = IndexSettings()
    values: dict[str, Any] = {}
    with st.expander("Graph", icon=":material/tune:"):
        for name, help in (_GRAPH | _SPREAD if on_server else _GRAPH).items():
            usual_value = getattr(usual, name)
            values[name] = int(
                st.number_input(name, value=usual_value, step=1, key=_SETTING + name, help=help)
            )
        if on_server:
            values["on_disk"] = st.toggle(
                "on disk",
                key=_SETTING + "on_disk",
                help="Leave vectors and graph on disk: less memory, slower",
            )
        try:
            return IndexSettings(**values)
        except HandsimError as error:
            st.error(escape(str(error)))
            return None

"""Actions on the index are asked about first: what will be done, and the button that does it."""

from functools import partial
from typing import Final

import streamlit as st

from apps.browser.library import Library
from apps.browser.trouble import plain
from apps.browser.versions import actions
from apps.browser.versions.overview import Action, Overview
from apps.browser.versions.wording import TITLES, VERBS, pruned, what_happens
from handsim.errors import HandsimError
from index import IndexSettings

_ASKED: Final = "index_asked"
_OUTCOME: Final = "index_outcome"
_PUBLISH: Final = "index_option_publish"
_KEEP: Final = "index_option_keep"
_SETTING: Final = "index_option_"
_KEPT: Final = 2


def ask(action: Action, name: str = "") -> None:
    """Have the page ask about an action, on a version where it is about one."""
    st.session_state[_ASKED] = (action, name)


def act(library: Library, run: partial[str]) -> None:
    """Do it, as a callback; the page then says what came of it."""
    st.session_state.pop(_ASKED, None)
    try:
        st.session_state[_OUTCOME] = (True, run())
    except (HandsimError, OSError) as error:
        st.session_state[_OUTCOME] = (False, str(error))


def outcome() -> None:
    """What came of the last action, said once."""
    done, said = st.session_state.pop(_OUTCOME, (True, ""))
    if said and done:
        st.toast(plain(said), icon=":material/check:")
    elif said:
        st.error(plain(said), icon=":material/error:")


def question(library: Library, seen: Overview) -> None:
    """The dialog, while something is asked about."""
    asked: tuple[Action, str] | None = st.session_state.get(_ASKED)
    if asked is not None:
        action, name = asked
        title = f"{TITLES[action]}: {name}" if name else TITLES[action]
        st.dialog(title, on_dismiss=_leave)(_body)(library, seen, action, name)


def _leave() -> None:
    st.session_state.pop(_ASKED, None)


def _body(library: Library, seen: Overview, action: Action, name: str) -> None:
    if st.session_state.get(_ASKED) != (action, name):
        st.rerun()  # it was answered: the dialog closes with the page drawn anew
    for sentence in what_happens(seen, action, name):
        st.markdown(plain(sentence))
    run = _chosen(library, seen, action, name)
    with st.container(horizontal=True, horizontal_alignment="right"):
        st.button("Cancel", key="index_no", on_click=_leave, help="Leave everything as it is")
        st.button(
            VERBS[action],
            key="index_yes",
            type="primary",
            on_click=None if run is None else act,
            args=(library, run),
            disabled=run is None,
            help="Do it now",
        )


def _chosen(library: Library, seen: Overview, action: Action, name: str) -> partial[str] | None:
    """The action with what is chosen about it in the dialog; None where that cannot be."""
    match action:
        case "build":
            publish, settings = _publish(), _settings(seen.is_on_server)
            if settings is None:
                return None
            return partial(actions.start_build, library, settings, publish=publish)
        case "add":
            return partial(actions.start_add, library, publish=_publish())
        case "verify":
            return partial(actions.start_verify, library, name)
        case "publish":
            return partial(actions.publish, library, name)
        case "rollback":
            return partial(actions.roll_back, library, name)
        case "remove":
            return partial(actions.remove, library, name)
        case "prune":
            return partial(actions.prune, library, _keep(seen))


def _publish() -> bool:
    return st.toggle(
        "Publish it once it is verified",
        value=True,
        key=_PUBLISH,
        help="Everybody is then answered by it from their next question on. Else it waits to be published",
    )


def _keep(seen: Overview) -> int:
    keep = int(
        st.number_input(
            "Newest versions to keep",
            1,
            value=_KEPT,
            key=_KEEP,
            help="Besides the current one and those in use",
        )
    )
    names = pruned(seen, keep)
    st.markdown(f"That removes **{', '.join(names)}**." if names else "That removes no version.")
    return keep


def _settings(on_server: bool) -> IndexSettings | None:
    """The graph's settings; None, with the reason, where they are out of their bounds."""
    usual = IndexSettings()
    with st.expander("Graph", icon=":material/tune:"):
        m = _number("m", usual.m, "Links a hand has in the graph. More find more and cost memory")
        ef_construct = _number(
            "ef_construct", usual.ef_construct, "Candidates looked at for each link. More build slower"
        )
        ef = _number("ef", usual.ef, "Candidates that a query looks at. More find more, more slowly")
        if not on_server:
            return _checked(usual.shards, usual.replicas, m, ef_construct, ef, on_disk=False)
        shards = _number("shards", usual.shards, "Parts that the server's nodes share out")
        replicas = _number("replicas", usual.replicas, "Nodes that hold each part")
        on_disk = st.toggle(
            "on disk", key=_SETTING + "on_disk", help="Leave vectors and graph on disk: less memory, slower"
        )
        return _checked(shards, replicas, m, ef_construct, ef, on_disk=on_disk)


def _number(name: str, usual: int, help: str) -> int:
    return int(st.number_input(name, value=usual, step=1, key=_SETTING + name, help=help))


def _checked(
    shards: int, replicas: int, m: int, ef_construct: int, ef: int, *, on_disk: bool
) -> IndexSettings | None:
    try:
        return IndexSettings(
            m=m, ef_construct=ef_construct, ef=ef, shards=shards, replicas=replicas, on_disk=on_disk
        )
    except HandsimError as error:
        st.error(plain(str(error)))
        return None

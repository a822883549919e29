"""The header of every page: the tool, the home and the index version in use; Copy link; saved views.

It lies in the bar that Streamlit has above its pages (page.css), so it takes no room from them.
"""

from collections.abc import Callable
from html import escape as escape_html
from typing import Final

import streamlit as st
from streamlit.errors import StreamlitAPIException

from apps.browser import session
from apps.browser.access import check_may_manage, find_refusal
from apps.browser.components.copy_link import copy_link
from apps.browser.library import Library
from apps.browser.ui import escape, show_errors
from handsim.errors import HandsimError, UnavailableError
from handsim.views import SavedView, SavedViews

_REFRESH_S: Final = 10
_TOAST: Final = "views_toast"
_NAME: Final = "views_name"
_NEW_NAME: Final = "views_new_name"
_CHOSEN: Final = "views_chosen"


def draw_header(library: Library) -> None:
    with st.container(horizontal=True, key="header"):
        _draw_place(library)
        copy_link(key="header_link")
        _draw_views(library)


@st.fragment(run_every=_REFRESH_S)
def _draw_place(library: Library) -> None:
    """Drawn again by the clock: searches use a version as soon as it is published."""
    home = library.home.path.resolve().name or "/"
    parts = {"tool": "handsim", "home": home, "version": _describe_version(library)}
    spans = [
        f'<span class="{name}" title="{escape_html(text)}">{escape_html(text)}</span>'
        for name, text in parts.items()
    ]
    st.html(f'<div class="handsim-place">{"".join(spans)}</div>')


def _describe_version(library: Library) -> str:
    try:
        return library.catalog.current_name() or "no version in use"
    except UnavailableError:
        return "the index does not answer"
    except (HandsimError, OSError):
        return "no index"


@st.fragment
def _draw_views(library: Library) -> None:
    if text := st.session_state.pop(_TOAST, None):
        st.toast(text)
    # What is in it is drawn once it is open: no page waits for the file.
    popover = st.popover(
        "Views",
        icon=":material/bookmarks:",
        type="tertiary",
        help="Open a saved view, or save this one",
        key="header_views",
        on_change="rerun",
    )
    if popover.open:
        with popover, show_errors():
            _draw_open(library)


def _draw_open(library: Library) -> None:
    saved = SavedViews(library.home.views)
    views = saved.read()
    if not views:
        st.caption("No view is saved yet. A view is a page with all that it shows, by a name.")
    for number, view in enumerate(views):
        st.button(
            escape(view.name),
            key=f"views_open_{number}",
            on_click=_open,
            args=(view,),
            width="stretch",
            type="tertiary",
        )
    if refusal := find_refusal(library):
        st.caption(f"{escape(refusal)}. So no view can be saved.")
        return
    st.text_input("Name", key=_NAME, max_chars=80, placeholder="thumbs, two nearest")
    st.button("Save this view", type="primary", on_click=_change, args=(library, lambda: _save(saved)))
    if views:
        with st.expander("Rename or delete"):
            st.selectbox("View", [view.name for view in views], key=_CHOSEN)
            st.text_input("New name", key=_NEW_NAME, max_chars=80)
            with st.container(horizontal=True):
                st.button("Rename", on_click=_change, args=(library, lambda: _rename(saved)))
                st.button("Delete", on_click=_change, args=(library, lambda: _delete(saved)))


def _change(library: Library, change: Callable[[], str]) -> None:
    """A button's work; what it returns, or its error, is shown as a toast."""
    try:
        check_may_manage(library)
        st.session_state[_TOAST] = change()
    except (HandsimError, OSError) as error:
        st.session_state[_TOAST] = escape(str(error))


def _open(view: SavedView) -> None:
    try:
        session.open_address(view.address)
    except StreamlitAPIException:  # of another version of handsim, perhaps
        st.session_state[_TOAST] = escape(f"This browser has no page {view.address[:60]!r}.")


def _save(saved: SavedViews) -> str:
    view = saved.save(st.session_state[_NAME], session.read_address())
    st.session_state[_NAME] = ""
    return f"Saved as {escape(view.name)}."


def _rename(saved: SavedViews) -> str:
    renamed = saved.rename(st.session_state[_CHOSEN], st.session_state[_NEW_NAME])
    st.session_state[_NEW_NAME] = ""
    return f"Now named {escape(renamed.name)}."


def _delete(saved: SavedViews) -> str:
    name = st.session_state[_CHOSEN]
    saved.delete(name)
    return f"Deleted: {escape(name)}."

"""Who may look at the home and who may change it: asked where that is done, whatever a page offered."""

from typing import Final

import streamlit as st

from apps.browser.library import Library
from apps.browser.sign_in import Role
from apps.browser.ui import escape
from handsim.errors import HandsimError

READ_ONLY: Final = (
    "This browser is read-only: it was started with --read-only, or where other computers reach it, without "
    "--allow-actions"
)


def find_refusal(library: Library) -> str | None:
    """Why this visitor may not change the home, in a sentence without its full stop; None: they may."""
    if not library.settings.actions:
        return READ_ONLY
    if find_role(library) != "manage":
        return f"{_name_visitor()} may look at this home, not change it (handsim.toml says who may)"
    return None


def find_role(library: Library) -> Role | None:
    """What this visitor may do; None: not even look. Without a sign-in, everybody may do everything."""
    sign_in = library.sign_in
    return "manage" if sign_in is None else sign_in.find_role(st.user.to_dict())


def _name_visitor() -> str:
    user = st.user.to_dict()
    return str(user.get("email") or user.get("name") or user.get("sub") or "This visitor")


def draw_gate() -> None:
    """The page of a visitor who may not look yet, or not at all."""
    if not st.user.is_logged_in:
        st.markdown("This home is shown to those who sign in.")
        st.button("Sign in", icon=":material/login:", type="primary", on_click=st.login)
        return
    st.warning(
        f"{escape(_name_visitor())} is signed in, and may not look at this home. Ask whoever runs it "
        "(`handsim.toml` says who may), or sign in as somebody else.",
        icon=":material/lock:",
    )
    st.button("Sign out", icon=":material/logout:", on_click=st.logout)


def draw_visitor(library: Library) -> None:
    """Who is signed in, at the foot of a page; nothing without a sign-in."""
    if library.sign_in is None:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        may = "look and manage" if find_role(library) == "manage" else "look"
        st.caption(f"{escape(_name_visitor())} is signed in, and may {may}.")
        st.button("Sign out", icon=":material/logout:", type="tertiary", on_click=st.logout)


def check_may_manage(library: Library) -> None:
    """Raise HandsimError for a visitor who may only look."""
    if refusal := find_refusal(library):
        raise HandsimError(refusal)

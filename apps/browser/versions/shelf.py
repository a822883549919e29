"""The versions as a table, and the chosen one as a card."""

from typing import Final

import streamlit as st

from apps.browser.trouble import plain
from apps.browser.versions.asking import ask
from apps.browser.versions.overview import Action, Overview, told_embedding
from index import VersionInfo
from index.verification import LEAST_RECALL

_CHOSEN: Final = "index_chosen"
_BUTTONS: Final[tuple[tuple[Action, str, str, str], ...]] = (
    ("publish", "Publish", ":material/publish:", "Make it the current version, for everybody"),
    ("verify", "Verify", ":material/fact_check:", "Read all of it, compare with exact search"),
    ("remove", "Remove", ":material/delete:", "Remove it for good"),
)


def table(seen: Overview) -> VersionInfo:
    """Draw the versions, newest first; returns the one that is chosen."""
    names = [info.name for info in seen.versions]
    before = st.session_state.get(_CHOSEN)
    if before not in names:
        before = next((info.name for info in seen.versions if info.is_current), names[0])
    picked = st.dataframe(
        {
            "Version": names,
            "Standing": [standing(info) for info in seen.versions],
            "Hands": [info.points for info in seen.versions],
            "Recall@1": [info.recall_at_1 for info in seen.versions],
            "Embedding": [told_embedding(info) for info in seen.versions],
            "Built (UTC)": [_built(info) for info in seen.versions],
            "Took": [info.build_seconds for info in seen.versions],
            "Size": [
                None if info.bytes_on_disk is None else info.bytes_on_disk / 1e6 for info in seen.versions
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
    chosen = seen.versions[rows[0]] if rows and rows[0] < len(names) else seen.versions[names.index(before)]
    if chosen.name != before:  # who chose none sees the current one, whichever that is
        st.session_state[_CHOSEN] = chosen.name
    return chosen


def standing(info: VersionInfo) -> str:
    """What to know of a version before anything else."""
    if info.recall_at_1 is None:
        minded = "not verified"
    else:
        minded = "low recall" if info.recall_at_1 < LEAST_RECALL else ""
    return ", ".join(word for word in ("current" if info.is_current else "", minded) if word)


def card(info: VersionInfo, refused: dict[Action, str]) -> None:
    """One version: its facts, and what can be done to it."""
    with st.container(border=True):
        st.subheader(f"{plain(info.name)}{' · current' if info.is_current else ''}", anchor=False)
        st.table({what: plain(value) for what, value in facts(info).items()}, border="horizontal")
        with st.container(horizontal=True):
            for action, label, icon, help in _BUTTONS:
                button(action, label, icon, help, refused, info.name)


def of_version(info: VersionInfo, refused: dict[Action, str]) -> dict[Action, str]:
    """The refusals, and those that only a version has."""
    if not info.is_current:
        return refused
    return {
        "publish": "It is the current version",
        "remove": "It is the current version; publish another one first",
        **refused,
    }


def button(
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


def facts(info: VersionInfo) -> dict[str, str]:
    """What is known of a version, for people."""
    settings = info.settings
    known = {
        "Hands": f"{info.points:,}",
        "Recall@1": "never verified" if info.recall_at_1 is None else f"{info.recall_at_1:.4f}",
        "Embedding": told_embedding(info),
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

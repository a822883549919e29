"""The map page: all poses in the plane, near means similar, and what the question of Search says about them.

Four fragments share a map, so that each is drawn again without the others: the question with its conditions
and its answer; the canvas with its colours; the hands within an outline; and the hand under the pointer.
Without a map, the page offers to make one.
"""

from dataclasses import replace
from typing import Any, Final

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from apps.browser import address, session
from apps.browser.components.hand_grid import hand_grid
from apps.browser.components.pose_map import (
    choice_channel,
    describe_hover,
    hover_channel,
    link_channel,
)
from apps.browser.library import Library
from apps.browser.map.cache import find_groups_of, find_map, read_columns
from apps.browser.map.canvas import TOPIC, draw_canvas
from apps.browser.map.columns import MapColumns
from apps.browser.map.links import Links, find_links
from apps.browser.map.offer import offer_map
from apps.browser.map.pose_map import PoseMap
from apps.browser.map.selection import (
    Choice,
    Outline,
    Summary,
    choose_rows,
    find_rows_within,
    summarise,
)
from apps.browser.map.view import read_outline, read_view, write_outline, write_view
from apps.browser.search.answer import find_crops
from apps.browser.search.controls import draw_hand_conditions, read_question
from apps.browser.search.question import Question
from apps.browser.session import search_for
from apps.browser.tray.choosing import choose_hands, follow_tray, make_chooser, my_tray
from apps.browser.ui import (
    build_card,
    describe_payload,
    escape,
    find_keypoints,
    shorten_id,
    show_errors,
)
from handsim.english import describe_distance, percent, pluralize
from handsim.errors import HandsimError
from handsim.hand import SIDES
from handsim.lists import HandLists

_LINKS: Final = "map_links"
_CANVAS: Final = "map_canvas"
_SELECTION: Final = "map_selection"
_HOVERED: Final = "map_hovered"
_OF_HANDS: Final = ("sources", "labels", "lists", "not_lists", "side")
"""The conditions on hands themselves; the others are on answers."""
_MAX_CARDS: Final = 60
_CHOICES: Final[dict[Choice, str]] = {"middle": "Nearest to the middle", "random": "Some at random"}


def map(library: Library) -> None:
    with show_errors():
        with library.open_version() as version:
            info = version.info
        try:
            pose_map, problem = find_map(library, info), ""
        except HandsimError as error:
            pose_map, problem = None, str(error)
        if pose_map is None:
            offer_map(library, info, problem)
            return
        st.fragment(_draw_question, key=_LINKS)(library, pose_map)
        st.fragment(draw_canvas, key=_CANVAS)(library, pose_map)
        follow_tray(_SELECTION)
        st.fragment(_draw_selection, key=_SELECTION)(library, pose_map)
        st.fragment(_answer_hover)(library, pose_map)


# The question: which hands meet its conditions, and its answer.


def _draw_question(library: Library, pose_map: PoseMap) -> None:
    with show_errors(), address.show_notes():
        question, pool = read_question(library), library.open_pool()
        columns = read_columns(pose_map, pool)
        kept = columns.meets(question.options(library.read_lists).filter)
        with library.open_version() as version:
            name = version.info.name
            try:
                links = find_links(version, pose_map, question, find_crops(question), library.read_lists)
            except HandsimError as error:
                links = Links(notes=(f"{error}.",))
        st.markdown(_describe(pose_map, name, question, int(kept.sum()), links))
        for note in links.notes:
            st.caption(escape(note))
        with st.container(horizontal=True, vertical_alignment="center"):
            active = [each for each in question.conditions if each in _OF_HANDS]
            title = f"Conditions ({len(active)} active)" if active else "Conditions"
            with st.popover(title, icon=":material/tune:"):
                draw_hand_conditions(
                    question,
                    pool,
                    tuple(HandLists(library.home.lists).names()),
                    redraw=(_LINKS, _SELECTION),
                )
            if not question.is_empty:
                st.button(
                    "Results",
                    icon=":material/search:",
                    on_click=search_for,
                    args=(question,),
                    help="Show the results of this query as pictures",
                )
                st.button(
                    "Clear query",
                    icon=":material/close:",
                    on_click=_clear_query,
                    help="Leave the query; its conditions stay",
                )
            has_groups = st.toggle(
                "Groups",
                help="Contours of where many hands lie, and names of the groups: the label that most hands "
                "of one have, or the fingers that they stretch",
                **address.flag("groups", False),
            )
        groups = find_groups_of(pose_map, columns, pool) if has_groups else []
        link_channel(
            pose_map,
            topic=TOPIC,
            key="map_question",
            kept=kept,
            active={
                "labels": question.labels,
                "sources": question.sources,
                "lists": question.lists,
                "side": () if question.side is None else (question.side,),
            },
            lit=links.rows,
            marks=[(mark.row, mark.kind) for mark in links.marks],
            groups=[(*group.place, group.name) for group in groups],
            contours=has_groups,
            on_filter=_filter,
        )


def _describe(pose_map: PoseMap, version: str, question: Question, kept: int, links: Links) -> str:
    part = "" if len(pose_map) == pose_map.hands_in_version else f" of {pose_map.hands_in_version:,}"
    head = f"**{len(pose_map):,}{part} hands**, near means alike :gray[· index {escape(version)}]"
    if kept < len(pose_map):
        head = (
            f"**{kept:,} of {pluralize(len(pose_map), 'hand')}** meet the conditions; the others are grey "
            f":gray[· index {escape(version)}]"
        )
    if not question.is_empty:
        answer = pluralize(len(links.rows), "result") if links.rows else "No result"
        head += f"  \n**{answer}** of the query, with rings."
    return (
        f"{head}  \n:gray[Point at a hand to see it, click to search from it. Draw with **Lasso**, or Shift "
        "and drag, to choose hands; chosen ones stand out.]"
    )


def _clear_query() -> None:
    question = session.read_question()
    session.change_conditions(replace(question, hand=None, like=(), unlike=(), pose=None))
    st.rerun([_LINKS, _CANVAS])


def _filter(field: str, name: str) -> None:
    """Make an entry of the legend a condition, or none any more."""
    question = session.read_question()
    change: dict[str, Any]
    if field == "side":
        change = {"side": name if name in SIDES and name != question.side else None}
    else:
        before: tuple[str, ...] = getattr(question, field)
        change = {
            field: tuple(each for each in before if each != name) if name in before else (*before, name)
        }
    session.change_conditions(replace(question, **change))
    st.rerun([_LINKS, _SELECTION])


# The hand under the pointer.


def _answer_hover(library: Library, pose_map: PoseMap) -> None:
    """Send what the tooltip shows; draws nothing itself."""
    with show_errors():
        hovered: tuple[str, int, int] | None = st.session_state.get(_HOVERED)
        answer = None
        if hovered is not None and hovered[0] == pose_map.checksum:
            _, row, turn = hovered
            hand, pool = int(pose_map.hand_ids[row]), library.open_pool()
            picture = None if find_keypoints(pool, hand) is None else library.thumbnails.get_uri(pool, hand)
            lines = _describe_row(pose_map, read_columns(pose_map, pool), row)
            answer = describe_hover(pose_map, row, turn, picture, shorten_id(hand), lines)
        hover_channel(
            pose_map,
            topic=TOPIC,
            key="map_hover",
            on_hover=lambda row, turn: st.session_state.update({_HOVERED: (pose_map.checksum, row, turn)}),
            answer=answer,
            view=read_view(),
            on_view=write_view,
        )


def _describe_row(pose_map: PoseMap, columns: MapColumns, row: int) -> tuple[str, ...]:
    values = (columns.sides[row], columns.labels[row], columns.sources[row])
    distance = float(pose_map.distances[row])
    nearest = f"{describe_distance(distance)} to another video" if np.isfinite(distance) else "no other video"
    return (columns.videos[row] or "", " · ".join(value for value in values if value), nearest)


# The hands within an outline.


def _draw_selection(library: Library, pose_map: PoseMap) -> None:
    """Receive clicks and outlines from the canvas, and show the hands within the outline."""
    with show_errors(), address.show_notes():
        read_view()  # here it is said if that cannot be
        outline = read_outline(pose_map)
        chosen = np.zeros(len(pose_map), dtype=np.bool_)
        rows = pose_map.find_rows(my_tray(library).hand_ids)
        chosen[rows[rows >= 0]] = True
        choice_channel(
            pose_map,
            topic=TOPIC,
            key="map_choices",
            outline=outline,
            chosen=chosen,
            on_pick=lambda row: search_for(Question(hand=int(pose_map.hand_ids[row]))),
            on_toggle=lambda row: _toggle(library, int(pose_map.hand_ids[row])),
            on_outline=lambda new: _choose_within(library, pose_map, new),
        )
        if outline is not None:
            _draw_sheet(library, pose_map, outline)


def _choose_within(library: Library, pose_map: PoseMap, outline: Outline) -> None:
    write_outline(pose_map, outline)
    drawn = read_outline(pose_map)
    choose_hands(library, pose_map.hand_ids[_find_rows(library, pose_map, drawn)] if drawn else [])


def _toggle(library: Library, hand: int) -> None:
    is_chosen = bool(my_tray(library).contains([hand])[0])
    choose_hands(library, [] if is_chosen else [hand], [hand] if is_chosen else [])


def _find_rows(library: Library, pose_map: PoseMap, outline: Outline) -> NDArray[np.intp]:
    """[n] rows of the hands within an outline that meet the conditions."""
    rows = find_rows_within(pose_map, outline)
    conditions = read_question(library).options(library.read_lists).filter
    kept = read_columns(pose_map, library.open_pool()).meets(conditions)
    return rows[kept[rows]]


def _draw_sheet(library: Library, pose_map: PoseMap, outline: Outline) -> None:
    rows = _find_rows(library, pose_map, outline)
    labels = read_columns(pose_map, library.open_pool()).labels
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(_describe_summary(summarise(pose_map, rows, labels)))
        st.button(
            "Close",
            icon=":material/close:",
            on_click=write_outline,
            args=(pose_map, None),
            help="Remove the outline; its hands stay chosen",
        )
    choice: Choice = "middle"
    if len(rows) > _MAX_CARDS:
        choice = st.segmented_control(
            "Shown",
            list(_CHOICES),
            required=True,
            format_func=_CHOICES.__getitem__,
            help=f"Which {_MAX_CARDS} of the hands within",
            **address.option("shown", list(_CHOICES), "middle"),
        )
    if not len(rows):
        return
    rows = choose_rows(pose_map, rows, _MAX_CARDS, choice)
    st.caption("Below each: its distance to the nearest hand of another video.")
    hands = pose_map.hand_ids[rows].tolist()
    with library.open_version() as version:
        pool, payloads = library.open_pool(), version.payloads(hands)
    distances = [
        describe_distance(float(distance)) if np.isfinite(distance) else ""
        for distance in pose_map.distances[rows]
    ]
    hand_grid(
        [
            build_card(library, pool, hand, distance, describe_payload(payload))
            for hand, distance, payload in zip(hands, distances, payloads, strict=True)
        ],
        key="map_sheet",
        label="Hands within the outline",
        on_pick=lambda hand: search_for(Question(hand=hand)),
        compact=True,
        chooser=make_chooser(library),
    )


def _describe_summary(summary: Summary) -> str:
    if not summary.hands:
        return "**No hand** lies within that meets the conditions; draw around some points."
    details = [f"{escape(name)} {percent(share)}" for name, share in summary.labels]
    if summary.median_distance is not None:
        details.append(f"median {describe_distance(summary.median_distance)} to another video")
    if summary.hands > _MAX_CARDS:
        details.append(f"{_MAX_CARDS} shown")
    counts = f"**{pluralize(summary.hands, 'hand')}** of {pluralize(summary.videos, 'video')}"
    return f"{counts} :gray[· {' · '.join(details)}]" if details else counts

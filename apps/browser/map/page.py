"""The map page: all poses in the plane, near means similar.

Three fragments share a map, so that each is drawn again without the others: the canvas with its colours, the
hands within an outline, and the hand under the pointer. Without a map, the page offers to make one.
"""

from typing import Final, get_args

import numpy as np
import streamlit as st

from apps.browser.components.hand_grid import hand_grid
from apps.browser.components.pose_map import (
    choice_channel,
    describe_hover,
    hover_channel,
    map_canvas,
)
from apps.browser.jobs import Job
from apps.browser.library import Library
from apps.browser.map.build import JOB, MAX_FITTED, MAX_HANDS, start_job
from apps.browser.map.cache import find_map
from apps.browser.map.pose_map import PoseMap
from apps.browser.map.selection import (
    MAX_CLASSES,
    Choice,
    ColourBy,
    Outline,
    Summary,
    choose_rows,
    colour,
    find_rows_within,
    summarise,
)
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
    show_log,
)
from handsim.english import describe_distance, percent, pluralize
from handsim.errors import HandsimError
from handsim.hand import parse_hand_id
from index import VersionInfo

_TOPIC: Final = "pose_map"
_HOVERED: Final = "map_hovered"
_OUTLINE: Final = "map_outline"
_SELECTION: Final = "map_selection"
_START_ERROR: Final = "map_start_error"
_DRAWN_CHOICES: Final = (2_000, 5_000, 10_000, 20_000)
"""How many hands can be drawn."""
_DRAWN_DEFAULT: Final = 10_000
_MAX_CARDS: Final = 60
_POLL_S: Final = 1.0
_COLOUR_HELP: Final = (
    "Label, source and video of each hand, or its distance to the nearest hand of another video: "
    "the longer, the fewer pairs to learn from"
)
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
            _offer_map(library, info, problem)
            return
        _draw_head(pose_map)
        st.fragment(_draw_canvas)(library, pose_map)
        follow_tray(_SELECTION)
        st.fragment(_draw_selection, key=_SELECTION)(library, pose_map)
        st.fragment(_answer_hover)(library, pose_map)


def _draw_head(pose_map: PoseMap) -> None:
    part = "" if len(pose_map) == pose_map.hands_in_version else f" of {pose_map.hands_in_version:,}"
    st.markdown(
        f"**{len(pose_map):,}{part} hands**, near means alike :gray[· index {escape(pose_map.version)}]  \n"
        ":gray[Point at a hand to see it, click to search from it. Draw with **Lasso**, or Shift and drag, "
        "to choose hands; chosen ones stand out.]"
    )
    hand = st.query_params.get("hand")
    if hand is not None and _find_marked_row(pose_map) is None:
        st.caption(f"Hand {escape(hand[:16])} is not on this map.")


def _find_marked_row(pose_map: PoseMap) -> int | None:
    """The row of the hand in the address; None without one, or if it is not on the map."""
    try:
        return pose_map.find_row(parse_hand_id(st.query_params.get("hand", "")))
    except HandsimError:
        return None


# The canvas.


def _draw_canvas(library: Library, pose_map: PoseMap) -> None:
    with show_errors():
        with library.open_version() as version:
            if not pose_map.matches(version.info):
                st.rerun()  # another version was published; the page looks for its map
        with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
            by: ColourBy = st.segmented_control(
                "Colour by",
                list(get_args(ColourBy)),
                default=_default_colour(pose_map),
                required=True,
                format_func=str.capitalize,
                key="colour",
                bind="query-params",
                help=_COLOUR_HELP,
            )
            most = _choose_drawn_count(pose_map)
        colouring = colour(pose_map, by)
        note = ""
        if colouring.kind == "scale":
            note = "to the nearest hand of another video"
        elif colouring.kind == "hues":
            note = (
                f"{colouring.name_count:,} {by}s, more than the {MAX_CLASSES} that a "
                "legend has room for: point at a hand to read its own"
            )
        map_canvas(
            pose_map,
            colouring,
            key=_TOPIC,
            most=most,
            unknown="no other video" if by == "distance" else f"no {by}",
            note=note,
            marked_row=_find_marked_row(pose_map),
        )


def _default_colour(pose_map: PoseMap) -> ColourBy:
    if pose_map.labels.names:
        return "label"
    return "source" if len(pose_map.sources.names) > 1 else "distance"


def _choose_drawn_count(pose_map: PoseMap) -> int:
    """How many hands to draw; a slider if there are more than the least choice."""
    if len(pose_map) <= _DRAWN_CHOICES[0]:
        return _DRAWN_CHOICES[0]
    options = [count for count in _DRAWN_CHOICES if count < len(pose_map)]
    options += [count for count in _DRAWN_CHOICES if count >= len(pose_map)][:1]
    count: int = st.select_slider(
        "Hands drawn",
        options,
        value=min(_DRAWN_DEFAULT, options[-1]),
        format_func=lambda count: f"{min(count, len(pose_map)):,}",
        key="drawn",
        width=260,
        help="A random part is quicker to move; an outline still selects all hands within it",
    )
    return count


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
            lines = _describe_row(pose_map, row)
            answer = describe_hover(pose_map, row, turn, picture, shorten_id(hand), lines)
        hover_channel(
            pose_map,
            topic=_TOPIC,
            key="map_hover",
            on_hover=lambda row, turn: st.session_state.update({_HOVERED: (pose_map.checksum, row, turn)}),
            answer=answer,
        )


def _describe_row(pose_map: PoseMap, row: int) -> tuple[str, ...]:
    parts = [part for part in (pose_map.labels[row], pose_map.sources[row]) if part]
    distance = float(pose_map.distances[row])
    nearest = f"{describe_distance(distance)} to another video" if np.isfinite(distance) else "no other video"
    return (pose_map.videos[row] or "", " · ".join(parts), nearest)


# The hands within an outline.


def _draw_selection(library: Library, pose_map: PoseMap) -> None:
    """Receive clicks and outlines from the canvas, and show the hands within the outline."""
    with show_errors():
        outline = _current_outline(pose_map)
        choice_channel(
            pose_map,
            topic=_TOPIC,
            key="map_choices",
            outline=outline,
            chosen=my_tray(library).contains(pose_map.hand_ids[pose_map.drawing_order[: _DRAWN_CHOICES[-1]]]),
            on_pick=lambda row: search_for(Question(hand=int(pose_map.hand_ids[row]))),
            on_outline=lambda new: _choose_within(library, pose_map, new),
        )
        if outline is not None:
            _draw_sheet(library, pose_map, outline)


def _set_outline(pose_map: PoseMap, outline: Outline | None) -> None:
    st.session_state[_OUTLINE] = (pose_map.version, pose_map.checksum, outline)


def _choose_within(library: Library, pose_map: PoseMap, outline: Outline) -> None:
    _set_outline(pose_map, outline)
    choose_hands(library, pose_map.hand_ids[find_rows_within(pose_map, outline)])


def _current_outline(pose_map: PoseMap) -> Outline | None:
    """What this visitor drew on this map."""
    saved: tuple[str, str, Outline | None] | None = st.session_state.get(_OUTLINE)
    return saved[2] if saved is not None and saved[:2] == (pose_map.version, pose_map.checksum) else None


def _draw_sheet(library: Library, pose_map: PoseMap, outline: Outline) -> None:
    rows = find_rows_within(pose_map, outline)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(_describe_summary(summarise(pose_map, rows)))
        st.button(
            "Close",
            icon=":material/close:",
            on_click=_set_outline,
            args=(pose_map, None),
            help="Remove the outline; its hands stay chosen",
        )
    choice: Choice = "middle"
    if len(rows) > _MAX_CARDS:
        choice = st.segmented_control(
            "Shown",
            list(_CHOICES),
            default="middle",
            required=True,
            format_func=_CHOICES.__getitem__,
            key="map_choice",
            help=f"Which {_MAX_CARDS} of the hands within",
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
        return "**No hand** lies within; draw around some points."
    details = [f"{escape(name)} {percent(share)}" for name, share in summary.labels]
    if summary.median_distance is not None:
        details.append(f"median {describe_distance(summary.median_distance)} to another video")
    if summary.hands > _MAX_CARDS:
        details.append(f"{_MAX_CARDS} shown")
    counts = f"**{pluralize(summary.hands, 'hand')}** of {pluralize(summary.videos, 'video')}"
    return f"{counts} :gray[· {' · '.join(details)}]" if details else counts


# Without a map.


def _offer_map(library: Library, info: VersionInfo, problem: str) -> None:
    """Offer to make the map, or show the progress; ``problem`` says why an existing file is no use."""
    job = library.jobs.find(JOB)
    if job is not None and job.status == "running":
        st.fragment(_draw_progress, run_every=_POLL_S)(library)
        return
    if problem:
        st.warning(escape(problem), icon=":material/broken_image:")
    minutes = 2 + min(info.points, MAX_HANDS) // 200_000  # on two idle cores
    duration = "about a minute" if info.points <= MAX_FITTED else f"about {minutes} minutes"
    st.info(
        f"**No map of index {escape(info.name)} yet.** It places its {pluralize(info.points, 'hand')} such "
        f"that similar poses lie near each other. Making it takes {duration}; it is made once and stored, "
        "and you may use other pages meanwhile.",
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
    start_error = st.session_state.pop(_START_ERROR, None)
    if start_error is not None:
        st.error(escape(start_error), icon=":material/error:")
    elif job is not None and job.status != "done":
        _draw_failure(library, job)


def _start(library: Library, info: VersionInfo) -> None:
    try:
        start_job(library.jobs, library.settings, info.name)
    except HandsimError as error:
        st.session_state[_START_ERROR] = str(error)


def _draw_progress(library: Library) -> None:
    with show_errors():
        job = library.jobs.find(JOB)
        if job is None or job.status != "running":
            st.rerun()
        record = job.record
        share = min(1.0, record.done / record.total) if record.total else 0.0
        count = f" · {record.done:,} of {record.total:,} hands" if record.total else ""
        st.markdown(f":material/progress_activity: **The map is being made** :gray[· {record.age_s:,.0f} s]")
        st.progress(share, f"{escape(record.phase)}{count}", width="stretch")


def _draw_failure(library: Library, job: Job) -> None:
    reason = job.record.error or f"it ended while {job.record.phase.lower()}"
    st.error(f"The last attempt made no map: {escape(reason)}", icon=":material/error:")
    show_log(library.jobs.read_log_end(JOB))

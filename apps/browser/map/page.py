"""Map: all poses laid flat, near means alike.

The map as it is drawn: what colours it, how much of it, and what is said of the hand pointed at.

The hands that somebody drew around, together.

While there is no map: how to have one made, and how far that is.
"""

from datetime import UTC, datetime
from typing import Final

import numpy as np
import streamlit as st

from apps.browser.components.hand_grid import hand_grid
from apps.browser.components.pose_map import Mark, choice_courier, hover_answer, hover_courier, pose_map
from apps.browser.jobs import Job
from apps.browser.library import Library
from apps.browser.map.build import JOB, MOST_FITTED, MOST_HANDS, start_making
from apps.browser.map.pose_map import PoseMap, find_map
from apps.browser.map.selection import (
    MOST_CLASSES,
    Choice,
    ColourBy,
    Colouring,
    Gathered,
    Outline,
    chosen_rows,
    colouring,
    gathered,
    rows_within,
)
from apps.browser.search.question import Question
from apps.browser.session import search_for
from apps.browser.ui import build_card, describe_payload, escape, find_keypoints, shorten_id, show_errors
from handsim.errors import HandsimError
from handsim.hand import parse_hand_id
from index import VersionInfo

DRAWN: Final = (2_000, 5_000, 10_000, 20_000)
"""How many hands can be drawn."""
_DRAWN_AT_FIRST: Final = 10_000
_HOVERED: Final = "map_hovered"
_COLOURS: Final[dict[ColourBy, str]] = {
    "label": "Label",
    "source": "Source",
    "video": "Video",
    "distance": "Distance",
}
_UNKNOWN: Final[dict[ColourBy, str]] = {
    "label": "no label",
    "source": "no source",
    "video": "no video",
    "distance": "no other video",
}
_EXPLAINED: Final = (
    "Label, source and video of each hand, or the distance to its nearest neighbour of another video: "
    "the further, the fewer pairs to learn from"
)


def drawing(library: Library, of: PoseMap, topic: str) -> None:
    """The controls and the map."""
    with show_errors():
        with library.open_version() as version:
            if not of.is_of(version.info):
                st.rerun()  # another version was published: the page looks for that one's map
        with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
            by: ColourBy = st.segmented_control(
                "Colour by",
                list(_COLOURS),
                default=_first_colour(of),
                required=True,
                format_func=_COLOURS.__getitem__,
                key="colour",
                bind="query-params",
                help=_EXPLAINED,
            )
            most = _most(of)
        colours = colouring(of, by)
        pose_map(
            of, colours, key=topic, most=most, unknown=_UNKNOWN[by], note=_note(colours, by), mark=_mark(of)
        )


def hovering(library: Library, of: PoseMap, topic: str) -> None:
    """Answer which hand is pointed at; draws nothing itself."""
    with show_errors():
        kept: tuple[str, int, int] | None = st.session_state.get(_HOVERED)
        answer = None
        if kept is not None and kept[0] == of.checksum:
            _, row, turn = kept
            hand = int(of.hand_ids[row])
            answer = hover_answer(
                of, row, turn, _picture(library, of, hand), shorten_id(hand), said_of(of, row)
            )
        hover_courier(
            of,
            topic=topic,
            key="map_hover",
            on_hover=lambda row, turn: st.session_state.update({_HOVERED: (of.checksum, row, turn)}),
            answer=answer,
        )


def said_of(of: PoseMap, row: int) -> tuple[str, ...]:
    """What the colours say of a hand, in words."""
    parts = [part for part in (of.labels[row], of.sources[row]) if part]
    distance = float(of.distances[row])
    near = f"{distance:.3f} to another video" if np.isfinite(distance) else "no other video"
    return (of.videos[row] or "", " · ".join(parts), near)


def _picture(library: Library, of: PoseMap, hand: int) -> str | None:
    pool = library.open_pool()
    return None if find_keypoints(pool, hand) is None else library.thumbnails.uri(pool, hand)


def _first_colour(of: PoseMap) -> ColourBy:
    """The one that tells most without being asked for."""
    if of.labels.names:
        return "label"
    return "source" if len(of.sources.names) > 1 else "distance"


def _most(of: PoseMap) -> int:
    """How many hands to draw; asked only where there are more than the fewest that can be chosen."""
    if len(of) <= DRAWN[0]:
        return DRAWN[0]
    offered = [count for count in DRAWN if count < len(of)]
    offered.append(next((count for count in DRAWN if count >= len(of)), DRAWN[-1]))
    offered = sorted(set(offered))
    chosen: int = st.select_slider(
        "Hands drawn",
        offered,
        value=min(_DRAWN_AT_FIRST, offered[-1]),
        format_func=lambda count: f"{min(count, len(of)):,}",
        key="drawn",
        width=260,
        help="A part of them, drawn at random, is quicker to move about in; outlines gather all hands within",
    )
    return chosen


def _note(colours: Colouring, by: ColourBy) -> str:
    if colours.kind == "hues":
        return (
            f"{colours.names:,} {_COLOURS[by].lower()}s, more than the {MOST_CLASSES} that a legend has room "
            "for: point at a hand to read its own"
        )
    return "to the nearest hand of another video" if colours.kind == "scale" else ""


def _mark(of: PoseMap) -> Mark | None:
    """The hand that the address names."""
    row = marked_row(of)
    if row is None:
        return None
    x, y = of.places[row].tolist()
    return Mark((x, y), "asked about")


def marked_row(of: PoseMap) -> int | None:
    """The row of the hand in the address; None without one, or where it is not on the map."""
    try:
        return of.row_of(parse_hand_id(st.query_params.get("hand", "")))
    except HandsimError:
        return None


MOST_CARDS: Final = 60
_OUTLINE: Final = "map_outline"
_CHOICES: Final[dict[Choice, str]] = {"middle": "Nearest to the middle", "random": "Some at random"}


def gathering(library: Library, of: PoseMap, topic: str) -> None:
    """Hear what is clicked on and drawn around on the map, and show what lies within."""
    with show_errors():
        outline = outline_on(of)
        choice_courier(
            of,
            topic=topic,
            key="map_choices",
            outline=outline,
            on_pick=lambda row: search_for(Question(hand=int(of.hand_ids[row]))),
            on_outline=lambda drawn: keep_outline(of, drawn),
        )
        if outline is not None:
            _sheet(library, of, outline)


def keep_outline(of: PoseMap, outline: Outline | None) -> None:
    """Remember what this visitor drew on a map."""
    st.session_state[_OUTLINE] = (of.version, of.checksum, outline)


def outline_on(of: PoseMap) -> Outline | None:
    """What this visitor drew on this map last, and did not put away."""
    kept: tuple[str, str, Outline | None] | None = st.session_state.get(_OUTLINE)
    return kept[2] if kept is not None and kept[:2] == (of.version, of.checksum) else None


def _sheet(library: Library, of: PoseMap, outline: Outline) -> None:
    rows = rows_within(of, outline)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(_sentence(gathered(of, rows), min(len(rows), MOST_CARDS)))
        st.button(
            "Put away",
            icon=":material/close:",
            on_click=keep_outline,
            args=(of, None),
            help="Forget what was drawn around",
        )
    choice: Choice = "middle"
    if len(rows) > MOST_CARDS:
        choice = st.segmented_control(
            "Shown",
            list(_CHOICES),
            default="middle",
            required=True,
            format_func=_CHOICES.__getitem__,
            key="map_choice",
            help=f"Which {MOST_CARDS} of the hands within",
        )
    if not len(rows):
        return
    shown = chosen_rows(of, rows, MOST_CARDS, choice)
    st.caption("Below each: how far it is to the nearest hand of another video.")
    hands = of.hand_ids[shown].tolist()
    with library.open_version() as version:
        pool, payloads = library.open_pool(), version.payloads(hands)
    hand_grid(
        [
            build_card(library, pool, hand, _distance(float(of.distances[row])), describe_payload(payload))
            for row, hand, payload in zip(shown.tolist(), hands, payloads, strict=True)
        ],
        key="map_sheet",
        label="Hands within what was drawn around",
        on_pick=lambda hand: search_for(Question(hand=hand)),
        compact=True,
    )


def _distance(distance: float) -> str:
    return f"{distance:.3f}" if np.isfinite(distance) else ""


def _sentence(of: Gathered, shown: int) -> str:
    """What lies within, in Markdown."""
    if not of.hands:
        return "**No hand** lies within; draw around some points."
    parts = [f"**{_counted(of.hands, 'hand')}** of {_counted(of.videos, 'video')}"]
    parts += [f"{escape(name)} {share:.0%}" for name, share in of.labels]
    if of.median_distance is not None:
        parts.append(f"median {of.median_distance:.3f} to another video")
    if shown < of.hands:
        parts.append(f"{shown} shown")
    return f"{parts[0]} :gray[· {' · '.join(parts[1:])}]" if parts[1:] else parts[0]


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


_LOOKS_EVERY_S: Final = 1.0
_REFUSED: Final = "map_refused"


def waiting(library: Library, info: VersionInfo, why: str = "") -> None:
    """Offer to make the version's map, or show how far it is; ``why`` tells what is wrong with one there."""
    job = library.jobs.find(JOB)
    if job is not None and job.status == "running":
        st.fragment(_watch, run_every=_LOOKS_EVERY_S)(library)
        return
    if why:
        st.warning(escape(why), icon=":material/broken_image:")
    st.info(
        f"**No map of index {escape(info.name)} yet.** It lays its {info.points:,} hands out so that those "
        f"posed alike lie near each other. Making it takes {_time_told(info.points)}; it is made once and "
        "kept, and you may go on elsewhere meanwhile.",
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
    refused = st.session_state.pop(_REFUSED, None)
    if refused is not None:
        st.error(escape(refused), icon=":material/error:")
    elif job is not None and job.status != "done":
        _ended_badly(library, job)


def _start(library: Library, info: VersionInfo) -> None:
    try:
        start_making(library.jobs, library.settings, info.name)
    except HandsimError as error:
        st.session_state[_REFUSED] = str(error)


def _watch(library: Library) -> None:
    with show_errors():
        job = library.jobs.find(JOB)
        if job is None or job.status != "running":
            st.rerun()
        record = job.record
        seconds = (datetime.now(UTC) - datetime.fromisoformat(record.started_at)).total_seconds()
        share = min(1.0, record.done / record.total) if record.total else 0.0
        counted = f" · {record.done:,} of {record.total:,} hands" if record.total else ""
        st.markdown(f":material/progress_activity: **The map is being made** :gray[· {seconds:,.0f} s]")
        st.progress(share, f"{escape(record.phase)}{counted}", width="stretch")


def _ended_badly(library: Library, job: Job) -> None:
    reason = job.record.error or f"it ended while {job.record.phase.lower()}"
    st.error(f"The last attempt made no map: {escape(reason)}", icon=":material/error:")
    log = library.jobs.read_log_end(JOB)
    if log:
        with st.expander("The end of its log", icon=":material/notes:"):
            st.code(log, language=None, wrap_lines=True)


def _time_told(points: int) -> str:
    """About how long it takes a machine of two cores with nothing else to do."""
    if points <= MOST_FITTED:
        return "about a minute"
    return f"about {2 + min(points, MOST_HANDS) // 200_000} minutes"


_TOPIC: Final = "pose_map"


def map(library: Library) -> None:
    """The map of the current version, or the way to have it made."""
    with show_errors():
        with library.open_version() as version:
            info = version.info
        try:
            made = find_map(library, info)
        except HandsimError as error:
            waiting(library, info, str(error))
            return
        if made is None:
            waiting(library, info)
            return
        _head(made)
        st.fragment(drawing)(library, made, _TOPIC)
        st.fragment(gathering)(library, made, _TOPIC)
        st.fragment(hovering)(library, made, _TOPIC)


def _head(made: PoseMap) -> None:
    part = "" if len(made) == made.hands_in_version else f" of {made.hands_in_version:,}"
    st.markdown(
        f"**{len(made):,}{part} hands**, near means alike :gray[· index {escape(made.version)}]  \n"
        ":gray[Point at a hand to see it, click to search from it. Draw with **Lasso**, or Shift and drag, "
        "to see hands together.]"
    )
    asked = st.query_params.get("hand")
    if asked is not None and marked_row(made) is None:
        st.caption(f"Hand {escape(asked[:16])} is not on this map.")

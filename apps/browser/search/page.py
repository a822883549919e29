"""Search: hands posed like a hand, a picture or a drawing.

The query beside its answers.

Ways to begin: a random hand, an id, a picture, the camera, a pose made by hand.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from apps.browser import session
from apps.browser.components.hand_grid import Card, hand_grid
from apps.browser.components.skeleton_editor import skeleton_editor
from apps.browser.library import LIMIT_MB, Library, encode_thumbnail
from apps.browser.search.answer import (
    PRESETS,
    TOLD,
    Answer,
    answer,
    as_csv,
    as_png,
    make_preset,
    query_cards,
    query_picture,
    trail_cards,
)
from apps.browser.search.controls import controls
from apps.browser.search.question import Condition, Question, quantise_keypoints
from apps.browser.session import SEARCH_PATH, show_on_map
from apps.browser.ui import build_card, describe_payload, escape, show_errors
from handsim.detection import DetectedHand
from handsim.errors import HandsimError, NotThereError
from handsim.hand import parse_hand_id
from handsim.pool import Pool
from index import IndexVersion

_SKELETONS: Final = "search_skeletons"
_BEGINNINGS: Final = "search_beginnings"
_TOAST: Final = "search_toast"
_BEGIN_WITH: Final = 24


@st.fragment
def results(library: Library) -> None:
    """The answers to what the address asks; a changed condition draws this again, and nothing else."""
    if text := st.session_state.pop(_TOAST, None):
        st.toast(text, icon=":material/info:")
    with show_errors():
        question = session.read_question()
        session.save_address(SEARCH_PATH)
        with library.open_version() as version:
            pool = library.open_pool()
            _trail(library, pool)
            if question.is_empty:
                _beginnings(library, pool, version, question)
            else:
                _answered(library, pool, version, question)


def _answered(library: Library, pool: Pool, version: IndexVersion, question: Question) -> None:
    left, right = st.columns([1, 3], gap="large")
    with left:
        hand_grid(
            query_cards(library, pool, version, question),
            key="search_query",
            label="What is asked about",
            on_mark=(lambda hand, like: _mark(question, hand, like)) if question.like else None,
            skeletons=_skeletons(),
            compact=len(question.like) + len(question.unlike) > 1,
        )
        if question.hand is not None:
            st.button(
                "On the map",
                key="search_on_map",
                icon=":material/map:",
                on_click=show_on_map,
                args=(question,),
                help="Where this hand lies among all poses",
            )
        controls(question, pool)
    with right:
        started = time.perf_counter()
        # Where no answer can be had, of an unknown hand or a server that is away, the rest stays.
        with show_errors():
            seen = session.find_detection(question.pose)
            crop = None if seen is None else seen.crop
            said = answer(version, question, crop)
            cards = _cards(library, pool, said)
            _head(library, pool, question, crop, said, (time.perf_counter() - started) * 1000)
            if not said.neighbors:
                _empty(question, said)
                return
            hand_grid(
                cards,
                key="search_results",
                label="Answers, nearest first",
                on_pick=lambda hand: session.ask(question.about(hand)),
                on_mark=lambda hand, like: _mark(question, hand, like),
                skeletons=_skeletons(),
            )


def _cards(library: Library, pool: Pool, said: Answer) -> list[Card]:
    return [
        build_card(library, pool, found.hand_id, f"{found.distance:.3f}", describe_payload(found.payload))
        for found in said.neighbors
    ]


def _skeletons() -> bool:
    return bool(st.session_state.get(_SKELETONS, True))


def _mark(question: Question, hand: int, like: bool) -> None:
    try:
        asked = question.marked(hand, like=like)
    except HandsimError as error:
        _say(f"{error}.")
        return
    if asked == question:
        _say("Mark a hand with + first: less like one goes with more like another.")
    else:
        session.ask(asked)


def _say(text: str) -> None:
    # By the next draw: what a callback draws takes the place of what the page drew first.
    st.session_state[_TOAST] = text


def _head(
    library: Library,
    pool: Pool,
    question: Question,
    crop: NDArray[np.uint8] | None,
    said: Answer,
    took_ms: float,
) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        count = len(said.neighbors)
        st.markdown(
            f"**{count or 'No'} hand{'' if count == 1 else 's'}**{', nearest first' if count else ''} "
            f":gray[· {took_ms:,.0f} ms · index {said.version}]"
        )
        st.toggle("Skeletons", value=True, key=_SKELETONS, help="Draw the 21 joints over each crop")
        if count:
            st.download_button(
                "CSV",
                lambda: as_csv(said.neighbors),
                "similar-hands.csv",
                "text/csv",
                on_click="ignore",
                icon=":material/table:",
                help="The answers as a table",
            )
            st.download_button(
                "Montage",
                lambda: as_png(
                    pool, query_picture(library, pool, question, said.version, crop), said.neighbors
                ),
                "similar-hands.png",
                "image/png",
                on_click="ignore",
                icon=":material/image:",
                help="The query and its answers as one picture",
            )


def _empty(question: Question, said: Answer) -> None:
    if said.to_relax:
        st.info(
            "No hand meets all conditions. Without one of these there are some:",
            icon=":material/filter_alt_off:",
        )
        for condition in said.to_relax:
            st.button(
                f"Leave out {TOLD[condition]}",
                key=f"relax_{condition}",
                on_click=_relax,
                args=(question, condition),
                help="Ask the same without this condition",
            )
    elif question.conditions:
        told_all = ", ".join(TOLD[condition] for condition in question.conditions)
        st.info(f"No hand meets these conditions, nor would leaving out one of them help: {told_all}.")
        st.button(
            "Leave out all of them",
            on_click=_relax_all,
            args=(question,),
            help="Ask the same without any condition",
        )
    else:
        st.info("There is no other hand in the index; `handsim ingest` and `handsim index build` add some.")


def _relax(question: Question, condition: Condition) -> None:
    session.ask(question.without(condition))


def _relax_all(question: Question) -> None:
    for condition in question.conditions:
        question = question.without(condition)
    session.ask(question)


def _trail(library: Library, pool: Pool) -> None:
    trail = session.get_trail()
    if trail:
        st.caption("The way here")
        hand_grid(
            trail_cards(library, pool, trail),
            key="search_trail_grid",
            label="What was asked before, oldest first",
            on_pick=lambda number: session.ask(trail[number % len(trail)]),
            skeletons=False,
            compact=True,
            verb="Go back to step",
        )


def _beginnings(library: Library, pool: Pool, version: IndexVersion, question: Question) -> None:
    """Some hands to begin with; the same ones until others are asked for."""
    kept: tuple[str, Sequence[int]] | None = st.session_state.get(_BEGINNINGS)
    if kept is None or kept[0] != version.info.name:
        kept = (version.info.name, version.sample(_BEGIN_WITH).tolist())
        st.session_state[_BEGINNINGS] = kept
    hands = list(kept[1])
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"Some of **{len(version):,}** hands: click one to find those posed alike.")
        st.button(
            "Others",
            icon=":material/refresh:",
            on_click=lambda: st.session_state.pop(_BEGINNINGS, None),
            help="Draw other hands at random",
        )
    payloads = version.payloads(hands)
    hand_grid(
        [
            build_card(library, pool, hand, "", describe_payload(payload))
            for hand, payload in zip(hands, payloads, strict=True)
        ],
        key="search_beginnings_grid",
        label="Hands to begin with",
        on_pick=lambda hand: session.ask(question.about(hand)),
    )


_WAY: Final = "start_way"
_ID: Final = "start_id"
_PRESET: Final = "start_preset"
_KINDS: Final = ["jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff"]


def start(library: Library) -> None:
    """Draw them side by side, and what the chosen one needs below."""
    ways: dict[str, Callable[[Library], None]] = {
        "Id": _by_id,
        "Photograph": _by_photograph,
        "Camera": _by_camera,
        "Pose": _by_pose,
    }
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.button(
            "Random hand",
            icon=":material/casino:",
            type="primary",
            on_click=_random,
            args=(library,),
            help="Search from any hand of the index",
        )
        st.button(
            "Start afresh",
            icon=":material/restart_alt:",
            on_click=lambda: session.ask(Question()),
            help="Leave the question and its conditions; the way back to it is kept",
        )
        way = st.segmented_control(
            "Or start from",
            list(ways),
            key=_WAY,
            help="A hand's id, a photograph, the camera, or a pose that you draw",
        )
    if way is not None:
        with st.container(border=True):
            ways[way](library)


def _asked() -> Question:
    """The question so far, for its conditions; a fresh one where the address cannot be read."""
    try:
        return session.read_question()
    except HandsimError:
        return Question()


def _random(library: Library) -> None:
    try:
        with library.open_version() as version:
            (hand,) = version.sample(1).tolist()
    except HandsimError:
        return  # the page says what is wrong
    session.ask(_asked().about(hand))


def _by_id(library: Library) -> None:
    st.text_input(
        "Hand id",
        key=_ID,
        max_chars=40,
        placeholder="03ab54f1c09d72e8",
        help="16 hex digits, as captions, tables and `handsim query` show them",
        on_change=_take_id,
    )
    if st.session_state[_ID] and not _is_id(st.session_state[_ID]):
        st.warning(f"{escape(st.session_state[_ID])} is no hand id: those have 16 hex digits.")


def _is_id(text: str) -> bool:
    try:
        parse_hand_id(text.strip())
    except HandsimError:
        return False
    return True


def _take_id() -> None:
    if _is_id(st.session_state[_ID]):
        session.ask(_asked().about(parse_hand_id(st.session_state[_ID].strip())))


def _by_photograph(library: Library) -> None:
    sent = st.file_uploader(
        "Photograph",
        type=_KINDS,
        max_upload_size=LIMIT_MB,
        help=f"Each hand found in it can be asked about. At most {LIMIT_MB} MB; it is not kept",
    )
    if sent is not None:
        _choose(library, sent.file_id, sent.getvalue())


def _by_camera(library: Library) -> None:
    taken = st.camera_input("Camera", help="Show your hand; the picture is not kept")
    if taken is not None:
        _choose(library, taken.file_id, taken.getvalue())


def _choose(library: Library, name: str, data: bytes) -> None:
    """The hands of a picture as choices; a single one is asked about at once."""
    with show_errors(), st.spinner("Looking for hands"):
        hands = _found(library, name, data)
        poses = [quantise_keypoints(hand.keypoints) for hand in hands]
        for pose, hand in zip(poses, hands, strict=True):
            session.store_detection(pose, hand)
        if len(hands) == 1 and st.session_state.get("start_asked") != name:
            st.session_state["start_asked"] = name
            session.ask(_asked().about_pose(poses[0]))
            return
        cards = [
            Card(
                number,
                encode_thumbnail(hand.crop),
                hand.keypoints,
                f"Hand {number + 1}",
                (f"{hand.side}, score {hand.score:.2f}",),
            )
            for number, hand in enumerate(hands)
        ]
        st.caption(
            f"{len(hands)} hands were found; choose one." if len(hands) > 1 else "The hand that was found."
        )
        hand_grid(
            cards,
            key="start_hands",
            label="Hands found in the picture",
            on_pick=lambda number: session.ask(_asked().about_pose(poses[number % len(poses)])),
            compact=True,
            verb="Search from this hand",
        )


def _found(library: Library, name: str, data: bytes) -> list[DetectedHand]:
    """The hands of a picture, looked for once and not at every turn of the page; or why there are none."""
    kept: tuple[str, list[DetectedHand] | HandsimError] | None = st.session_state.get("start_found")
    if kept is None or kept[0] != name:
        try:
            kept = (name, library.finder.hands(data))
        except NotThereError:
            raise  # no model yet: looked for again
        except HandsimError as error:
            kept = (name, error)
        st.session_state["start_found"] = kept
    if isinstance(kept[1], HandsimError):
        raise kept[1]
    return kept[1]


def _by_pose(library: Library) -> None:
    asked = _asked()
    pose = asked.pose or make_preset("Flat")
    left, right = st.columns([2, 3], gap="large")
    with left:
        skeleton_editor(pose, key="start_editor", on_drag=_take_drawn)
    with right:
        st.pills(
            "Begin with",
            list(PRESETS),
            key=_PRESET,
            on_change=_take_preset,
            help="A right hand seen from its palm, as an average adult's",
        )
        st.caption(
            "Drag a joint: the rest of its finger comes along. Or go to it with Tab and use the arrow keys. "
            "The search follows each change."
        )


def _take_drawn(pose: tuple[int, ...]) -> None:
    st.session_state[_PRESET] = None  # so that the preset can be chosen again
    session.ask(_asked().about_pose(pose))


def _take_preset() -> None:
    if st.session_state[_PRESET] is not None:
        session.ask(_asked().about_pose(make_preset(st.session_state[_PRESET])))


def search(library: Library) -> None:
    """Ways to begin above, below them what the address asks and its answers."""
    start(library)
    results(library)

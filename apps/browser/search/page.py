"""The search page: ways to start above, below them the query beside its answers.

The address holds the question. A changed condition draws only the results again (a fragment).
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from apps.browser import address, session
from apps.browser.components.hand_grid import Card, hand_grid
from apps.browser.components.heading import heading
from apps.browser.components.sheet import sheet, sheet_button
from apps.browser.components.skeleton_editor import skeleton_editor
from apps.browser.library import UPLOAD_LIMIT_MB, Library, encode_thumbnail
from apps.browser.search.answer import (
    Answer,
    Crops,
    answer_question,
    build_montage_query,
    build_query_cards,
    build_trail_cards,
    example_of_card,
    find_crops,
    find_unknown,
    stack_by_video,
    to_csv,
    to_png,
)
from apps.browser.search.controls import draw_controls, read_question
from apps.browser.search.question import (
    PRESETS,
    Condition,
    Example,
    Question,
    make_preset,
    quantise_keypoints,
)
from apps.browser.session import show_on_map
from apps.browser.tray.choosing import make_chooser
from apps.browser.ui import build_card, describe_payload, escape, show_errors
from apps.cli.query import check_hands
from handsim.detection import DetectedHand
from handsim.english import describe_distance, describe_place, pluralize
from handsim.errors import HandsimError, NotThereError, UnusableError
from handsim.hand import format_hand_id, parse_hand_id
from handsim.lists import HandLists
from handsim.pool import Pool
from index import IndexVersion

_ID: Final = "start_id"
_PRESET: Final = "start_preset"
_UPLOAD: Final = "start_upload"
_SEARCHED_UPLOAD: Final = "start_searched_upload"
_SKELETONS: Final = "skeletons"
_PER_VIDEO: Final = "search_per_video"
_DISTANCE_HELP: Final = (
    "distance: between two hands in the index's embedding. nearer than: the share of random pairs of hands "
    "of this index that lie further apart."
)
_EXAMPLES: Final = "search_examples"
_TOAST: Final = "search_toast"
_EXAMPLE_COUNT: Final = 24
_COPY: Final = "copy it again from where it came from, or upload another picture"
_UNUSABLE: Final = {
    "not an image": (
        "is not a picture",
        "upload a photograph, as JPEG, PNG, WebP, HEIC, AVIF, BMP, GIF or TIFF",
    ),
    "empty file": ("is empty", _COPY),
    "corrupt image": ("is damaged", _COPY),
    "truncated image": ("is cut off", _COPY),
    "too many pixels": ("has too many pixels", "make it smaller, or cut the hand out of it"),
}
"""Reason of an `UnusableError` -> what the file is, and what the visitor can do."""
_CONDITION_TITLES: Final[dict[Condition, str]] = {
    "other_video": "other videos only",
    "one_per_video": "one per video",
    "sources": "the source",
    "labels": "the label",
    "lists": "the list",
    "not_lists": "the list that is left out",
    "side": "the side",
    "max_distance": "the distance limit",
    "diversity": "diversity",
}


def search(library: Library) -> None:
    _draw_start(library)
    _draw_results(library)


# Ways to start.


def _draw_start(library: Library) -> None:
    ways: dict[str, Callable[[Library], None]] = {
        "Id": _draw_id,
        "Photograph": _draw_upload,
        "Camera": _draw_camera,
        "Pose": _draw_pose,
    }
    with address.show_notes(), st.container(horizontal=True, vertical_alignment="bottom"):
        st.button(
            "Random hand",
            icon=":material/casino:",
            type="primary",
            on_click=_ask_random,
            args=(library,),
            help="Search from any hand of the index",
        )
        st.button(
            "Clear search",
            icon=":material/restart_alt:",
            on_click=lambda: session.ask(Question()),
            help="Leave the query and its conditions; the history leads back to it",
        )
        way = st.segmented_control(
            "Or start from",
            list(ways),
            help="A hand's id, a photograph, the camera, or a pose that you draw",
            **address.option("start", list(ways), None),
        )
    if way is not None:
        with st.container(border=True):
            ways[way](library)


def _ask_random(library: Library) -> None:
    try:
        with library.open_version() as version:
            (hand,) = version.sample(1).tolist()
    except HandsimError:
        return  # the results show what is wrong
    session.ask(session.read_question().with_hand(hand))


def _draw_id(library: Library) -> None:
    st.text_input(
        "Hand id",
        key=_ID,
        max_chars=40,
        placeholder="03ab54f1c09d72e8",
        help="16 hex digits, as captions, tables and `handsim query` show them",
        on_change=_ask_id,
    )
    if st.session_state[_ID] and _parse_id(st.session_state[_ID]) is None:
        st.warning(f"{escape(st.session_state[_ID])} is not a hand id; an id has 16 hex digits.")


def _parse_id(text: str) -> int | None:
    try:
        return parse_hand_id(text.strip())
    except HandsimError:
        return None


def _ask_id() -> None:
    hand = _parse_id(st.session_state[_ID])
    if hand is not None:
        session.ask(session.read_question().with_hand(hand))


def _draw_upload(library: Library) -> None:
    upload = st.file_uploader(
        "Photograph",
        help=f"Search from a hand in it. At most {UPLOAD_LIMIT_MB} MB; the photograph is not stored",
    )
    _choose_hand(library, upload)


def _draw_camera(library: Library) -> None:
    upload = st.camera_input("Camera", help="Show your hand; the picture is not stored")
    _choose_hand(library, upload)


def _choose_hand(library: Library, upload: UploadedFile | None) -> None:
    """Show the hands in a picture to choose from; search at once from a single one."""
    if upload is None:
        return
    with show_errors(), st.spinner("Looking for hands"):
        hands = _find_hands(library, upload)
        poses = [quantise_keypoints(hand.keypoints) for hand in hands]
        for pose, hand in zip(poses, hands, strict=True):
            session.store_detection(pose, hand)
        if len(hands) == 1 and st.session_state.get(_SEARCHED_UPLOAD) != upload.file_id:
            st.session_state[_SEARCHED_UPLOAD] = upload.file_id
            session.ask(session.read_question().with_pose(poses[0]))
            return
        cards = [
            Card(
                number,
                encode_thumbnail(hand.crop),
                hand.keypoints,
                f"Hand {number + 1}",
                (f"{hand.describe_side()}, score {hand.score:.2f}",),
            )
            for number, hand in enumerate(hands)
        ]
        found = f"{len(hands)} hands were found; choose one." if len(hands) > 1 else "One hand was found."
        if any(hand.side != hand.seen_as for hand in hands):
            found = "Choose one; a hand of unknown side is shown as it is, and mirrored as a left one."
        st.caption(found)
        hand_grid(
            cards,
            key="start_hands",
            label="Hands found in the picture",
            on_pick=lambda number: _go_to(session.read_question().with_pose(poses[number % len(poses)])),
            compact=True,
            verb="Search from this hand",
        )


def explain_unusable(name: str, error: HandsimError) -> str:
    """Why an uploaded file gave no hand, and what to do, in one sentence for who uploaded it."""
    if not isinstance(error, UnusableError):
        return f"{name}: {error}."
    what, remedy = _UNUSABLE.get(
        error.reason, (f"cannot be used ({error.reason}: {error.detail})", "upload another picture")
    )
    return f"{name} {what}; {remedy}."


def _find_hands(library: Library, upload: UploadedFile) -> list[DetectedHand]:
    """The hands in a picture, or the error that it gave: detected once, not each time the page is drawn."""
    cached: tuple[str, list[DetectedHand] | HandsimError] | None = st.session_state.get(_UPLOAD)
    if cached is None or cached[0] != upload.file_id:
        try:
            cached = (upload.file_id, library.finder.find(upload.getvalue()))
        except NotThereError:
            raise  # the model is absent; it may be there the next time
        except HandsimError as error:
            cached = (upload.file_id, HandsimError(explain_unusable(upload.name, error)))
        st.session_state[_UPLOAD] = cached
    if isinstance(cached[1], HandsimError):
        raise cached[1]
    return cached[1]


def _draw_pose(library: Library) -> None:
    pose = session.read_question().pose or make_preset("Flat")
    left, right = st.columns([2, 3], gap="large")
    with left:
        skeleton_editor(pose, key="start_editor", on_drag=_ask_drawn)
    with right:
        st.pills(
            "Begin with",
            list(PRESETS),
            key=_PRESET,
            on_change=_ask_preset,
            help="A right hand seen from its palm, as an average adult's",
        )
        st.caption(
            "Drag a joint: the rest of its finger moves with it. Or press Tab and use the arrow keys. "
            "The search follows each change."
        )


def _ask_drawn(pose: tuple[int, ...]) -> None:
    st.session_state[_PRESET] = None  # so that the preset can be chosen again
    session.ask(session.read_question().with_pose(pose))


def _ask_preset() -> None:
    if st.session_state[_PRESET] is not None:
        session.ask(session.read_question().with_pose(make_preset(st.session_state[_PRESET])))


# The query and its answers.


@st.fragment
def _draw_results(library: Library) -> None:
    if text := st.session_state.pop(_TOAST, None):
        st.toast(text, icon=":material/info:")
    with show_errors(), address.show_notes():
        question = read_question(library)
        with library.open_version() as version:
            pool = library.open_pool()
            _draw_trail(library, pool)
            if question.is_empty:
                _draw_examples(library, pool, version, question)
                return
            left, right = st.columns([1, 3], gap="large")
            with left:
                _draw_query(library, pool, version, question)
            # If there is no answer, as for an unknown hand, the query and its conditions stay.
            with right, show_errors():
                _draw_answer(library, pool, version, question)


def _draw_trail(library: Library, pool: Pool) -> None:
    trail = session.get_trail()
    if trail:
        st.caption("History")
        hand_grid(
            build_trail_cards(library, pool, trail),
            key="search_trail_grid",
            label="What was asked before, oldest first",
            on_pick=lambda place: _go_to(trail[place % len(trail)]),
            skeletons=False,
            compact=True,
            verb="Go back to this step",
        )


def _draw_examples(library: Library, pool: Pool, version: IndexVersion, question: Question) -> None:
    """Random hands to start from; the same ones until the visitor wants others."""
    state, hands = st.session_state.get(_EXAMPLES, (None, []))
    if state != version.info.state:
        hands = version.sample(_EXAMPLE_COUNT).tolist()
        st.session_state[_EXAMPLES] = (version.info.state, hands)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"Some of **{len(version):,}** hands: click one to find similar poses.")
        st.button(
            "Others",
            icon=":material/refresh:",
            on_click=lambda: st.session_state.pop(_EXAMPLES, None),
            help="Draw other hands at random",
        )
    hand_grid(
        [
            build_card(library, pool, hand, "", describe_payload(payload))
            for hand, payload in zip(hands, version.payloads(hands), strict=True)
        ],
        key="search_beginnings_grid",
        label="Hands to begin with",
        on_pick=lambda hand: _go_to(question.with_hand(hand)),
        chooser=make_chooser(library),
    )


def _go_to(question: Question) -> None:
    """Answer a question that somebody chose: its results get the focus."""
    session.ask(question)
    session.go_to_results()


def _draw_query(library: Library, pool: Pool, version: IndexVersion, question: Question) -> None:
    with st.container(key="search_asked"):
        hand_grid(
            build_query_cards(library, pool, version, question),
            key="search_query",
            label="What is asked about",
            on_mark=(lambda card, like: _mark(question, example_of_card(question, card), like))
            if question.like
            else None,
            skeletons=_shows_skeletons(),
            compact=len(question.like) + len(question.unlike) > 1,
            strip=True,
        )
        st.button(
            "On the map",
            key="search_on_map",
            icon=":material/map:",
            on_click=show_on_map,
            args=(question,),
            help="Show where the query and its results lie among all poses",
        )
        active = len(question.conditions)
        sheet_button("conditions", f"Conditions · {active}" if active else "Conditions")
    with sheet("conditions"):
        draw_controls(question, pool, tuple(HandLists(library.home.lists).names()))
        st.toggle("Skeletons", help="Draw the 21 joints over each crop", **address.flag(_SKELETONS, True))


def _draw_answer(library: Library, pool: Pool, version: IndexVersion, question: Question) -> None:
    started = time.perf_counter()
    unknown = find_unknown(version, question)
    check_hands(unknown, version.embedding, pool)
    if unknown:
        _tell_unknown(library, pool, version, question, unknown)
        return
    crops = find_crops(question)
    answer = answer_question(version, question, crops, library.read_lists)
    stacks = stack_by_video(answer.neighbors)
    shown = stacks if question.stacked else [(neighbor, 0) for neighbor in answer.neighbors]
    pairs = library.find_random_pairs(version)
    cards = [
        build_card(
            library,
            pool,
            neighbor.hand_id,
            describe_distance(neighbor.distance),
            (
                *filter(None, [describe_place(pairs.share_further(neighbor.distance))]),
                *describe_payload(neighbor.payload),
                *([f"+{more} from this video"] if more else []),
            ),
        )
        for neighbor, more in shown
    ]
    took_ms = (time.perf_counter() - started) * 1000
    count = len(answer.neighbors)
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
        with st.container(width="content", gap=None, key="search_summary"):
            found = f"{pluralize(count, 'hand')} of {pluralize(len(stacks), 'video')}" if count else "No hand"
            heading(found, key="search_found", level=2, turn=session.results_turn(), width="content")
            st.caption(
                f"{'nearest first · ' if count else ''}{took_ms:,.0f} ms · index {answer.version}",
                help=_DISTANCE_HELP,
            )
        if len(stacks) < count or question.one_per_video or not question.stacked:
            _choose_per_video(question)
        if count:
            _draw_downloads(library, pool, question, crops, answer)
    if not count:
        _offer_to_relax(question, answer)
        return
    hand_grid(
        cards,
        key="search_results",
        label="Answers, nearest first",
        on_pick=lambda hand: _go_to(question.with_hand(hand)),
        on_mark=lambda hand, like: _mark(question, hand, like),
        skeletons=_shows_skeletons(),
        chooser=make_chooser(library),
        behind=list({each.hand_id for each in answer.neighbors} - {each.hand_id for each, _ in shown}),
    )


def _choose_per_video(question: Question) -> None:
    """How hands of one video are shown: one card, all, or only the nearest one."""
    shown = "One" if question.one_per_video else "Stacked" if question.stacked else "All"
    session.set_widget(_PER_VIDEO, shown)
    st.segmented_control(
        "Of one video",
        ["Stacked", "All", "One"],
        default=shown,
        key=_PER_VIDEO,
        required=True,
        label_visibility="collapsed",
        on_change=_take_per_video,
        help="Of each video: its hands as one card, all of its hands, or a search for the nearest one alone",
    )


def _take_per_video() -> None:
    per_video, question = st.session_state[_PER_VIDEO], session.read_question()
    if per_video == "One":
        question = replace(question, one_per_video=True, diversity=0.0)
    else:
        question = replace(question, one_per_video=False, stacked=per_video == "Stacked")
    session.ask(question)


def _tell_unknown(
    library: Library, pool: Pool, version: IndexVersion, question: Question, unknown: list[int]
) -> None:
    """That hands of the question are not there, and where to start instead."""
    name, where = format_hand_id(unknown[0]), f"index {escape(version.info.name)}"
    sentence = f"**No hand has the id {name} in {where}.** "
    if unknown[0] in pool:
        sentence += "The pool has it: `handsim index add` makes it searchable."
    elif pool.was_removed(unknown[0]):
        sentence += "It was removed from the pool."
    else:
        sentence += "Start from one of these, from a random hand, or above from an id, a picture or a pose."
    st.info(sentence, icon=":material/search_off:")
    _draw_examples(library, pool, version, replace(question, hand=None, like=(), unlike=()))


def _shows_skeletons() -> bool:
    return address.is_on(_SKELETONS, True)


def _mark(question: Question, example: Example, like: bool) -> None:
    # A toast is shown when the page is drawn the next time: what a callback draws itself would move the page.
    try:
        marked = question.with_mark(example, like=like)
    except HandsimError as error:
        st.session_state[_TOAST] = f"{error}."
        return
    if marked == question:
        st.session_state[_TOAST] = "Mark a hand with + first: less like one goes with more like another."
    else:
        session.ask(marked)


def _draw_downloads(library: Library, pool: Pool, question: Question, crops: Crops, answer: Answer) -> None:
    def make_montage() -> bytes:
        query = build_montage_query(library, pool, question, answer.version, crops)
        return to_png(pool, query, answer.neighbors)

    st.download_button(
        "CSV",
        lambda: to_csv(answer.neighbors),
        "similar-hands.csv",
        "text/csv",
        on_click="ignore",
        icon=":material/table:",
        help="The answers as a table",
    )
    st.download_button(
        "Montage",
        make_montage,
        "similar-hands.png",
        "image/png",
        on_click="ignore",
        icon=":material/image:",
        help="The query and its answers as one picture",
    )


def _offer_to_relax(question: Question, answer: Answer) -> None:
    if answer.to_relax:
        st.info(
            "No hand meets all conditions. Without one of these there are some:",
            icon=":material/filter_alt_off:",
        )
        for condition in answer.to_relax:
            st.button(
                f"Leave out {_CONDITION_TITLES[condition]}",
                key=f"relax_{condition}",
                on_click=_ask_without,
                args=(question, [condition]),
                help="Search again without this condition",
            )
    elif question.conditions:
        titles = ", ".join(_CONDITION_TITLES[condition] for condition in question.conditions)
        st.info(f"No hand meets these conditions, and leaving out one of them does not help: {titles}.")
        st.button(
            "Leave out all of them",
            on_click=_ask_without,
            args=(question, question.conditions),
            help="Search again without any condition",
        )
    else:
        st.info("There is no other hand in the index; `handsim ingest` and `handsim index build` add some.")


def _ask_without(question: Question, conditions: list[Condition]) -> None:
    for condition in conditions:
        question = question.without(condition)
    session.ask(question)

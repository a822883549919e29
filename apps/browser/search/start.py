"""Ways to begin: a random hand, an id, a picture, the camera, a pose made by hand."""

from collections.abc import Callable
from typing import Final

import streamlit as st

from apps.browser import session
from apps.browser.components.hand_grid import Card, hand_grid
from apps.browser.components.skeleton_editor import skeleton_editor
from apps.browser.library import Library
from apps.browser.search.presets import PRESETS, preset
from apps.browser.search.question import Question, pose_of
from apps.browser.thumbnails import picture_uri
from apps.browser.trouble import plain, told
from apps.browser.uploads import LIMIT_MB
from apps.pictures import SeenHand
from handsim.errors import HandsimError, NotThereError
from handsim.hand import parse_hand_id

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
        return session.question()
    except HandsimError:
        return Question()


def _random(library: Library) -> None:
    try:
        with library.version() as version:
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
        st.warning(f"{plain(st.session_state[_ID])} is no hand id: those have 16 hex digits.")


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
    with told(), st.spinner("Looking for hands"):
        hands = _found(library, name, data)
        poses = [pose_of(hand.keypoints) for hand in hands]
        for pose, hand in zip(poses, hands, strict=True):
            session.keep_seen(pose, hand)
        if len(hands) == 1 and st.session_state.get("start_asked") != name:
            st.session_state["start_asked"] = name
            session.ask(_asked().about_pose(poses[0]))
            return
        cards = [
            Card(
                number,
                picture_uri(hand.crop),
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


def _found(library: Library, name: str, data: bytes) -> list[SeenHand]:
    """The hands of a picture, looked for once and not at every turn of the page; or why there are none."""
    kept: tuple[str, list[SeenHand] | HandsimError] | None = st.session_state.get("start_found")
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
    pose = asked.pose or preset("Flat")
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
        session.ask(_asked().about_pose(preset(st.session_state[_PRESET])))

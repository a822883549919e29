"""The tray at the foot of every page: the chosen hands, lists, files, searches and training without them."""

from collections.abc import Callable
from typing import Final

import streamlit as st

from apps.browser import session
from apps.browser.access import check_may_manage, find_refusal
from apps.browser.components.tray import tray_hands
from apps.browser.library import Library
from apps.browser.search.question import MAX_EXAMPLES, Question
from apps.browser.tray.choosing import (
    TRAY,
    choose_hands,
    my_tray,
    redraw_tray,
    seen_messages,
    shown_and_chosen,
)
from apps.browser.tray.export import FORMATS, MAX_WITH_PICTURES, make_file
from apps.browser.tray.tray import ListChange, Tray
from apps.browser.ui import escape, find_keypoints, show_command, show_errors
from handsim.english import pluralize
from handsim.errors import HandsimError
from handsim.lists import LEFT_OUT, HandLists

_PICTURES: Final = 8
_TOAST: Final = "tray_toast"
_NAME: Final = "tray_list_name"
_NOTE: Final = "tray_list_note"
_LIST: Final = "tray_list"
_FORMAT: Final = "tray_format"


@st.fragment(key=TRAY)
def draw_tray(library: Library) -> None:
    """Nothing is seen of it while no hand is chosen, nothing can be undone and there is no list."""
    tray, lists = my_tray(library), HandLists(library.home.lists)
    if toast := st.session_state.pop(_TOAST, None):
        st.toast(toast)
    names = lists.names()
    is_empty = not len(tray) and tray.undo_title is None and not names
    with st.bottom, show_errors(), st.container(horizontal=True, key="tray_hidden" if is_empty else "tray"):
        _draw_hands(library, tray)
        if is_empty:
            return
        with st.popover("Lists", icon=":material/bookmark:", help="Save, tag, or choose the hands of a list"):
            _draw_lists(library, tray, lists, names)
        if len(tray):
            _draw_searches(tray)
            with st.popover("Leave out", icon=":material/block:", help="Leave these hands out of training"):
                _draw_leaving_out(library, tray, lists)
            with st.popover("Export", icon=":material/download:", help="These hands as a file"):
                _draw_export(library, tray)
        st.button(
            "Undo",
            icon=":material/undo:",
            disabled=tray.undo_title is None,
            on_click=_change,
            args=(library, _undo),
            help=f"Take back: {tray.undo_title}" if tray.undo_title else "Nothing to take back",
        )
        st.button(
            "Clear",
            icon=":material/close:",
            disabled=not len(tray),
            on_click=_change,
            args=(library, lambda tray, lists: tray.change(remove=tray.hand_ids)),
            help="Take all hands off the tray; lists keep theirs",
        )


def _change(
    library: Library, change: Callable[[Tray, HandLists], str | None], writes_list: bool = False
) -> None:
    """A button's work; what it returns, or its error, is shown as a toast when the tray is drawn again."""
    try:
        if writes_list:
            check_may_manage(library)
        st.session_state[_TOAST] = change(my_tray(library), HandLists(library.home.lists))
    except (HandsimError, OSError) as error:
        st.session_state[_TOAST] = escape(str(error))
    redraw_tray()


def _draw_hands(library: Library, tray: Tray) -> None:
    last = tray.hand_ids[: -_PICTURES - 1 : -1].tolist()
    pictures: list[str | None] = [None] * len(last)
    if last:
        pool = library.open_pool()
        pictures = [
            library.thumbnails.get_uri(pool, hand) if find_keypoints(pool, hand) is not None else None
            for hand in last
        ]
    tray_hands(
        f"{pluralize(len(tray), 'hand')} chosen" if len(tray) else "No hand chosen",
        list(zip(last, pictures, strict=True)),
        chosen=shown_and_chosen(library),
        seen=seen_messages(),
        cookie=session.visitor_cookie(),
        on_take_off=lambda hand: choose_hands(library, (), [hand]),
    )


def _undo(tray: Tray, lists: HandLists) -> str | None:
    title = tray.undo(lists)
    return title and f"Taken back: {title}."


# Lists.


def _draw_lists(library: Library, tray: Tray, lists: HandLists, names: list[str]) -> None:
    refusal = find_refusal(library)
    if refusal is not None:
        st.caption(f"{escape(refusal)}. So no list can be written.")
    elif len(tray):
        st.text_input("Name", key=_NAME, placeholder="thumbs-up", help="Letters, digits and ._-")
        st.text_input("Note", key=_NOTE, placeholder="what they have in common")
        st.button(
            f"Save {pluralize(len(tray), 'hand')} as a list",
            type="primary",
            on_click=_change,
            args=(library, _save, True),
        )
    if not names:
        return
    st.selectbox("List", names, key=_LIST)
    with st.container(horizontal=True):
        if refusal is None and len(tray):
            st.button(
                "Add to it",
                on_click=_change,
                args=(library, lambda tray, lists: _add(tray, lists, _chosen()), True),
            )
            st.button("Take off it", on_click=_change, args=(library, _take_off_list, True))
        st.button("Choose its hands", on_click=_change, args=(library, _choose_list))
    show_command(library.format_command(f"list show {_chosen()}"))


def _chosen() -> str:
    return str(st.session_state[_LIST])


def _save(tray: Tray, lists: HandLists) -> str:
    name = st.session_state[_NAME].strip()
    made = lists.create(name, tray.hand_ids, st.session_state[_NOTE])
    tray.remember(f"saving list {made.name}", ListChange(made.name, made.hand_ids, is_new=True))
    st.session_state[_NAME] = st.session_state[_NOTE] = ""
    return f"{pluralize(len(made), 'hand')} saved as list {escape(name)}."


def _add(tray: Tray, lists: HandLists, name: str) -> str:
    is_new = name not in lists.names()
    added = lists.create(name, tray.hand_ids).hand_ids if is_new else lists.add(name, tray.hand_ids)
    if len(added):
        title = f"adding {pluralize(len(added), 'hand')} to list {name}"
        tray.remember(title, ListChange(name, added, is_new))
    return f"{pluralize(len(added), 'hand')} added to list {escape(name)}."


def _take_off_list(tray: Tray, lists: HandLists) -> str:
    gone = lists.remove(_chosen(), tray.hand_ids)
    if len(gone):
        title = f"taking {pluralize(len(gone), 'hand')} off list {_chosen()}"
        tray.remember(title, ListChange(_chosen(), gone, is_new=False, is_removal=True))
    return f"{pluralize(len(gone), 'hand')} taken off list {escape(_chosen())}."


def _choose_list(tray: Tray, lists: HandLists) -> None:
    tray.change(lists.read(_chosen()).hand_ids)


def _draw_leaving_out(library: Library, tray: Tray, lists: HandLists) -> None:
    st.markdown(
        f"The list **{LEFT_OUT}** holds what training is to leave out. Pre-training and mining read it so:"
    )
    show_command(library.format_command(f"pretrain simhand --exclude-list {LEFT_OUT}"))
    show_command(library.format_command(f"mine --exclude-list {LEFT_OUT} --out pairs.parquet"))
    if refusal := find_refusal(library):
        st.caption(f"{escape(refusal)}. So no list can be written.")
        return
    st.button(
        f"Add {pluralize(len(tray), 'hand')} to {LEFT_OUT}",
        type="primary",
        on_click=_change,
        args=(library, lambda tray, lists: _add(tray, lists, LEFT_OUT), True),
    )


# Searches.


def _draw_searches(tray: Tray) -> None:
    question = session.last_question()
    too_many = f"Search takes at most {MAX_EXAMPLES} examples" if len(tray) > MAX_EXAMPLES else ""
    st.button(
        "More like these",
        icon=":material/add:",
        disabled=bool(too_many),
        on_click=_search,
        args=(tray, question, True),
        help=too_many or "Search for hands like the chosen ones",
    )
    no_subject = (
        "" if question.examples else "First search from a hand: less like some goes with more like others"
    )
    st.button(
        "Less like these",
        icon=":material/remove:",
        disabled=bool(too_many or no_subject),
        on_click=_search,
        args=(tray, question, False),
        help=too_many or no_subject or "Search on, for hands unlike the chosen ones",
    )
    st.button(
        "On the map",
        icon=":material/map:",
        on_click=session.show_on_map,
        args=(question,),
        help="Show where the chosen hands lie among all poses",
    )


def _search(tray: Tray, question: Question, like: bool) -> None:
    hands = tuple(tray.hand_ids.tolist())
    try:
        marked = question.with_examples(hands, like=like)
    except HandsimError as error:
        st.session_state[_TOAST] = escape(str(error))
        return
    session.search_for(marked)


# Files.


def _draw_export(library: Library, tray: Tray) -> None:
    name = st.radio("Format", list(FORMATS), key=_FORMAT, captions=[each.about for each in FORMATS.values()])
    chosen = FORMATS[name]
    if chosen.with_pictures and len(tray) > MAX_WITH_PICTURES:
        st.caption(
            f"With pictures, at most {MAX_WITH_PICTURES:,} hands can be downloaded, and {len(tray):,} are "
            "chosen. Save them as a list, and export it where the home is:"
        )
        show_command(
            library.format_command(
                f"pool export --list NAME --format {name.lower()} --out hands{chosen.ending}"
            )
        )
        return
    hand_ids = tray.hand_ids
    st.download_button(
        f"Download {pluralize(len(tray), 'hand')}",
        lambda: make_file(library, name, hand_ids),
        f"hands{chosen.ending}",
        chosen.mime,
        on_click="ignore",
        type="primary",
    )

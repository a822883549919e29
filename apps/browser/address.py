"""Widgets whose values are parameters of the page's address, so that a link shows the same, and *back* works.

    by = st.selectbox("Judged on", splits, **address.option("split", splits, splits[0], given="index"))

The address decides what the widget shows, and a change goes into the address. A default is left out of it.
What cannot be used of an address is left out and said (`show_notes`).
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal, TypeVar

import streamlit as st

from apps.browser import session
from apps.browser.ui import escape

T = TypeVar("T")

_NOTES: Final = "address_notes"
_LISTED: Final = 6
"""So many options a note names."""
_FLAGS: Final = {"yes": True, "no": False, "true": True, "false": False}
"""The latter two stand in older links."""


@contextmanager
def show_notes() -> Iterator[None]:
    """Show a sentence, above what the block draws, for each value of the address that it could not use."""
    place, outer = st.container(), st.session_state.get(_NOTES)
    st.session_state[_NOTES] = notes = list[str]()
    try:
        yield
    finally:
        st.session_state[_NOTES] = outer
    with place:
        for text in notes:
            st.warning(escape(text), icon=":material/link_off:")


def note(text: str) -> None:
    """Have `show_notes` say this."""
    notes = st.session_state.get(_NOTES)
    if notes is not None and text not in notes:
        notes.append(text)


def option(
    name: str,
    options: Sequence[T],
    default: T | None,
    show: Callable[[T], str] = str,
    *,
    given: Literal["default", "index", "value"] = "default",
    explicit: bool = False,
    resets: Collection[str] = (),
) -> dict[str, Any]:
    """What ties a widget for one of some options (a default of None: or for none) to the parameter ``name``.

    ``show`` is the widget's format_func, ``given`` what it calls its first value. ``explicit``: the default
    is written once it was chosen, too, as it would be another one when something was added to the home. A
    change leaves out the parameters ``resets``, whose options depend on this one.
    """
    texts = _texts(options, show)
    value: T | None = default
    for text in session.read_params().get(name, [])[-1:]:
        if text in texts:
            value = texts[text]
        else:
            _note_unknown(name, text, options)
    unwritten = None if explicit else default
    tied = _tie(name, value, lambda chosen: [] if chosen == unwritten else [str(chosen)], resets)
    return {**tied, given: list(options).index(value) if given == "index" and value is not None else value}


def some(
    name: str, options: Sequence[T], default: Sequence[T], *, most: int, resets: Collection[str] = ()
) -> dict[str, Any]:
    """What ties a widget for at most ``most`` of some options to the parameter ``name``, once for each."""
    texts = _texts(options, str)
    given = session.read_params().get(name)
    if given is None:
        value = list(default)
    else:
        value = [texts[text] for text in dict.fromkeys(given) if text in texts]
        for text in given:
            if text and text not in texts:
                _note_unknown(name, text, options)
        if len(value) > most:
            note(f"The address names {len(value)} of {name}; the first {most} are taken.")
            value = value[:most]
        if not value and given != [""]:
            value = list(default)
    # None of them is an empty value: without the parameter there would be the default.
    tied = _tie(name, value, lambda chosen: [str(each) for each in chosen] or [""], resets)
    return {**tied, "default": value}


def flag(name: str, default: bool, *, resets: Collection[str] = ()) -> dict[str, Any]:
    """What ties a toggle to the parameter ``name``, yes or no."""
    for text in session.read_params().get(name, [])[-1:]:
        if text not in _FLAGS:
            note(f"{name} = {text[:40]!r} in the address is neither yes nor no, and is left out.")

    def to_texts(on: bool) -> list[str]:
        return [] if on == default else ["yes" if on else "no"]

    value = is_on(name, default)
    return {**_tie(name, value, to_texts, resets), "value": value}


def is_on(name: str, default: bool) -> bool:
    """What the address says of a `flag`, which may be drawn below what needs it."""
    text = session.read_params().get(name, [""])[-1]
    return _FLAGS.get(text, default)


def number(name: str, low: float, high: float, default: float) -> dict[str, Any]:
    """What ties a slider from ``low`` to ``high`` to the parameter ``name``."""
    value = default
    for text in session.read_params().get(name, [])[-1:]:
        try:
            asked = float(text)
        except ValueError:
            note(f"{name} = {text[:40]!r} in the address cannot be read, and is left out.")
            continue
        value = min(max(asked, low), high) if asked == asked else default  # NaN is not itself
        if value != asked:
            note(f"{name} is {asked:g} in the address; {value:g} is taken.")
    tied = _tie(name, value, lambda chosen: [] if chosen == default else [f"{chosen:g}"])
    return {**tied, "value": value}


def _texts(options: Sequence[T], show: Callable[[T], str]) -> dict[str, T]:
    """What an address may say for each option; older links have what the widget shows."""
    return {**{show(each): each for each in options}, **{str(each): each for each in options}}


def _note_unknown(name: str, text: str, options: Sequence[object]) -> None:
    known = f"none of {', '.join(map(str, options))}" if len(options) <= _LISTED else "not there"
    note(f"{name} = {text[:40]!r} in the address is {known}; it is left out.")


def _tie(
    name: str, value: object, to_texts: Callable[[Any], list[str]], resets: Collection[str] = ()
) -> dict[str, Any]:
    session.set_widget(name, value)

    def take_change() -> None:
        texts = to_texts(st.session_state[name])
        session.write_params([name, *resets], {name: texts} if texts else {})

    return {"key": name, "on_change": take_change}

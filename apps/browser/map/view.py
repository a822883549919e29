"""What of the map stands in its address besides question and colours: the part in view, and an outline.

view=0.5123_0.3330_2.10              x and y of the middle, in the map's unit square, and the zoom
outline=0123cdef_5123_3330_...       which map it was drawn on; x and y of its corners, in ten-thousandths
"""

import re
import zlib
from typing import Final

import streamlit as st

from apps.browser import address, session
from apps.browser.map.pose_map import PoseMap
from apps.browser.map.selection import MAX_CORNERS, Outline

_VIEW: Final = "view"
_OUTLINE: Final = "outline"
_STEPS: Final = 10_000
"""To a side of the map: finer than a pixel, until it is zoomed in by ten."""
_VIEW_FORM: Final = re.compile(r"-?\d\.\d{4}_-?\d\.\d{4}_\d{1,2}\.\d\d")
_OUTLINE_FORM: Final = re.compile(r"[0-9a-f]{8}(_-?\d{1,5}){6,}")


def read_view() -> str:
    """The part of the map in view, as the canvas reads it; empty: all of it."""
    text = st.query_params.get(_VIEW, "")
    if text and not _VIEW_FORM.fullmatch(text):
        address.note(f"{_VIEW} = {text[:40]!r} in the address cannot be read; the whole map is shown.")
        return ""
    return text


def write_view(text: str) -> None:
    """Put what the canvas says into the address; a forged message is none."""
    if not text or _VIEW_FORM.fullmatch(text):
        session.write_params([_VIEW], {_VIEW: text} if text else {})


def read_outline(pose_map: PoseMap) -> Outline | None:
    """The outline in the address, if it was drawn on this map: on another one, any hands lie within."""
    text = st.query_params.get(_OUTLINE, "")
    if not text:
        return None
    if (
        not _OUTLINE_FORM.fullmatch(text)
        or not 6 <= text.count("_") <= 2 * MAX_CORNERS
        or text.count("_") % 2
    ):
        address.note(f"{_OUTLINE} = {text[:40]!r} in the address cannot be read, and is left out.")
        return None
    drawn_on, *numbers = text.split("_")
    if drawn_on != _shorten(pose_map.checksum):
        address.note("The outline in the address was drawn on another map, and is left out.")
        return None
    places = [int(number) / _STEPS for number in numbers]
    return tuple(zip(places[::2], places[1::2], strict=True))


def write_outline(pose_map: PoseMap, outline: Outline | None) -> None:
    """Put an outline into the address, in its precision: a link holds the same hands as what was drawn."""
    if outline is None:
        session.write_params([_OUTLINE], {})
        return
    session.write_params([_OUTLINE], {_OUTLINE: format_outline(pose_map.checksum, outline)})


def format_outline(checksum: str, outline: Outline) -> str:
    """What `read_outline` reads, of a map with this checksum."""
    numbers = [str(round(place * _STEPS)) for corner in outline for place in corner]
    return "_".join([_shorten(checksum), *numbers])


def _shorten(checksum: str) -> str:
    return f"{zlib.crc32(checksum.encode()):08x}"

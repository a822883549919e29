"""The map of the version that is looked at, read once for all who look."""

from pathlib import Path
from typing import Final

import streamlit as st

from apps.browser.library import Library
from apps.browser.map.keeping import load_map, map_file, maps_folder
from apps.browser.map.pose_map import PoseMap
from handsim.errors import HandsimError
from index import VersionInfo

_KEPT: Final = 2
"""About 15 MB each at 500,000 hands."""


def find_map(library: Library, info: VersionInfo) -> PoseMap | None:
    """A version's map; None where it was not made yet.

    Raises HandsimError for a file that is damaged, or is of other hands than the version's.
    """
    file = map_file(maps_folder(library.home, library.settings.index), info)
    try:
        written = file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    made = _read(file, written.st_mtime_ns, written.st_size)
    if not made.is_of(info):
        raise HandsimError(f"{file} is of index {made.version} with other hands; make it anew")
    return made


@st.cache_resource(max_entries=_KEPT, show_spinner=False)
def _read(file: Path, written_ns: int, size: int) -> PoseMap:
    return load_map(file)

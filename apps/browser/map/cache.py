"""The maps in memory: each is read once for all sessions."""

from pathlib import Path
from typing import Final

import streamlit as st

from apps.browser.library import Library
from apps.browser.map.pose_map import PoseMap, map_file, maps_folder, read_map_file
from handsim.errors import HandsimError
from index import VersionInfo

_CACHED_MAPS: Final = 2
"""About 15 MB each at 500,000 hands."""


def find_map(library: Library, info: VersionInfo) -> PoseMap | None:
    """A version's map, read once for all sessions; None if it was not made yet.

    Raises HandsimError if the file is damaged, or holds the map of other hands.
    """
    file = map_file(maps_folder(library.home, library.settings.index), info)
    try:
        status = file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    pose_map = _read_cached(file, status.st_mtime_ns, status.st_size)
    if not pose_map.matches(info):
        raise HandsimError(f"{file} is of index {pose_map.version} with other hands; make the map again")
    return pose_map


@st.cache_resource(max_entries=_CACHED_MAPS, show_spinner=False)
def _read_cached(file: Path, modified_ns: int, size: int) -> PoseMap:
    return read_map_file(file)

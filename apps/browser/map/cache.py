"""The maps in memory: each is read once for all sessions, and so are the columns of their hands."""

from pathlib import Path
from typing import Final
from weakref import WeakKeyDictionary

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from apps.browser.library import Library
from apps.browser.map.columns import MapColumns
from apps.browser.map.groups import Group, find_groups
from apps.browser.map.links import measure_distances
from apps.browser.map.pose_map import PoseMap, find_map_file, maps_folder, read_map_file
from apps.browser.search.answer import Crops, find_crops
from apps.browser.search.question import Question
from handsim.errors import HandsimError
from handsim.pool import Pool
from index import IndexVersion, VersionInfo

_CACHED_MAPS: Final = 2
"""About 15 MB each at 500,000 hands."""
_CACHED_DISTANCES: Final = 4


def find_map(library: Library, info: VersionInfo) -> PoseMap | None:
    """The map of a version's hands, read once for all sessions; None if it was not made yet.

    Raises HandsimError if the file is damaged, or holds the map of other hands.
    """
    file = find_map_file(maps_folder(library.home, library.settings.index), info)
    if file is None:
        return None
    try:
        status = file.stat()
    except FileNotFoundError:  # removed since
        return None
    pose_map = _read_cached(file, status.st_mtime_ns, status.st_size)
    if not pose_map.matches(info):
        raise HandsimError(f"{file} is of index {pose_map.version} with other hands; make the map again")
    return pose_map


@st.cache_resource(max_entries=_CACHED_MAPS, show_spinner=False)
def _read_cached(file: Path, modified_ns: int, size: int) -> PoseMap:
    return read_map_file(file)


def read_columns(pose_map: PoseMap, pool: Pool) -> MapColumns:
    """The columns of a map's hands, made once for each pool that is opened: 0.2 s at 500,000 hands."""
    of_pool = _columns().setdefault(pool, WeakKeyDictionary())
    if pose_map not in of_pool:
        of_pool[pose_map] = MapColumns.of(pose_map, pool)
    return of_pool[pose_map]


@st.cache_resource(show_spinner=False)
def _columns() -> WeakKeyDictionary[Pool, WeakKeyDictionary[PoseMap, MapColumns]]:
    return WeakKeyDictionary()


def find_groups_of(pose_map: PoseMap, columns: MapColumns, pool: Pool) -> list[Group]:
    """The groups of a map, found once for each pool that is opened."""
    found = _groups()
    if columns not in found:
        found[columns] = find_groups(pose_map, columns, pool)
    return found[columns]


@st.cache_resource(show_spinner=False)
def _groups() -> WeakKeyDictionary[MapColumns, list[Group]]:
    return WeakKeyDictionary()


def measure_distances_of(library: Library, pose_map: PoseMap, question: Question) -> NDArray[np.float32]:
    """`measure_distances` in the current version, measured once for each subject."""
    crops = find_crops(question)
    with library.open_version() as version:
        key = (version.info.state, pose_map.checksum, question.subject, sorted(crops))
        return _measure_cached(version, pose_map, question, crops, key)


@st.cache_data(max_entries=_CACHED_DISTANCES, show_spinner="Measuring all distances")
def _measure_cached(
    _version: IndexVersion, _pose_map: PoseMap, _question: Question, _crops: Crops, key: tuple[object, ...]
) -> NDArray[np.float32]:
    return measure_distances(_version, _pose_map, _question, _crops)

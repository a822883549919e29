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
from apps.browser.map.links import measure_distances, read_vectors
from apps.browser.map.pose_map import PoseMap, find_map_file, maps_folder, read_map_file
from apps.browser.search.answer import find_crops
from apps.browser.search.question import Question
from handsim.errors import HandsimError
from handsim.pool import Pool
from index import IndexVersion, VersionInfo

_CACHED_MAPS: Final = 2
"""About 15 MB each at 500,000 hands."""
_MAX_VECTOR_BYTES: Final = 2**29
"""500,000 poses take 28 MB, as many vectors of pictures with 128 numbers 256 MB."""


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


def can_measure_distances(pose_map: PoseMap, info: VersionInfo) -> bool:
    """Whether the vectors of all hands are few enough to hold them."""
    return 4 * len(pose_map) * info.dimension <= _MAX_VECTOR_BYTES


def measure_distances_of(library: Library, pose_map: PoseMap, question: Question) -> NDArray[np.float32]:
    """`measure_distances` of all hands on a map in the current version, whose vectors are read once."""
    with library.open_version() as version:
        vectors = _read_vectors(version, pose_map, (version.info.state, pose_map.checksum))
        return measure_distances(version, vectors, question, find_crops(question))


@st.cache_resource(max_entries=1, show_spinner="Reading the vectors of all hands")
def _read_vectors(_version: IndexVersion, _pose_map: PoseMap, key: tuple[object, ...]) -> NDArray[np.float32]:
    return read_vectors(_version, _pose_map)

"""Where the hands of an index version lie on the map.

Maps as files: one for each index version, whole or not there, removed with the version.

The map of the version that is looked at, read once for all who look.
"""

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from apps.browser.library import Library
from handsim.errors import HandsimError, NotThereError
from handsim.files import sync
from handsim.home import Home
from handsim.pool.reader import Categorical
from index import VersionInfo

_SHUFFLE_SEED: Final = 0


@dataclass(frozen=True, eq=False)
class PoseMap:
    """The hands of one index version, or a random part of them, laid flat."""

    version: str
    """The version's name."""
    checksum: str
    """The version's, see `index.points.Checksum`: versions of other indexes bear the same names."""
    hands_in_version: int
    """How many hands it holds; a part of them may be on the map."""
    hand_ids: NDArray[np.uint64]
    """[N], rising."""
    places: NDArray[np.float32]
    """[N, 2] in the unit square, x right, y down; near means alike."""
    distances: NDArray[np.float32]
    """[N] Euclidean in the embedding, to the nearest hand of another video; NaN where there is none."""
    sources: Categorical
    """[N]."""
    videos: Categorical
    """[N]."""
    labels: Categorical
    """[N], missing where people gave none."""

    def __len__(self) -> int:
        return len(self.hand_ids)

    def is_of(self, info: VersionInfo) -> bool:
        """Whether it shows just the hands of a version."""
        return (self.version, self.checksum) == (info.name, info.checksum)

    @cached_property
    def drawing_order(self) -> NDArray[np.intp]:
        """[N] rows in an order drawn at random, always the same: its beginning is a sample of any size."""
        return np.random.default_rng(_SHUFFLE_SEED).permutation(len(self))

    def row_of(self, hand_id: int) -> int | None:
        """A hand's row; None where it is not on the map."""
        row = int(np.searchsorted(self.hand_ids, np.uint64(hand_id)))
        return row if row < len(self) and int(self.hand_ids[row]) == hand_id else None


_ENDING: Final = ".npz"
_FORMAT: Final = 1
_PLAIN: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_CATEGORICAL: Final = ("sources", "videos", "labels")


def maps_folder(home: Home, index: str | None = None) -> Path:
    """Where the maps of a home's index lie; those of an ``index`` elsewhere in a folder of their own.

    Two indexes may have versions of one name, and making a map removes those of versions that are gone.
    """
    own = home.path / "maps"
    return own if index is None else own / f"of-{sha256(index.encode()).hexdigest()[:16]}"


def map_file(folder: Path, info: VersionInfo) -> Path:
    """The file of a version's map; raises HandsimError for a version whose name leads elsewhere."""
    name = f"{info.name}-{info.checksum}"
    if not _PLAIN.fullmatch(name):
        raise HandsimError(
            f"index version {info.name!r} bears no plain name, so that no map can be kept of it"
        )
    return folder / (name + _ENDING)


def save_map(made: PoseMap, file: Path) -> None:
    """Write a map as npz beside its place, then put it there: readers see none or all of it."""
    about = {
        "format": _FORMAT,
        "version": made.version,
        "checksum": made.checksum,
        "hands_in_version": made.hands_in_version,
        "names": {column: getattr(made, column).names for column in _CATEGORICAL},
    }
    arrays: dict[str, NDArray[Any]] = {
        "about": np.frombuffer(json.dumps(about).encode(), dtype=np.uint8),
        "hand_ids": made.hand_ids,
        "places": made.places,
        "distances": made.distances,
        **{column: getattr(made, column).codes for column in _CATEGORICAL},
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as out:
            np.savez(out, allow_pickle=False, **arrays)
        sync(temporary)
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


def load_map(file: Path) -> PoseMap:
    """Read what `save_map` wrote; raises NotThereError, or HandsimError for what is no such file."""
    try:
        with np.load(file, allow_pickle=False) as kept:
            about = json.loads(kept["about"].tobytes())
            if about["format"] != _FORMAT:
                raise HandsimError(f"{file} is of another version of handsim; make the map anew")
            columns = {
                column: Categorical(kept[column], tuple(about["names"][column])) for column in _CATEGORICAL
            }
            made = PoseMap(
                about["version"],
                about["checksum"],
                about["hands_in_version"],
                kept["hand_ids"],
                kept["places"],
                kept["distances"],
                **columns,
            )
    except FileNotFoundError as error:
        raise NotThereError(f"there is no map at {file} yet") from error
    except (OSError, BadZipFile, ValueError, KeyError, TypeError, EOFError) as error:
        if isinstance(error, HandsimError):
            raise
        raise HandsimError(f"{file} is no map, or a damaged one; make it anew") from error
    _check(made, file)
    return made


def _check(made: PoseMap, file: Path) -> None:
    count = len(made.hand_ids)
    shapes = [made.hand_ids.shape, made.places.shape, made.distances.shape]
    shapes += [getattr(made, column).codes.shape for column in _CATEGORICAL]
    fits = shapes == [(count,), (count, 2), (count,), (count,), (count,), (count,)]
    for column in _CATEGORICAL:
        values = getattr(made, column)
        fits = fits and bool((values.codes < len(values.names)).all())
    if not fits or not np.isfinite(made.places).all():
        raise HandsimError(f"{file} is no map, or a damaged one; make it anew")


def remove_obsolete(folder: Path, versions: Iterable[VersionInfo]) -> list[Path]:
    """Remove the maps of versions that are none of these, and what a killed writer left; returns them.

    Only the one process that writes maps may ask for it.
    """
    wanted = {map_file(folder, info) for info in versions}
    removed = [file for file in folder.glob("*" + _ENDING) if file not in wanted]
    removed += folder.glob(f".*{_ENDING}.*")
    for file in removed:
        file.unlink(missing_ok=True)
    return removed


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

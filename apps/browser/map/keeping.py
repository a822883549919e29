"""Maps as files: one for each index version, whole or not there, removed with the version."""

import json
import os
import re
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from apps.browser.map.pose_map import PoseMap
from handsim.atomic_file import sync
from handsim.errors import HandsimError, NotThereError
from handsim.home import Home
from handsim.pool.categorical import Categorical
from index import VersionInfo

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

"""The map of an index version: where its hands lie, and the file that holds it.

A home has one ``.npz`` file (no pickle) for each set of hands, named after a version that holds them and
after their checksum, which is over ids and vectors: later versions of the same hands in the same embedding
share it.
It is written atomically, and removed when no version is left that holds these hands. The key ``about`` holds
JSON as bytes: the version, and the names behind the codes in ``sources``, ``videos`` and ``labels``.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
from numpy.typing import ArrayLike, NDArray

from handsim.errors import HandsimError, NotThereError
from handsim.files import replacing
from handsim.home import Home
from handsim.pool.reader import Categorical
from index import VersionInfo

_SHUFFLE_SEED: Final = 0
_SUFFIX: Final = ".npz"
_FORMAT: Final = 1
_FILE_STEM: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_CATEGORICAL: Final = ("sources", "videos", "labels")


@dataclass(frozen=True, eq=False)
class PoseMap:
    """The hands of one index version, or a random part of them, in the plane."""

    version: str
    """The name of the version that it was made of."""
    checksum: str
    """The version's, see `index.points.Checksum`: equal ones have the same hands and vectors."""
    hands_in_version: int
    """How many hands the version has; the map may have fewer."""
    hand_ids: NDArray[np.uint64]
    """[N], ascending."""
    places: NDArray[np.float32]
    """[N, 2] in the unit square, x right, y down; near means similar."""
    distances: NDArray[np.float32]
    """[N] Euclidean in the embedding, to the nearest hand of another video; NaN if there is none."""
    sources: Categorical
    """[N]."""
    videos: Categorical
    """[N]."""
    labels: Categorical
    """[N], missing for hands without a label."""

    def __len__(self) -> int:
        return len(self.hand_ids)

    def matches(self, info: VersionInfo) -> bool:
        """Whether it shows the hands of that version, in its embedding."""
        return self.checksum == info.checksum

    @cached_property
    def drawing_order(self) -> NDArray[np.intp]:
        """[N] rows in a random order, always the same: its first n rows are a sample of size n."""
        return np.random.default_rng(_SHUFFLE_SEED).permutation(len(self))

    @cached_property
    def place_of_row(self) -> NDArray[np.intp]:
        """[N] each row's place in the drawing order."""
        return np.argsort(self.drawing_order)

    @cached_property
    def by_height(self) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """[N] rows from the top of the map to its bottom, and their places [2, N]: x, and y rising."""
        rows = np.argsort(self.places[:, 1], kind="stable")
        return rows, np.ascontiguousarray(self.places[rows].T, dtype=np.float64)

    def find_rows(self, hand_ids: ArrayLike) -> NDArray[np.intp]:
        """[M] rows of hands [M]; -1 for those that are not on the map."""
        ids = np.asarray(hand_ids, dtype=np.uint64)
        if not len(self):
            return np.full(ids.shape, -1, dtype=np.intp)
        rows = np.minimum(np.searchsorted(self.hand_ids, ids), len(self) - 1)
        return np.where(self.hand_ids[rows] == ids, rows, -1)

    def find_row(self, hand_id: int) -> int | None:
        """A hand's row; None if the hand is not on the map."""
        row = int(np.searchsorted(self.hand_ids, np.uint64(hand_id)))
        return row if row < len(self) and int(self.hand_ids[row]) == hand_id else None


def maps_folder(home: Home, index: str | None = None) -> Path:
    """The folder with the maps of a home's index; those of another ``index`` have a folder of their own.

    Two indexes may have versions of one name, and making a map removes those of versions that are gone.
    """
    folder = home.path / "maps"
    return folder if index is None else folder / f"of-{sha256(index.encode()).hexdigest()[:16]}"


def map_file(folder: Path, info: VersionInfo) -> Path:
    """The file of a version's map; raises HandsimError if the version's name is not a plain file name."""
    stem = f"{info.name}-{info.checksum}"
    if not _FILE_STEM.fullmatch(stem):
        raise HandsimError(
            f"no map can be stored for index version {info.name!r}: "
            "its name has other characters than letters, digits, '_', '.' and '-'"
        )
    return folder / (stem + _SUFFIX)


def find_map_file(folder: Path, info: VersionInfo) -> Path | None:
    """The file with the map of a version's hands, whichever version it was made of; None without one."""
    file = map_file(folder, info)
    if file.is_file():
        return file
    return next(iter(sorted(folder.glob(f"*-{info.checksum}{_SUFFIX}"))), None)


def store_map(pose_map: PoseMap, folder: Path, info: VersionInfo) -> Path:
    """Write a version's map, in the place of an earlier one of the same hands; returns the file."""
    file = find_map_file(folder, info) or map_file(folder, info)
    write_map_file(pose_map, file)
    return file


def write_map_file(pose_map: PoseMap, file: Path) -> None:
    about = {
        "format": _FORMAT,
        "version": pose_map.version,
        "checksum": pose_map.checksum,
        "hands_in_version": pose_map.hands_in_version,
        "names": {column: getattr(pose_map, column).names for column in _CATEGORICAL},
    }
    arrays: dict[str, NDArray[Any]] = {
        "about": np.frombuffer(json.dumps(about).encode(), dtype=np.uint8),
        "hand_ids": pose_map.hand_ids,
        "places": pose_map.places,
        "distances": pose_map.distances,
        **{column: getattr(pose_map, column).codes for column in _CATEGORICAL},
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as temporary, temporary.open("wb") as out:
        np.savez(out, allow_pickle=False, **arrays)


def read_map_file(file: Path) -> PoseMap:
    """Read a map; raises NotThereError without the file, HandsimError if it holds no map."""
    damaged = f"{file} is not a map, or damaged; make the map again"
    try:
        with np.load(file, allow_pickle=False) as arrays:
            about = json.loads(arrays["about"].tobytes())
            if about["format"] != _FORMAT:
                raise HandsimError(f"{file} is of another version of handsim; make the map again")
            pose_map = PoseMap(
                about["version"],
                about["checksum"],
                about["hands_in_version"],
                arrays["hand_ids"],
                arrays["places"],
                arrays["distances"],
                **{
                    column: Categorical(arrays[column], tuple(about["names"][column]))
                    for column in _CATEGORICAL
                },
            )
    except FileNotFoundError as error:
        raise NotThereError(f"there is no map at {file} yet") from error
    except HandsimError:
        raise
    except (OSError, BadZipFile, ValueError, KeyError, TypeError, EOFError) as error:
        raise HandsimError(damaged) from error
    if not _is_consistent(pose_map):
        raise HandsimError(damaged)
    return pose_map


def _is_consistent(pose_map: PoseMap) -> bool:
    columns = [getattr(pose_map, column) for column in _CATEGORICAL]
    count = len(pose_map.hand_ids)
    vectors = [pose_map.hand_ids, pose_map.distances, *(column.codes for column in columns)]
    return (
        all(vector.shape == (count,) for vector in vectors)
        and pose_map.places.shape == (count, 2)
        and all((column.codes < len(column.names)).all() for column in columns)
        and bool(np.isfinite(pose_map.places).all())
    )


def remove_obsolete(folder: Path, versions: Iterable[VersionInfo]) -> list[Path]:
    """Remove the maps of hands that none of these versions holds, and half-written files; return them.

    Only for the process that writes maps, of which there is one.
    """
    current = tuple(f"-{info.checksum}{_SUFFIX}" for info in versions)
    obsolete = [file for file in folder.glob("*" + _SUFFIX) if not file.name.endswith(current)]
    obsolete += folder.glob(f".*{_SUFFIX}.*")
    for file in obsolete:
        file.unlink(missing_ok=True)
    return obsolete

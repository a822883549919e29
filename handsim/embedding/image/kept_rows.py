"""Rows of numbers kept on disk by hand id: what took long to compute is computed once.

    <folder>/<digest>.rows.npy       [n, width]
    <folder>/<digest>.hand_ids.npy   [n] uint64; the rows count from when this file is there

Files are only ever added, each by one rename, so a killed writer loses nothing that it had kept. They are
mapped into memory: two million rows cost the pages that are looked at.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from handsim.atomic_file import sync
from handsim.errors import HandsimError

_ROWS: Final = ".rows.npy"
_HAND_IDS: Final = ".hand_ids.npy"


class KeptRows:
    """Rows [N, width] of one kind of number by hand id, in a folder that is made when the first is kept."""

    def __init__(self, folder: Path, width: int, dtype: DTypeLike) -> None:
        """Open what is there; raises HandsimError when it is damaged, or of another width or dtype."""
        self._folder, self._width, self._dtype = folder, width, np.dtype(dtype)
        self._files: list[NDArray[Any]] = []
        self._hand_ids = np.empty(0, dtype=np.uint64)  # sorted
        self._file_of = np.empty(0, dtype=np.int32)
        self._row_in_file = np.empty(0, dtype=np.int64)
        self._open_files([path.name.removesuffix(_HAND_IDS) for path in folder.glob(f"*{_HAND_IDS}")])

    def has(self, hand_ids: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """[M] whether the rows of hands [M] are kept."""
        places = np.searchsorted(self._hand_ids, hand_ids)
        found = places < len(self._hand_ids)
        found[found] = self._hand_ids[places[found]] == hand_ids[found]
        return found

    def read(self, hand_ids: NDArray[np.uint64]) -> NDArray[Any]:
        """Rows [M, width] of hands [M], all of which are kept."""
        places = np.searchsorted(self._hand_ids, hand_ids)
        files, within = self._file_of[places], self._row_in_file[places]
        rows = np.empty((len(hand_ids), self._width), dtype=self._dtype)
        for number in np.unique(files):
            here = files == number
            rows[here] = self._files[number][within[here]]
        return rows

    def keep(self, hand_ids: NDArray[np.uint64], rows: NDArray[Any]) -> None:
        """Keep rows [n, width] of hands [n] that are not kept yet, down to the disk.

        Raises HandsimError when they cannot be written.
        """
        if not len(hand_ids):
            return
        # Named by what it holds: two processes that keep the same hands write the same file.
        name = hashlib.sha256(hand_ids.astype("<u8").tobytes()).hexdigest()[:16]
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            _write(self._folder / (name + _ROWS), rows.astype(self._dtype))
            _write(self._folder / (name + _HAND_IDS), hand_ids.astype(np.uint64))
            sync(self._folder)
        except OSError as error:
            raise HandsimError(
                f"{len(hand_ids):,} hands cannot be kept in {self._folder} ({error.strerror or error}); "
                f"make room and run it again, it goes on where it stopped"
            ) from error
        self._open_files([name])

    def _open_files(self, names: Sequence[str]) -> None:
        hand_ids, file_of, row_in_file = [self._hand_ids], [self._file_of], [self._row_in_file]
        for name in names:
            ids, rows = self._map_file(name)
            hand_ids.append(ids)
            file_of.append(np.full(len(ids), len(self._files), dtype=np.int32))
            row_in_file.append(np.arange(len(ids)))
            self._files.append(rows)
        self._hand_ids = np.concatenate(hand_ids)
        order = np.argsort(self._hand_ids, kind="stable")
        self._hand_ids = self._hand_ids[order]
        self._file_of = np.concatenate(file_of)[order]
        self._row_in_file = np.concatenate(row_in_file)[order]

    def _map_file(self, name: str) -> tuple[NDArray[np.uint64], NDArray[Any]]:
        try:
            ids = np.load(self._folder / (name + _HAND_IDS), allow_pickle=False)
            rows = np.load(self._folder / (name + _ROWS), mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise self._damaged(name, error) from error
        if rows.shape != (len(ids), self._width) or rows.dtype != self._dtype:
            raise self._damaged(name, f"{rows.dtype} {list(rows.shape)} for {len(ids)} hands")
        return ids, rows

    def _damaged(self, name: str, why: object) -> HandsimError:
        return HandsimError(
            f"{self._folder / name}.* is damaged ({why}); delete {self._folder}, it is made anew when needed"
        )


def _write(path: Path, array: NDArray[Any]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            np.save(file, array, allow_pickle=False)
        sync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)

"""Rows of numbers on disk by hand id, so that what takes long to compute is computed once.

Caches lie beside the pool: features and vectors of its crops, each kind in a folder of its own.

    <folder>/<digest>.rows.npy       [n, width]
    <folder>/<digest>.hand_ids.npy   [n] uint64; the rows count from when this file is there

Files are added by one rename each, so a killed writer loses nothing that it had added, and deleted only where
the crop of a hand in them becomes another (`forget_rows`). They are mapped into memory while rows are read
from them: two million rows cost the pages that are read. No file stays open: there is one for every thousand
hands or so, and a process may have 1,024 files open on most machines.
"""

import hashlib
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from handsim.errors import HandsimError
from handsim.files import replacing, sync

FEATURES_FOLDER: Final = "features"
VECTORS_FOLDER: Final = "vectors"
_ROWS: Final = ".rows.npy"
_HAND_IDS: Final = ".hand_ids.npy"


class RowCache:
    """Rows [N, width] of one kind of number by hand id, in a folder that is made when the first is added."""

    def __init__(self, folder: Path, width: int, dtype: DTypeLike) -> None:
        """Index what is there; raises HandsimError when it is damaged, or of another width or dtype."""
        self._folder, self._width, self._dtype = folder, width, np.dtype(dtype)
        self._names: list[str] = []
        self._hand_ids = np.empty(0, dtype=np.uint64)  # sorted
        self._file_of = np.empty(0, dtype=np.int32)  # of each hand: which of the names
        self._row_in_file = np.empty(0, dtype=np.int64)
        self._index_files(path.name.removesuffix(_HAND_IDS) for path in folder.glob(f"*{_HAND_IDS}"))

    def contains(self, hand_ids: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """[M] whether there is a row for each of hands [M]."""
        places = np.searchsorted(self._hand_ids, hand_ids)
        contained = places < len(self._hand_ids)
        contained[contained] = self._hand_ids[places[contained]] == hand_ids[contained]
        return contained

    def read(self, hand_ids: NDArray[np.uint64]) -> NDArray[Any]:
        """Rows [M, width] of hands [M], all of which are in the cache."""
        places = np.searchsorted(self._hand_ids, hand_ids)
        files, row_in_file = self._file_of[places], self._row_in_file[places]
        rows = np.empty((len(hand_ids), self._width), dtype=self._dtype)
        for number in np.unique(files):
            here = files == number
            rows[here] = self._load(self._names[number] + _ROWS)[row_in_file[here]]
        return rows

    def add(self, hand_ids: NDArray[np.uint64], rows: NDArray[Any]) -> None:
        """Write rows [n, width] of hands [n] that are not in it yet; raises HandsimError if it cannot."""
        if not len(hand_ids):
            return
        # Named by its content: two processes that add the same hands write the same file.
        name = hashlib.sha256(hand_ids.astype("<u8").tobytes()).hexdigest()[:16]
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            # The ids last: with them the rows begin to count.
            for suffix, array in ((_ROWS, rows.astype(self._dtype)), (_HAND_IDS, hand_ids.astype(np.uint64))):
                content = io.BytesIO()  # numpy, writing to a file, does not say why it failed
                np.save(content, array, allow_pickle=False)
                with replacing(self._folder / (name + suffix)) as path:
                    path.write_bytes(content.getbuffer())
            sync(self._folder)
        except OSError as error:
            raise HandsimError(
                f"{len(hand_ids):,} hands cannot be written to {self._folder} ({error.strerror or error}); "
                f"once that is mended, run it again: it goes on where it stopped"
            ) from error
        self._index_files([name])

    def _index_files(self, names: Iterable[str]) -> None:
        hand_ids, file_of, row_in_file = [self._hand_ids], [self._file_of], [self._row_in_file]
        for name in names:
            ids, rows = self._load(name + _HAND_IDS), self._load(name + _ROWS)
            if rows.shape != (len(ids), self._width) or rows.dtype != self._dtype:
                content = f"{rows.dtype} {list(rows.shape)} for {len(ids)} hands"
                raise self._unusable(name + _ROWS, f"is damaged ({content})")
            hand_ids.append(np.array(ids))
            file_of.append(np.full(len(ids), len(self._names), dtype=np.int32))
            row_in_file.append(np.arange(len(ids)))
            self._names.append(name)
        self._hand_ids = np.concatenate(hand_ids)
        order = np.argsort(self._hand_ids, kind="stable")
        self._hand_ids = self._hand_ids[order]
        self._file_of = np.concatenate(file_of)[order]
        self._row_in_file = np.concatenate(row_in_file)[order]

    def _load(self, name: str) -> NDArray[Any]:
        """An array, mapped; its file stays open for as long as the array lives."""
        try:
            array: NDArray[Any] = np.load(self._folder / name, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError as error:
            raise self._unusable(name, "is missing") from error
        except OSError as error:
            raise HandsimError(f"{self._folder / name} cannot be read ({error.strerror or error})") from error
        except (ValueError, EOFError) as error:
            raise self._unusable(name, f"is damaged ({error})") from error
        return array

    def _unusable(self, name: str, fault: str) -> HandsimError:
        return HandsimError(
            f"{self._folder / name} {fault}; delete {self._folder}, it is made anew when needed"
        )


def forget_rows(pool: Path, hand_ids: NDArray[np.uint64]) -> None:
    """Have the rows of hands [n] computed anew, in all caches of a pool: their crops became others.

    Files that hold one are deleted, with the rows of up to a thousand other hands. Raises OSError.
    """
    for folder in (FEATURES_FOLDER, VECTORS_FOLDER):
        for file in (pool.parent / folder).glob(f"*/*{_HAND_IDS}"):
            if np.isin(np.load(file, allow_pickle=False), hand_ids).any():
                file.unlink()  # first: without it the rows do not count
                file.with_name(file.name.removesuffix(_HAND_IDS) + _ROWS).unlink(missing_ok=True)

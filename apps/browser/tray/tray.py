"""The hands that a visitor has chosen: an ordered set with a history, which lasts over pages and reloads.

A random number in a cookie tells visitors apart. Their trays live in the server: a web browser would send
100,000 ids to and fro. A home that may be written to keeps them, a file for each visitor.
"""

import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from handsim.english import pluralize
from handsim.files import replacing
from handsim.lists import HandLists

_LONGEST_HISTORY: Final = 50
_IN_MEMORY: Final = 500
"""Trays of visitors; of those who were here earlier, the files are read again."""
_KEPT_DAYS: Final = 90


@dataclass(frozen=True)
class ListChange:
    """What was done to a named list, so that it can be undone."""

    name: str
    hand_ids: NDArray[np.uint64]
    """[M] the hands that were added, or taken off."""
    is_new: bool
    """Whether the list was made by it."""
    is_removal: bool = False
    """Whether hands were taken off."""


@dataclass(frozen=True)
class _Step:
    title: str
    before: NDArray[np.uint64]
    on_list: ListChange | None


class Tray:
    """Threads may share it: a visitor has several windows."""

    def __init__(self, file: Path | None = None) -> None:
        """``file`` keeps the hands; None: they last as long as the server."""
        self._file = file
        self._lock = RLock()
        self._history: list[_Step] = []
        self.hand_ids: NDArray[np.uint64] = np.empty(0, dtype=np.uint64)
        """[N], in the order in which they were chosen; replaced as a whole at each change."""
        if file is not None:
            with suppress(OSError, ValueError):
                self.hand_ids = np.load(file, allow_pickle=False).astype(np.uint64)
        self._rising = np.sort(self.hand_ids)

    def __len__(self) -> int:
        return len(self.hand_ids)

    def contains(self, hand_ids: ArrayLike) -> NDArray[np.bool_]:
        """[M] which of hands [M] are chosen."""
        # A grid asks about 200 hands: numpy's isin would sort 100,000 chosen ones for them, in 50 ms.
        ids, rising = np.asarray(hand_ids, dtype=np.uint64), self._rising
        if not len(rising):
            return np.zeros(ids.shape, dtype=np.bool_)
        places = np.minimum(np.searchsorted(rising, ids), len(rising) - 1)
        return np.asarray(rising[places] == ids)

    @property
    def undo_title(self) -> str | None:
        """What `undo` would take back; None if there is nothing."""
        with self._lock:
            return self._history[-1].title if self._history else None

    def change(self, add: ArrayLike = (), remove: ArrayLike = ()) -> None:
        """Choose hands (each once) and take others off. Where that changes nothing, it is no step."""
        added, removed = (np.asarray(hands, dtype=np.uint64) for hands in (add, remove))
        with self._lock:
            before = self.hand_ids
            remaining = before[~np.isin(before, removed)] if len(removed) else before
            new = added[~self.contains(added) | np.isin(added, removed)]
            titles = [
                f"{verb} {pluralize(count, 'hand')}"
                for verb, count in (("choosing", len(new)), ("taking off", len(before) - len(remaining)))
                if count
            ]
            if titles:
                step = _Step(" and ".join(titles), before, None)
                self._take_step(step, np.concatenate([remaining, new]))

    def remember(self, title: str, change: ListChange) -> None:
        """Make a change of a list a step that can be undone."""
        with self._lock:
            self._take_step(_Step(title, self.hand_ids, change), self.hand_ids)

    def undo(self, lists: HandLists) -> str | None:
        """Take the last step back, also what it did to a list; returns what it was.

        Raises HandsimError if the list cannot be changed back; the step is gone all the same, so that those
        before it can be taken back.
        """
        with self._lock:
            if not self._history:
                return None
            step = self._history.pop()
            if step.on_list is not None:
                _revert(lists, step.on_list)
            self._set(step.before)
            return step.title

    def _take_step(self, step: _Step, hand_ids: NDArray[np.uint64]) -> None:
        self._history = [*self._history, step][-_LONGEST_HISTORY:]
        self._set(hand_ids)

    def _set(self, hand_ids: NDArray[np.uint64]) -> None:
        if hand_ids is self.hand_ids:
            return
        self.hand_ids, self._rising = hand_ids, np.sort(hand_ids)
        if self._file is not None:
            with suppress(OSError):  # a full disk must not stop anybody from choosing
                self._file.parent.mkdir(parents=True, exist_ok=True)
                with replacing(self._file) as temporary, temporary.open("wb") as out:
                    np.save(out, hand_ids, allow_pickle=False)


def _revert(lists: HandLists, change: ListChange) -> None:
    """Take off what was added; delete a list that was made by it, unless somebody added to it since."""
    if change.is_removal:
        lists.add(change.name, change.hand_ids)
        return
    lists.remove(change.name, change.hand_ids)
    if change.is_new and not len(lists.read(change.name)):
        lists.delete(change.name)


class Trays:
    """The trays of all visitors of a home."""

    def __init__(self, folder: Path | None) -> None:
        """``folder`` keeps them, and is made for the first; None: they last as long as the server."""
        self._folder = folder
        self._lock = RLock()
        self._trays: OrderedDict[str, Tray] = OrderedDict()
        self._remove_old()

    def of(self, visitor: str) -> Tray:
        """A visitor's tray; ``visitor`` is 32 hex digits."""
        with self._lock:
            if visitor not in self._trays:
                self._trays[visitor] = Tray(None if self._folder is None else self._folder / f"{visitor}.npy")
            self._trays.move_to_end(visitor)
            while len(self._trays) > _IN_MEMORY:
                self._trays.popitem(last=False)
            return self._trays[visitor]

    def _remove_old(self) -> None:
        """Remove what nobody has changed for long."""
        if self._folder is not None:
            for file in self._folder.glob("*.npy"):
                with suppress(OSError):
                    if time.time() - file.stat().st_mtime > _KEPT_DAYS * 86_400:
                        file.unlink()

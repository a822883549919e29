"""Named lists of hands: files ``lists/NAME.json`` of a home, made in the browser or on the command line.

    {"format": 1, "note": "thumb inside", "changed_at": "2026-11-30T08:15:00+00:00", "hands": [
    "03ab54f1c09d72e8",
    ...
    ]}

Ids are as the command line prints them, one a line, in the order in which they were added. Text and not
Parquet, so that people read it and `diff` compares it: 100,000 ids take 2 MB, 0.2 s to write and 0.1 to read.
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from handsim.errors import HandsimError, NotThereError, did_you_mean
from handsim.files import FileLock, write_text_atomically
from handsim.hand import MAX_HAND_ID

LEFT_OUT: Final = "left-out"
"""The browser adds to this list what training is to leave out (`handsim pretrain --exclude-list`)."""

_FORMAT: Final = 1
_NONE: Final = "null"
_NAME: Final = re.compile(r"\w[\w.-]{0,59}")
"""Letters of any script: at most 240 bytes, so that a file's name has room for an ending."""


@dataclass(frozen=True, eq=False)
class HandList:
    """A named set of hands."""

    name: str
    hand_ids: NDArray[np.uint64]
    """[N], each once, in the order in which they were added."""
    note: str
    """What people wrote about it, on one line."""
    changed_at: str
    """ISO 8601, UTC."""

    def __len__(self) -> int:
        return len(self.hand_ids)


class HandLists:
    """The lists of a home. Processes may change them at the same time: none of their changes is lost."""

    def __init__(self, folder: Path) -> None:
        """``folder`` is made for the first list."""
        self.folder = folder

    def names(self) -> list[str]:
        """Of all lists, in alphabetical order."""
        return sorted(file.stem for file in self.folder.glob("*.json") if _NAME.fullmatch(file.stem))

    def read(self, name: str) -> HandList:
        """Raises NotThereError for an unknown list, HandsimError for an impossible name or a damaged file."""
        file = self.file(name)
        try:
            return _parse(name, json.loads(file.read_text("utf-8")))
        except FileNotFoundError as error:
            raise self._unknown(name) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise HandsimError(f"{file} cannot be read as a list of hands: {error}") from error

    def union(self, names: Iterable[str]) -> frozenset[int]:
        """The hands of some lists together; raises HandsimError, as `read` does, and where they hold none."""
        names = list(names)
        hands = frozenset(hand_id for name in names for hand_id in self.read(name).hand_ids.tolist())
        if not hands:
            raise HandsimError(
                f"list {' and '.join(map(repr, names))} holds no hand; `handsim list add` adds some"
            )
        return hands

    def create(self, name: str, hand_ids: ArrayLike, note: str = "") -> HandList:
        """A new list; raises HandsimError for an impossible name, or one that is taken."""
        with self._changing():
            if self.file(name).exists():
                raise HandsimError(f"there is a list {name!r} already; add to it, or take another name")
            return self._write(name, _each_once(hand_ids), note)

    def add(self, name: str, hand_ids: ArrayLike) -> NDArray[np.uint64]:
        """Add hands; returns those that the list did not hold before."""
        with self._changing():
            before = self.read(name)
            new = _each_once(hand_ids)
            new = new[~np.isin(new, before.hand_ids)]
            if len(new):
                self._write(name, np.concatenate([before.hand_ids, new]), before.note)
            return new

    def remove(self, name: str, hand_ids: ArrayLike) -> NDArray[np.uint64]:
        """Take hands off; returns those that the list held. The list stays, even with no hand."""
        with self._changing():
            before = self.read(name)
            is_gone = np.isin(before.hand_ids, np.asarray(hand_ids, dtype=np.uint64))
            if is_gone.any():
                self._write(name, before.hand_ids[~is_gone], before.note)
            return before.hand_ids[is_gone]

    def rename(self, name: str, new_name: str) -> None:
        """Raises HandsimError for an impossible name, or one that is taken."""
        with self._changing():
            self.read(name)
            if self.file(new_name).exists():
                raise HandsimError(f"there is a list {new_name!r} already; take another name")
            self.file(name).rename(self.file(new_name))

    def delete(self, name: str) -> HandList:
        """Delete a list, not its hands; returns what it held."""
        with self._changing():
            held = self.read(name)
            self.file(name).unlink()
            return held

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """One lock for all lists: a change takes milliseconds, and renaming concerns two."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / ".lock") as lock:
            lock.acquire(wait=True)
            yield

    def file(self, name: str) -> Path:
        """Where a list lies, or would; raises HandsimError for an impossible name."""
        name = unicodedata.normalize("NFC", name)
        if not _NAME.fullmatch(name) or name.lower() == _NONE:
            raise HandsimError(
                f"a list cannot be named {name!r}: a name has at most 60 letters, digits and ._-, begins "
                f"with a letter or a digit, and is not {_NONE}, which is no list in a recipe"
            )
        return self.folder / f"{name}.json"

    def _unknown(self, name: str) -> NotThereError:
        names = self.names()
        if not names:
            return NotThereError(
                f"no list {name!r}: there is none in {self.folder} yet; `handsim list create`"
            )
        return NotThereError(f"no list {name!r}; there are {', '.join(names)}{did_you_mean(name, names)}")

    def _write(self, name: str, hand_ids: NDArray[np.uint64], note: str) -> HandList:
        changed_at = datetime.now(UTC).isoformat(timespec="seconds")
        note = " ".join(note.split())
        head = json.dumps({"format": _FORMAT, "note": note, "changed_at": changed_at}, ensure_ascii=False)
        lines = ",\n".join(f'"{hand_id:016x}"' for hand_id in hand_ids.tolist())
        write_text_atomically(self.file(name), f'{head[:-1]}, "hands": [\n{lines}\n]}}\n')
        return HandList(name, hand_ids, note, changed_at)


def _parse(name: str, content: dict[str, Any]) -> HandList:
    """Raises ValueError, KeyError or TypeError for anything but what `HandLists` writes."""
    if content["format"] != _FORMAT:
        raise ValueError(f"format {content['format']} is of another version of handsim")
    texts = content["hands"]
    if any(len(text) != 16 for text in texts):
        raise ValueError("an id has other than 16 hex digits")
    # All at once: a million ids one by one take a second.
    hand_ids = np.frombuffer(bytes.fromhex("".join(texts)), dtype=">u8").astype(np.uint64)
    if len(hand_ids) != len(texts) or (hand_ids > MAX_HAND_ID).any():
        raise ValueError("an id has other than 16 hex digits, or begins with more than a 7")
    return HandList(name, _each_once(hand_ids), str(content["note"]), str(content["changed_at"]))


def _each_once(hand_ids: ArrayLike) -> NDArray[np.uint64]:
    """Hands [M] without those that came before, in their order."""
    ids = np.atleast_1d(np.asarray(hand_ids, dtype=np.uint64))
    return ids[np.sort(np.unique(ids, return_index=True)[1])]

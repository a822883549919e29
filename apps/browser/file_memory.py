"""Small files, read again only where they changed."""

import json
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any, Final, Generic, TypeVar

Content = TypeVar("Content")

_KEPT: Final = 4000


class FileMemory(Generic[Content]):
    """What the last files that were asked for hold; threads may share it."""

    def __init__(self, read: Callable[[Path], Content], kept: int = _KEPT) -> None:
        """``read`` makes something of a file; ``kept`` is how many are remembered."""
        self._read, self._kept = read, kept
        self._lock = Lock()
        self._known: OrderedDict[Path, tuple[tuple[int, int, int], Content | None]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def __call__(self, path: Path) -> Content | None:
        """None for a file that is not there, or cannot be read as what it should be."""
        try:
            stat = path.stat()
        except OSError:
            with self._lock:
                self._known.pop(path, None)
            return None
        state = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        with self._lock:
            known = self._known.get(path)
            if known is not None and known[0] == state:
                self._known.move_to_end(path)
                return known[1]
        try:
            content = self._read(path)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            content = None
        with self._lock:
            self._known[path] = (state, content)
            self._known.move_to_end(path)
            while len(self._known) > self._kept:
                self._known.popitem(last=False)
        return content


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object of a file; raises ValueError for one that holds something else."""
    content = json.loads(path.read_text("utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no JSON object")
    return content

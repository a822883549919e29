"""A run's ``metrics.jsonl``, read on from where it was read before."""

import json
from pathlib import Path
from threading import Lock
from typing import Any, Final

from apps.browser.json_values import number
from apps.browser.runs.curve import MOST, Curve, Points

BUDGET_BYTES: Final = 16 * 2**20
"""Read at a time: a fraction of a second."""
_CHUNK_BYTES: Final = 2**20
_MARK_BYTES: Final = 64
_MOST_NAMES: Final = 64


class Metrics:
    """The curves of a run; each byte of the file is read once, unless what was read is changed.

    A resumed run replaces its file by a shorter one: then all is read anew. Lines that are no metrics, as the
    last one of a run that was killed while writing it, are left out. Threads may share it.
    """

    def __init__(self, path: Path, most: int = MOST) -> None:
        """``path`` need not be there yet; ``most`` points of each curve are kept."""
        self._path, self._most = path, most
        self._lock = Lock()
        self._forget()

    def _forget(self) -> None:
        self._offset = 0
        self._mark = b""  # what stands before the offset
        self._curves: dict[str, Curve] = {}

    @property
    def behind_bytes(self) -> int:
        """How much of the file is not read yet."""
        try:
            return max(0, self._path.stat().st_size - self._offset)
        except OSError:
            return 0

    def advance(self, budget_bytes: int = BUDGET_BYTES) -> None:
        """Read on, no more than about ``budget_bytes``; what was read of a file that is gone stays."""
        with self._lock:
            try:
                self._advance(budget_bytes)
            except OSError:
                return

    def points(self) -> dict[str, Points]:
        """The curves as far as they were read, by the metric's name."""
        with self._lock:
            return {name: curve.points() for name, curve in self._curves.items()}

    def _advance(self, budget_bytes: int) -> None:
        with self._path.open("rb") as file:
            file.seek(self._offset - len(self._mark))
            if file.read(len(self._mark)) != self._mark:
                self._forget()
                file.seek(0)
            end = self._offset + budget_bytes
            while self._offset < end:
                chunk = file.read(_CHUNK_BYTES)
                whole = chunk.rfind(b"\n") + 1
                if not whole and len(chunk) < _CHUNK_BYTES:
                    return  # the rest of a line is still to come
                taken = chunk[: whole or len(chunk)]
                for line in taken.split(b"\n"):
                    self._add(line)
                self._offset += len(taken)
                self._mark = (self._mark + taken)[-_MARK_BYTES:]
                file.seek(self._offset)

    def _add(self, line: bytes) -> None:
        told = parse_line(line)
        if told is None:
            return
        step = told.pop("step")
        for name, value in told.items():
            if name not in self._curves and len(self._curves) < _MOST_NAMES:
                self._curves[name] = Curve(self._most)
            if name in self._curves:
                self._curves[name].add(step, value)


def parse_line(line: bytes) -> dict[str, float] | None:
    """The numbers of a line, ``step`` among them; those that are none are left out. None for another line."""
    try:
        told: Any = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, dict):
        return None
    found = ((str(name), number(value)) for name, value in told.items())
    numbers = {name: value for name, value in found if value is not None}
    return numbers if "step" in numbers else None


def read_latest(path: Path) -> dict[str, float]:
    """The latest number of each name, out of the last lines of the file."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        start = max(0, size - 2**14)
        file.seek(start)
        lines = file.read().split(b"\n")
    latest: dict[str, float] = {}
    for line in lines[1 if start else 0 :]:
        latest |= parse_line(line) or {}
    return latest

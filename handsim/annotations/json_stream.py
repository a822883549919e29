"""JSON of any size, read one record at a time in bounded memory.

The scanner of `json` takes one record after the other out of a buffer. So NaN is read as Python writes it,
and a record that is damaged, nested without end or larger than `MAX_RECORD_CHARS` costs one line, not the
computer's memory.
"""

import codecs
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from handsim.errors import UnusableError

MAX_RECORD_CHARS: Final = 1 << 24
BREAKS_OFF: Final = "annotations break off"

_CHUNK_BYTES: Final = 1 << 20
_SPACE: Final = re.compile(r"\s*")
_LINE_OF_ANOTHER: Final = re.compile(r"\n(?=\{)")
_MAX_DIGITS: Final = 100


def _read_int(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MAX_DIGITS else float(digits)  # thousands of digits are an attack


_SCANNER: Final = json.JSONDecoder()
_SCANNER_OF_LONG_NUMBERS: Final = json.JSONDecoder(parse_int=_read_int)


class JsonStream:
    """One JSON file, opened as a context manager and read once, from its beginning to its end."""

    def __init__(self, path: Path) -> None:
        """Raises UnusableError for a file that cannot be opened."""
        try:
            self._file = path.open("rb")
            self._size = max(os.fstat(self._file.fileno()).st_size, 1)
        except OSError as error:
            raise UnusableError("unreadable", error.strerror or str(error)) from error
        self._decode = codecs.getincrementaldecoder("utf-8-sig")("replace").decode
        self._text, self._place, self._before, self._has_ended = "", 0, 0, False
        self._records = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def share_read(self) -> float:
        """How much of the file has been read, above 0 and at most 1."""
        return min(1.0, max(self._before + self._place, 1) / self._size)

    def members(self) -> Iterator[tuple[str, Any]]:
        """Names and values of the object that the file is; of an array each item under the array's name.

        Raises UnusableError where the file breaks off.
        """
        self._skip("{")
        while self._peek() != "}":
            name = self._value()
            self._skip(":")
            if self._peek() == "[":
                for item in self._items():
                    yield str(name), item
            else:
                yield str(name), self._value()
            if self._peek() != "}":
                self._skip(",")
        self._place += 1

    def values(self) -> Iterator[Any]:
        """The items of the array that the file is, or the values that follow one another (JSON lines).

        A damaged value among others that begin their own line is given as the UnusableError that says so. An
        object that is the whole file and too large, or damaged, is given as one for each object inside it.
        Raises UnusableError where the file breaks off.
        """
        if self._peek() == "[":
            yield from self._items()
            return
        while self._peek():
            try:
                yield self._value()
                self._records += 1
            except UnusableError as error:
                next_line = _LINE_OF_ANOTHER.search(self._text, self._place)
                if next_line is None and self._records == 0 and self._peek() == "{":
                    yield from ({name: value} for name, value in self.members() if isinstance(value, dict))
                    return
                if next_line is None:
                    raise
                self._place = next_line.end()
                yield error
                self._records += 1

    def _items(self) -> Iterator[Any]:
        self._skip("[")
        self._records = 0
        while self._peek() != "]":
            yield self._value()
            self._records += 1
            if self._peek() != "]":
                self._skip(",")
        self._place += 1

    def _value(self) -> Any:
        """The value at this place; a longer one than the buffer has is tried again with twice as much."""
        size, scanner = _CHUNK_BYTES, _SCANNER
        self._peek()
        while True:
            try:
                value, end = scanner.raw_decode(self._text, self._place)
            except json.JSONDecodeError as error:
                problem = error.msg
            except RecursionError:
                raise self._broken("it is nested too deep") from None
            except ValueError:  # a number of more digits than Python turns into an int
                scanner = _SCANNER_OF_LONG_NUMBERS
                continue
            else:
                if end < len(self._text) or self._has_ended:
                    self._place = end
                    return value
                problem = "it has no end"
            if len(self._text) - self._place > MAX_RECORD_CHARS:
                raise self._broken(f"no record ends within {MAX_RECORD_CHARS:,} characters ({problem})")
            if self._has_ended:
                raise self._broken(problem)
            self._read(size)
            size *= 2

    def _peek(self) -> str:
        """The next character that is no space; empty at the end of the file."""
        while True:
            space = _SPACE.match(self._text, self._place)
            self._place = space.end() if space else self._place
            if self._place < len(self._text):
                return self._text[self._place]
            if self._has_ended:
                return ""
            self._read(_CHUNK_BYTES)

    def _skip(self, character: str) -> None:
        if self._peek() != character:
            raise self._broken(f"{character!r} is missing")
        self._place += 1

    def _read(self, size: int) -> None:
        try:
            data = self._file.read(size)
        except OSError as error:
            raise UnusableError("unreadable", error.strerror or str(error)) from error
        self._has_ended = len(data) < size
        self._before += self._place
        self._text = self._text[self._place :] + self._decode(data, self._has_ended)
        self._place = 0

    def _broken(self, problem: str) -> UnusableError:
        if self._before + self._place == 0:
            return UnusableError("not annotations", f"it does not begin as its format does ({problem})")
        place = f"in record {self._records}, at character {self._before + self._place:,}"
        return UnusableError(
            BREAKS_OFF, f"{place} ({problem}); what comes before is used: get the whole file"
        )

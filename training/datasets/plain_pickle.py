"""Read a pickle that holds plain data, without unpickling it: nothing that it names is imported or called.

A pickle is a program for a small stack machine. This one knows the instructions for dicts, lists, tuples,
texts, bytes, numbers and None in the protocols 0 to 4, and of all named objects those that numpy's arrays
and numbers are written with, which it builds itself. Any other instruction or name is refused. Written by
Python 2, a text and the bytes of an array are the same kind of thing: they are read as Latin-1 text.

The instructions are documented in `pickletools`.
"""

import codecs
import io
import math
import pickletools
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from handsim.errors import UnusableError

_LITERALS: Final = frozenset(
    (
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
        *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    )
)
_CONSTANTS: Final = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES: Final = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_RECONSTRUCT: Final = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
_SCALAR: Final = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
_NUMBER_TYPE: Final = re.compile(r"b1|[iu][1248]|f[248]")
_BY_CODE: Final = {opcode.code.encode("latin-1"): opcode for opcode in pickletools.opcodes}
_NOT_PLAIN: Final = "not plain data"


def parse_plain_pickle(content: bytes) -> dict[str, Any]:
    """The dict of a pickle: by text, None, numbers, texts, bytes, arrays, and lists, tuples, dicts of these.

    Raises UnusableError for a pickle of anything else, and for one that is damaged or cut off.
    """
    machine = _Machine()
    try:
        for name, argument in _instructions(content):
            machine.execute(name, argument)
        value = machine.result()
    except UnusableError:
        raise
    except (IndexError, KeyError, TypeError, ValueError, OverflowError, struct.error) as error:
        raise UnusableError("damaged pickle", str(error)[:80]) from error
    if not isinstance(value, dict):
        raise UnusableError(_NOT_PLAIN, f"a pickled {type(value).__name__} where a dict is expected")
    return value


def _instructions(content: bytes) -> Iterator[tuple[str, Any]]:
    """Name and argument of each instruction before the end.

    Not `pickletools.genops`: it takes the texts of protocol 0 to be ASCII, and arrays are written as texts.
    """
    file = io.BytesIO(content)
    while code := file.read(1):
        instruction = _BY_CODE.get(code)
        if instruction is None:
            raise ValueError(f"byte {file.tell() - 1} is no instruction")
        if instruction.name == "STOP":
            return
        if instruction.name == "STRING":
            yield instruction.name, _unquote(file.readline())
        else:
            yield instruction.name, instruction.arg.reader(file) if instruction.arg else None
    raise ValueError("it is cut off")


def _unquote(line: bytes) -> str:
    quoted = line.removesuffix(b"\n")
    if (
        len(line) == len(quoted)
        or len(quoted) < 2
        or quoted[:1] not in (b"'", b'"')
        or quoted[:1] != quoted[-1:]
    ):
        raise ValueError("a text has no end")
    return codecs.escape_decode(quoted[1:-1])[0].decode("latin-1")


@dataclass(frozen=True)
class _Name:
    """An importable object that the pickle names; it is not imported."""

    path: str


@dataclass(eq=False)
class _Unbuilt:
    """An array, or the type of its numbers, of which the state follows."""

    code: str | None = None
    """Of a type: ``f8``; None: it is an array."""
    places: list[int] = field(default_factory=list)
    """Where it is remembered meanwhile."""


class _Machine:
    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._outer: list[list[Any]] = []
        """The stacks below the marks."""
        self._memo: dict[int, Any] = {}

    def result(self) -> Any:
        (value,) = self._stack
        return value

    def execute(self, name: str, argument: Any) -> None:
        """Execute an instruction; raises UnusableError for one that plain data does not need."""
        stack = self._stack
        if name in _LITERALS:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _TUPLES:
            stack.append(tuple(reversed([stack.pop() for _ in range(_TUPLES[name])])))
        elif name.endswith("PUT") or name == "MEMOIZE":
            self._remember(len(self._memo) if argument is None else argument)
        elif name.endswith("GET"):
            stack.append(self._memo[argument])
        elif name not in ("PROTO", "FRAME"):
            self._execute_other(name, argument)

    def _execute_other(self, name: str, argument: Any) -> None:
        match name:
            case "MARK":
                self._outer.append(self._stack)
                self._stack = []
            case "EMPTY_DICT":
                self._stack.append({})
            case "EMPTY_LIST":
                self._stack.append([])
            case "TUPLE":
                self._push(tuple(self._pop_to_mark()))
            case "LIST":
                self._push(self._pop_to_mark())
            case "DICT":
                items = self._pop_to_mark()
                self._push({})
                self._set_items(items)
            case "SETITEMS":
                self._set_items(self._pop_to_mark())
            case "SETITEM":
                value, key = self._stack.pop(), self._stack.pop()
                self._set_items([key, value])
            case "APPENDS":
                self._append(self._pop_to_mark())
            case "APPEND":
                self._append([self._stack.pop()])
            case "GLOBAL":
                self._push(_Name(argument.replace(" ", ".")))
            case "STACK_GLOBAL":
                attribute, module = self._stack.pop(), self._stack.pop()
                self._push(_Name(f"{module:s}.{attribute:s}"))
            case "REDUCE":
                arguments, function = self._stack.pop(), self._stack.pop()
                self._push(_call(function, arguments))
            case "BUILD":
                state = self._stack.pop()
                self._push(self._build(self._stack.pop(), state))
            case _:
                raise UnusableError(_NOT_PLAIN, f"the pickle has the instruction {name}")

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _pop_to_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._outer.pop()
        return items

    def _set_items(self, items: list[Any]) -> None:
        target = self._stack[-1]
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Only texts: of deeply nested tuples the hash alone would overflow the interpreter's stack.
            if not isinstance(target, dict) or not isinstance(key, str):
                raise UnusableError(_NOT_PLAIN, f"an item is named by a {type(key).__name__}, not by a text")
            target[key] = value

    def _append(self, items: list[Any]) -> None:
        if not isinstance(self._stack[-1], list):
            raise TypeError("something is appended to what is no list")
        self._stack[-1].extend(items)

    def _remember(self, place: int) -> None:
        value = self._memo[place] = self._stack[-1]
        if isinstance(value, _Unbuilt):
            value.places.append(place)

    def _build(self, target: Any, state: Any) -> Any:
        """What ``target`` becomes, also where it is remembered; raises UnusableError for other objects."""
        if not isinstance(target, _Unbuilt):
            raise UnusableError(_NOT_PLAIN, f"the pickle gives a {type(target).__name__} a state")
        match state:
            case (int(), "<" | ">" | "|" | "=" as order, None, None, None, *_) if target.code:
                value: Any = np.dtype(target.code).newbyteorder(order)
            case (int(), tuple() as shape, np.dtype() as dtype, fortran, data) if not target.code:
                value = _array(shape, dtype, data, fortran=bool(fortran))
            case _:
                raise UnusableError(_NOT_PLAIN, "the pickle has an array of another form")
        self._memo.update(dict.fromkeys(target.places, value))
        return value


def _call(function: Any, arguments: Any) -> Any:
    """What one of numpy's functions makes; raises UnusableError for any other."""
    path = function.path if isinstance(function, _Name) else type(function).__name__
    match arguments:
        case (_Name("numpy.ndarray"), *_) if path in _RECONSTRUCT:
            return _Unbuilt()
        case (str(code), *_) if path == "numpy.dtype":
            if not _NUMBER_TYPE.fullmatch(code):
                raise UnusableError(_NOT_PLAIN, f"the pickle has an array of {code!r:.20}, not of numbers")
            return _Unbuilt(code)
        case (np.dtype() as dtype, data) if path in _SCALAR:
            (number,) = _array((), dtype, data, fortran=False).reshape(1).tolist()
            return number
        case (str(text), "latin1") if path == "_codecs.encode":  # bytes, in Python 3's protocols 0 to 2
            return text.encode("latin-1")
        case () if path in ("__builtin__.bytes", "builtins.bytes"):
            return b""
    raise UnusableError(_NOT_PLAIN, f"the pickle names {path!r:.80}")


def _array(shape: tuple[Any, ...], dtype: np.dtype[Any], data: Any, *, fortran: bool) -> NDArray[Any]:
    """An array of its bytes; raises ValueError or TypeError where they do not fill the shape."""
    content = data.encode("latin-1") if isinstance(data, str) else bytes(memoryview(data))
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(content):
        raise ValueError(f"an array of shape {list(shape)} has {len(content)} bytes")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")

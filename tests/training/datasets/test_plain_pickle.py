"""Plain pickles are read in every protocol; nothing is executed, and what is not plain is refused."""

import collections
import contextlib
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handsim.errors import UnusableError
from tests.training.datasets.official_layouts import python2_pickle
from training.datasets.plain_pickle import parse_plain_pickle

VALUES: dict[str, Any] = {
    "joints": np.random.default_rng(0).normal(size=(21, 3)),
    "columns": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "big-endian": np.arange(5, dtype=">i4"),
    "flags": np.array([True, False]),
    "none of them": np.zeros((0, 3), dtype=np.float32),
    "one": np.array(2.5),
    "number": np.float64(0.1),
    "text": "Grüße",
    "bytes": b"\xff\x00'\n",
    "items": [1, -2, 10**30, 0.5, True, None, (), (1,), (1, 2, 3, 4), {"x": []}],
}
VALUES["again"] = VALUES["joints"]


def assert_equal(read: dict[str, Any]) -> None:
    assert list(read) == list(VALUES)
    for name, value in VALUES.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(read[name], value)
            assert read[name].dtype == value.dtype
        else:
            assert read[name] == value, name


@pytest.mark.parametrize("protocol", range(5))
def test_every_protocol_is_read(protocol: int) -> None:
    read = parse_plain_pickle(pickle.dumps(VALUES, protocol))
    assert_equal(read)
    assert read["again"] is read["joints"]


def test_what_python_2_wrote_is_read() -> None:
    joints = np.random.default_rng(0).normal(size=(21, 3))
    read = parse_plain_pickle(python2_pickle({"joints": joints, "name": "cup", "none": None, "number": 3}))
    np.testing.assert_array_equal(read.pop("joints"), joints)
    assert read == {"name": "cup", "none": None, "number": 3}
    bytes_as_text = b"(dp0\nS'a'\np1\nS'\\xff\\x00\\''\np2\ns."  # protocol 0
    assert parse_plain_pickle(bytes_as_text) == {"a": "\xff\x00'"}


class Command:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


class Instance:
    pass


@pytest.mark.parametrize("protocol", range(5))
def test_nothing_is_executed(tmp_path: Path, protocol: int) -> None:
    harm = tmp_path / "harm"
    for content in ({"joints": Command(f"touch {harm}")}, [Command(f"touch {harm}")]):
        with pytest.raises(UnusableError, match=r"not plain data: the pickle names '\w+.system'") as error:
            parse_plain_pickle(pickle.dumps(content, protocol))
        assert "\n" not in str(error.value)
    assert not harm.exists()


BUILTIN = b"cbuiltins\n"
REFUSED = {
    "an object's state": pickle.dumps({"a": Instance()}, 2),
    "a class": pickle.dumps({"a": collections.OrderedDict(b=1)}, 2),
    "Python objects in an array": pickle.dumps({"a": np.array([{}, None])}, 2),
    "texts in an array": pickle.dumps({"a": np.array(["b"])}, 2),
    "a record array": pickle.dumps({"a": np.zeros(2, dtype=[("x", "f8")])}, 2),
    "dates": pickle.dumps({"a": np.zeros(2, dtype="M8[s]")}, 2),
    "eval by a name with dots": b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.",
    "eval by INST": b"(S'1'\nibuiltins\neval\n.",
    "eval by OBJ": b"(" + BUILTIN + b"eval\nS'1'\no.",
    "eval by NEWOBJ": b"\x80\x02" + BUILTIN + b"eval\nX\x01\x00\x00\x001\x85\x81.",
    "another codec": b"c_codecs\nencode\n(S'a'\nS'zip'\ntR.",
    "a function's result that is called": b"cnumpy\ndtype\n(S'f8'\ntR(tR.",
    "an extension": b"\x80\x02}U\x01a\x82\x01s.",
    "a persistent id": b"}S'a'\nP1\ns.",
    "a state of a dict": b"}}b.",
    "a list": pickle.dumps([1], 2),
    "a key that is no text": pickle.dumps({1: 2}, 2),
}


@pytest.mark.parametrize("content", REFUSED.values(), ids=REFUSED)
def test_what_is_not_plain_is_refused(content: bytes) -> None:
    with pytest.raises(UnusableError, match="not plain data") as error:
        parse_plain_pickle(content)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("protocol", range(5))
def test_every_cut_is_damage(protocol: int) -> None:
    whole = pickle.dumps({"a": np.arange(3.0), "b": [1, "c"]}, protocol)
    for length in range(len(whole)):
        with pytest.raises(UnusableError):
            parse_plain_pickle(whole[:length])


def test_any_damaged_byte_is_read_or_refused() -> None:
    whole = python2_pickle({"a": np.arange(3.0), "b": "c"})
    for place in range(len(whole)):
        for byte in (0, ord("R"), ord("b"), ord("."), ord("t"), 0x93, 0xFF):
            with contextlib.suppress(UnusableError):
                parse_plain_pickle(whole[:place] + bytes([byte]) + whole[place + 1 :])


def test_sizes_are_taken_from_the_content_not_from_what_it_says() -> None:
    """A shape of exabytes takes no memory, nested tuples no stack, and what refers to itself no end."""
    array = python2_pickle({"a": np.zeros(3)})
    huge = array.replace(b"(K\x03t", b"(J\xff\xff\xff\x7fJ\xff\xff\xff\x7ft")
    negative = array.replace(b"(K\x03t", b"(J\xff\xff\xff\xffJ\xfd\xff\xff\xfft")
    assert huge != array != negative
    long_text = b"}T" + struct.pack("<i", 2**31 - 1) + b"x"
    for content in (huge, negative, long_text):
        with pytest.raises(UnusableError, match="damaged pickle"):
            parse_plain_pickle(content)
    nested = b"}S'a'\n)" + b"\x85" * 50_000
    assert list(parse_plain_pickle(nested + b"s.")) == ["a"]
    with pytest.raises(UnusableError):
        parse_plain_pickle(b"})" + b"\x85" * 50_000 + b"Ns.")  # as a key, it would have to be hashed
    itself = parse_plain_pickle(b"}q\x00S'a'\nh\x00s.")
    assert itself["a"] is itself

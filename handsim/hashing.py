"""Hashes that stand in ids, checksums and seeds on disk: the same on every machine, and never changed."""

import hashlib
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

State = TypeVar("State", int, NDArray[np.uint64])

GOLDEN_GAMMA = 0x9E3779B97F4A7C15
"""What SplitMix64 adds to its state at every step: 2^64 divided by the golden ratio."""
_MASK = 2**64 - 1


def hash64(data: bytes) -> int:
    """64 bits of BLAKE2b."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


def mix64(state: State) -> State:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): each bit changes about half of all.

    ``state`` is an int of 64 bits, or an array of them.
    """
    mixed: Any = state  # by numpy's stubs an array of uint64 and an int would be signed
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return cast(State, mixed ^ (mixed >> 31))

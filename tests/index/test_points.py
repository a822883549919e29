"""The checksum by which versions are compared and altered ones found."""

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from index.points import Checksum, PointBatch

Points = tuple[NDArray[np.uint64], NDArray[np.float32]]


@st.composite
def points(draw: st.DrawFn) -> Points:
    """Up to 12 hands with different ids and vectors of 1 to 4 numbers."""
    ids = draw(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=12, unique=True))
    shape = (len(ids), draw(st.integers(1, 4)))
    vectors = draw(arrays.arrays(np.float32, shape, elements=st.floats(-1e6, 1e6, width=32)))
    return np.array(ids, dtype=np.uint64), vectors


def digest(ids: NDArray[np.uint64], vectors: NDArray[np.float32], batch: int = 100) -> str:
    checksum = Checksum()
    for start in range(0, len(ids), batch):
        rows = slice(start, start + batch)
        checksum.add(PointBatch(ids[rows], vectors[rows], []))
    return checksum.digest


@given(points(), st.integers(1, 5), st.randoms(use_true_random=False))
def test_order_and_batches_do_not_matter(hands: Points, batch: int, random: Random) -> None:
    ids, vectors = hands
    order = np.array(random.sample(range(len(ids)), len(ids)))
    assert digest(ids[order], vectors[order], batch) == digest(ids, vectors)


@given(points(), st.data())
def test_another_bit_order_of_vectors_or_of_numbers_changes_it(hands: Points, data: st.DataObject) -> None:
    ids, vectors = hands
    one, other = (data.draw(st.integers(0, len(ids) - 1)) for _ in range(2))
    altered, renamed, swapped, mirrored = vectors.copy(), ids.copy(), ids.copy(), vectors.copy()
    column = data.draw(st.integers(0, vectors.shape[1] - 1))
    altered.view(np.uint32)[one, column] ^= np.uint32(1 << data.draw(st.integers(0, 31)))
    renamed[one] ^= np.uint64(1 << data.draw(st.integers(0, 62)))
    changed = [digest(ids, altered), digest(renamed, vectors)]
    if vectors[one].tobytes() != vectors[other].tobytes():
        swapped[[one, other]] = ids[[other, one]]
        changed.append(digest(swapped, vectors))
    if vectors[one].tobytes() != vectors[one, ::-1].tobytes():
        mirrored[one] = vectors[one, ::-1]
        changed.append(digest(ids, mirrored))
    assert digest(ids, vectors) not in changed


@given(points(), points())
def test_it_continues_from_its_digest(first: Points, second: Points) -> None:
    resumed = Checksum.parse(digest(*first))
    assert resumed.digest == digest(*first)
    resumed.add(PointBatch(*second, []))
    alone = Checksum()
    alone.add(PointBatch(*first, []))
    alone.add(PointBatch(*second, []))
    assert resumed.digest == alone.digest


def test_a_digest_begins_with_the_number_of_hands() -> None:
    ids, vectors = np.arange(7, dtype=np.uint64), np.zeros((7, 2), dtype=np.float32)
    assert digest(ids, vectors).startswith("7-")
    assert Checksum().digest == "0-0000000000000000"
    for text in ("", "7", "7-xyz", "a-0", "1-2-3"):
        with pytest.raises(ValueError, match=r".+"):
            Checksum.parse(text)

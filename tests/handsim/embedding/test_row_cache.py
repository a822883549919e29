"""Rows by hand id on disk: read as they were added, in any order, across processes, failures and limits."""

import resource
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from handsim.embedding.row_cache import RowCache
from handsim.errors import HandsimError
from tests.handsim.builders import limited


def ids(*numbers: int) -> NDArray[np.uint64]:
    return np.array(numbers, dtype=np.uint64)


def rows_of(hand_ids: NDArray[np.uint64]) -> NDArray[np.float32]:
    """[n, 3] numbers that say whose they are."""
    rows: NDArray[np.float64] = hand_ids[:, None] % 1000 + np.array([0.0, 0.25, 0.5])
    return rows.astype(np.float32)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 2**63 - 1), unique=True, max_size=30), st.integers(1, 7))
def test_what_was_added_is_read_in_any_order(numbers: list[int], size: int) -> None:
    with TemporaryDirectory() as folder:
        cache = RowCache(Path(folder) / "rows", 3, np.float32)
        half = numbers[: len(numbers) // 2]
        for start in range(0, len(half), size):
            chunk = ids(*half[start : start + size])
            cache.add(chunk, rows_of(chunk))
        for opened in (cache, RowCache(Path(folder) / "rows", 3, np.float32)):
            assert opened.contains(ids(*numbers)).tolist() == [number in half for number in numbers]
            backwards = ids(*half[::-1], *half[:2])
            np.testing.assert_array_equal(opened.read(backwards), rows_of(backwards))


def test_two_writers_of_the_same_hands_leave_one_file(tmp_path: Path) -> None:
    one, other = RowCache(tmp_path, 3, np.float32), RowCache(tmp_path, 3, np.float32)
    for cache in (one, other):
        cache.add(ids(4, 2), rows_of(ids(4, 2)))
    assert len(list(tmp_path.iterdir())) == 2
    other.add(ids(2, 9), rows_of(ids(2, 9)))  # overlaps, and does no harm
    again = RowCache(tmp_path, 3, np.float32)
    np.testing.assert_array_equal(again.read(ids(9, 2, 4)), rows_of(ids(9, 2, 4)))


def test_rows_without_their_hand_ids_do_not_count(tmp_path: Path) -> None:
    RowCache(tmp_path, 3, np.float32).add(ids(1, 2), rows_of(ids(1, 2)))
    next(tmp_path.glob("*.hand_ids.npy")).unlink()  # killed between the two files
    again = RowCache(tmp_path, 3, np.float32)
    assert not again.contains(ids(1, 2)).any()
    again.add(ids(1, 2), rows_of(ids(1, 2)))
    assert again.contains(ids(1, 2)).all()


def test_more_files_than_a_process_may_open_are_added_and_read(tmp_path: Path) -> None:
    hands = np.arange(300, dtype=np.uint64)
    with limited(resource.RLIMIT_NOFILE, 100):
        cache = RowCache(tmp_path, 3, np.float32)
        for hand in hands.tolist():
            cache.add(ids(hand), rows_of(ids(hand)))
        for opened in (cache, RowCache(tmp_path, 3, np.float32)):
            np.testing.assert_array_equal(opened.read(hands), rows_of(hands))


def test_a_file_that_cannot_be_opened_is_not_called_damaged(tmp_path: Path) -> None:
    cache = RowCache(tmp_path, 3, np.float32)
    cache.add(ids(1, 2), rows_of(ids(1, 2)))
    with limited(resource.RLIMIT_NOFILE, 0), pytest.raises(HandsimError) as refused:
        cache.read(ids(1))
    assert str(refused.value).endswith(".rows.npy cannot be read (Too many open files)")


def test_a_full_disk_is_one_line_and_leaves_nothing_behind(tmp_path: Path) -> None:
    cache = RowCache(tmp_path / "rows", 3, np.float32)
    many = np.arange(10_000, dtype=np.uint64)
    # A limit on the size of a file ends a write as a full disk does.
    said = r"10,000 hands cannot be written to .* \(File too large\); once that is mended, run it again"
    with limited(resource.RLIMIT_FSIZE, 50_000), pytest.raises(HandsimError, match=said):
        cache.add(many, rows_of(many))
    assert not list((tmp_path / "rows").iterdir())
    assert not cache.contains(many).any()
    cache.add(many, rows_of(many))
    assert cache.contains(many).all()


def test_damaged_files_are_refused_with_the_remedy(tmp_path: Path) -> None:
    RowCache(tmp_path, 3, np.float32).add(ids(1, 2), rows_of(ids(1, 2)))
    with pytest.raises(HandsimError, match=r"is damaged \(float32 \[2, 3\] for 2 hands\)"):
        RowCache(tmp_path, 4, np.float32)
    with pytest.raises(HandsimError, match="is damaged"):
        RowCache(tmp_path, 3, np.float16)
    rows = next(tmp_path.glob("*.rows.npy"))
    rows.write_bytes(rows.read_bytes()[:-4])
    with pytest.raises(HandsimError, match=r"is damaged .*; delete .*, it is made anew"):
        RowCache(tmp_path, 3, np.float32)
    rows.unlink()
    with pytest.raises(HandsimError, match=r"is missing; delete .*, it is made anew"):
        RowCache(tmp_path, 3, np.float32)

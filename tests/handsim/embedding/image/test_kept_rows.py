import resource
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from handsim.embedding.image import KeptRows
from handsim.errors import HandsimError


def rows_of(hand_ids: NDArray[np.uint64]) -> NDArray[np.float32]:
    """[n, 3] numbers that tell whose they are."""
    rows: NDArray[np.float64] = hand_ids[:, None] % 1000 + np.array([0.0, 0.25, 0.5])
    return rows.astype(np.float32)


def ids(*numbers: int) -> NDArray[np.uint64]:
    return np.array(numbers, dtype=np.uint64)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 2**63 - 1), unique=True, max_size=30), st.integers(1, 7))
def test_what_is_kept_is_read_in_any_order(numbers: list[int], size: int) -> None:
    with TemporaryDirectory() as folder:
        kept = KeptRows(Path(folder) / "rows", 3, np.float32)
        half = numbers[: len(numbers) // 2]
        for start in range(0, len(half), size):
            kept.keep(ids(*half[start : start + size]), rows_of(ids(*half[start : start + size])))
        for opened in (kept, KeptRows(Path(folder) / "rows", 3, np.float32)):
            assert opened.has(ids(*numbers)).tolist() == [number in half for number in numbers]
            backwards = ids(*half[::-1], *half[:2])
            np.testing.assert_array_equal(opened.read(backwards), rows_of(backwards))


def test_two_writers_of_the_same_hands_leave_one_file(tmp_path: Path) -> None:
    one, other = KeptRows(tmp_path, 3, np.float32), KeptRows(tmp_path, 3, np.float32)
    for kept in (one, other):
        kept.keep(ids(4, 2), rows_of(ids(4, 2)))
    assert len(list(tmp_path.iterdir())) == 2
    other.keep(ids(2, 9), rows_of(ids(2, 9)))  # overlaps, and does no harm
    again = KeptRows(tmp_path, 3, np.float32)
    np.testing.assert_array_equal(again.read(ids(9, 2, 4)), rows_of(ids(9, 2, 4)))


def test_rows_without_their_hands_do_not_count(tmp_path: Path) -> None:
    kept = KeptRows(tmp_path, 3, np.float32)
    kept.keep(ids(1, 2), rows_of(ids(1, 2)))
    next(tmp_path.glob("*.hand_ids.npy")).unlink()  # killed between the two files
    again = KeptRows(tmp_path, 3, np.float32)
    assert not again.has(ids(1, 2)).any()
    again.keep(ids(1, 2), rows_of(ids(1, 2)))
    assert again.has(ids(1, 2)).all()


def test_a_full_disk_is_one_line_and_leaves_nothing_behind(tmp_path: Path) -> None:
    kept = KeptRows(tmp_path / "rows", 3, np.float32)
    many = np.arange(10_000, dtype=np.uint64)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (50_000, limits[1])
    )  # what the kernel does when there is no room
    try:
        with pytest.raises(
            HandsimError, match=r"10,000 hands cannot be kept in .*; make room and run it again"
        ):
            kept.keep(many, rows_of(many))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list((tmp_path / "rows").iterdir())
    assert not kept.has(many).any()
    kept.keep(many, rows_of(many))
    assert kept.has(many).all()


def test_damaged_files_are_refused_with_the_remedy(tmp_path: Path) -> None:
    KeptRows(tmp_path, 3, np.float32).keep(ids(1, 2), rows_of(ids(1, 2)))
    with pytest.raises(HandsimError, match=r"float32 \[2, 3\] for 2 hands"):
        KeptRows(tmp_path, 4, np.float32)
    with pytest.raises(HandsimError, match="damaged"):
        KeptRows(tmp_path, 3, np.float16)
    rows = next(tmp_path.glob("*.rows.npy"))
    rows.write_bytes(rows.read_bytes()[:-4])
    with pytest.raises(HandsimError, match=r"delete .*, it is made anew"):
        KeptRows(tmp_path, 3, np.float32)
    rows.unlink()
    with pytest.raises(HandsimError, match="damaged"):
        KeptRows(tmp_path, 3, np.float32)

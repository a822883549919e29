"""What a notebook shows of hands: pictures of them, and a table."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import handsim
from handsim import HandsimError, Pool
from handsim.errors import NotThereError
from handsim.hand import format_hand_id
from tests.handsim.builders import add_hands


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    """Thirty hands with pictures, and one without."""
    add_hands(tmp_path / "pool", range(30))
    return Pool.open(add_hands(tmp_path / "pool", [30], crops=False))


@dataclass
class Found:
    hand_ids: NDArray[np.uint64]
    distances: NDArray[np.float32]


def centre_of(sheet: Image.Image, row: int, column: int, lines: int) -> tuple[int, ...]:
    """The colour in the middle of a tile of a grid; the layout is that of the montages."""
    x = 10 + column * 178 + 84
    y = 10 + row * (168 + 6 + 17 * lines + 10) + 84
    return sheet.getpixel((x, y))  # type: ignore[return-value]


def test_hands_are_shown_in_rows_as_they_are_asked_for(pool: Pool) -> None:
    shapes = [handsim.show(hands, pool).size for hands in (pool.hand_ids[:3], pool.hand_ids[:9])]
    assert shapes[0][0] < shapes[1][0]  # three, and eight in a row
    assert shapes[0][1] < shapes[1][1]
    assert handsim.show(pool).size == handsim.show(pool.hand_ids[:24], pool).size
    assert (
        handsim.show(pool.hand_ids[:9], pool, columns=9).size
        == handsim.show(pool.hand_ids[:9][None], pool).size
    )
    by_name = [format_hand_id(hand_id) for hand_id in pool.hand_ids[[4, 7, 30]].tolist()]
    assert handsim.show(by_name, pool) == handsim.show(pool.hand_ids[[4, 7, 30]], pool)


def test_an_answer_has_a_row_for_each_query_and_leaves_empty_places_empty(pool: Pool) -> None:
    nobody = 2**64 - 1
    ids = np.array([[pool.hand_ids[29], nobody], [nobody, pool.hand_ids[2]]], dtype=np.uint64)
    found = Found(ids, np.array([[0.5, np.inf], [np.inf, 0.25]], dtype=np.float32))
    sheet = handsim.show(found, pool, skeletons=False)
    paper = (255, 255, 255)
    colours = [[centre_of(sheet, row, column, lines=3) for column in (0, 1)] for row in (0, 1)]
    assert [[colour == paper for colour in row] for row in colours] == [[False, True], [True, False]]


@pytest.mark.parametrize(
    ("hands", "message"),
    [
        ([], "there are 0 hands to show"),
        (np.arange(1, 402), "there are 401 hands to show; give 1 to 400"),
        ([0.5], "type float64; expected .* whole numbers or 16 hex digits"),
        (["nobody"], "'nobody' is not 16 hex digits"),
        ([[[1]]], r"shape \[1, 1, 1\]"),
        ([5], "no hand 0000000000000005"),
    ],
)
def test_what_cannot_be_shown_is_named(pool: Pool, hands: object, message: str) -> None:
    with pytest.raises(HandsimError, match=message):
        handsim.show(hands, pool)  # type: ignore[arg-type]


def test_ids_alone_are_no_pictures(pool: Pool) -> None:
    with pytest.raises(HandsimError, match=r"handsim\.show\(hands, pool\)"):
        handsim.show(pool.hand_ids)


def test_a_pool_is_a_table_of_its_hands(pool: Pool) -> None:
    table = pool.to_pandas()
    assert list(table.index) == [format_hand_id(hand_id) for hand_id in pool.hand_ids.tolist()]
    for row in (0, 17, 30):
        hand = pool.hand(int(pool.hand_ids[row]))
        assert [table[name].iloc[row] for name in ("source", "video", "side", "frame", "file")] == [
            *(hand.source, hand.video, hand.side, hand.frame, hand.file)
        ]
        assert table["score"].iloc[row] == pytest.approx(hand.score)
    assert table["has_crop"].tolist() == [True] * 30 + [False]
    assert table["track"].isna().all()


def test_an_empty_pool_is_an_empty_table(tmp_path: Path) -> None:
    table = Pool.open(add_hands(tmp_path / "pool", [])).to_pandas()
    assert len(table) == 0
    assert "video" in table.columns


def test_without_pandas_the_table_says_what_to_install(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(NotThereError, match="pip install pandas"):
        pool.to_pandas()

"""Answers to take away."""

import csv
import io
from pathlib import Path

from PIL import Image

from apps.browser.library import Library
from apps.browser.search.answer import answer, as_csv, as_png, query_picture
from apps.browser.search.question import Question, quantise_keypoints
from handsim import Pool, PoolWriter
from handsim.hand import format_hand_id
from index import Neighbor
from index.query import Payload


def test_a_table_and_a_montage(library: Library) -> None:
    question = Question(hand=int(library.open_pool().hand_ids[0]), k=11)
    with library.open_version() as version:
        said = answer(version, question)
    rows = list(csv.DictReader(io.StringIO(as_csv(said.neighbors).decode())))
    assert [row["hand_id"] for row in rows] == [format_hand_id(found.hand_id) for found in said.neighbors]
    assert [float(row["distance"]) for row in rows] == sorted(float(row["distance"]) for row in rows)
    assert all(row["video"] and row["side"] in ("left", "right") for row in rows)
    query = query_picture(library, library.open_pool(), question, said.version, None)
    sheet = Image.open(io.BytesIO(as_png(library.open_pool(), query, said.neighbors)))
    assert sheet.format == "PNG"
    assert 1000 < sheet.width < 2000  # eight to a row
    assert sheet.height > 400  # and so two rows


def test_a_montage_of_a_photograph_shows_it(library: Library) -> None:
    pool = library.open_pool()
    question = Question(pose=quantise_keypoints(pool.keypoints[0]))
    crop = pool.crop(int(pool.hand_ids[0]))
    assert query_picture(library, pool, question, "v0001", crop).crop is crop


def test_hands_that_the_pool_lacks_are_tiles_without_a_picture(library: Library, tmp_path: Path) -> None:
    """As of an index elsewhere that knows more hands."""
    question = Question(hand=int(library.open_pool().hand_ids[0]), k=3)
    with library.open_version() as version:
        said = answer(version, question)
    with PoolWriter(tmp_path / "empty"):
        pass
    pool = Pool.open(tmp_path / "empty")
    query = query_picture(library, pool, question, said.version, None)
    assert as_png(pool, query, said.neighbors).startswith(b"\x89PNG")


def test_names_are_no_formulas() -> None:
    payload: Payload = {
        "video": "=1+1",
        "source": 'a,"b"',
        "side": "left",
        "label": None,
        "score": 0.5,
        "frame": 3,
    }
    (row,) = csv.DictReader(io.StringIO(as_csv([Neighbor(5, 0.25, payload)]).decode()))
    assert row["video"] == "'=1+1"
    assert row["source"] == 'a,"b"'
    assert row["label"] == ""

"""Hands chosen by id and by what is known of them, and the files that name them."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from handsim import HandsimError, Pool, PoolWriter
from handsim.hand import format_hand_id
from handsim.pool.selection import Selection, parse_ids
from tests.handsim.builders import add_hands, make_hand


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    """20 hands of 4 videos."""
    return Pool.open(add_hands(tmp_path_factory.mktemp("selection") / "pool", range(20), crops=False))


def test_all_conditions_hold_for_what_is_chosen(pool: Pool) -> None:
    assert Selection().is_everything
    np.testing.assert_array_equal(Selection().rows(pool), np.arange(20))
    chosen = Selection(videos=("v0", "v2", "nowhere"), sides=("left",)).rows(pool)
    assert chosen.tolist() == [0, 3, 12]  # every third is a left hand
    assert Selection(labels=("shape 0",)).rows(pool).tolist() == [0, 4, 8, 12, 16]
    assert len(Selection(sources=("test",), min_score=0.5, max_score=0.5).rows(pool)) == 20
    assert len(Selection(min_score=0.51).rows(pool)) == len(Selection(max_score=0.49).rows(pool)) == 0
    assert len(Selection(labels=()).rows(pool)) == len(Selection(ids=()).rows(pool)) == 0
    with pytest.raises(HandsimError, match="min_score is 2; it lies between 0 and 1"):
        Selection(min_score=2)


def test_hands_are_chosen_by_the_length_of_their_track(tmp_path: Path) -> None:
    with PoolWriter(tmp_path / "pool") as writer:
        for number, track in enumerate((None, 7, 8, 7, 9, 7, 8, None)):
            writer.add(make_hand(number, track=track))
    pool = Pool.open(tmp_path / "pool")
    assert pool.tracks.tolist() == [0, 7, 8, 7, 9, 7, 8, 0]
    assert Selection(min_track=2).rows(pool).tolist() == [1, 2, 3, 5, 6]
    assert Selection(max_track=1).rows(pool).tolist() == [4]
    assert Selection(min_track=2, max_track=2).rows(pool).tolist() == [2, 6]
    with pytest.raises(HandsimError, match="max_track is 0; a track has at least 1 hand"):
        Selection(max_track=0)


def test_ids_keep_their_order_and_count_once(pool: Pool) -> None:
    ids = tuple(pool.hand_ids[[7, 3, 7, 12, 0]].tolist())
    assert Selection(ids=ids).rows(pool).tolist() == [7, 3, 12, 0]
    assert Selection(ids=ids, sides=("left",)).rows(pool).tolist() == [3, 12, 0]
    unknown = "5 of 6 hands are not in .*: 0000000000000001, 0000000000000002, 0000000000000003 and 2 more"
    with pytest.raises(FileNotFoundError, match=unknown):
        Selection(ids=(ids[0], 1, 2, 3, 4, 5)).rows(pool)


def test_a_file_of_every_kind_names_the_same_hands(pool: Pool, tmp_path: Path) -> None:
    ids = pool.hand_ids[[4, 2, 9]].tolist()
    names = [format_hand_id(hand_id) for hand_id in ids]
    (tmp_path / "lines").write_bytes("\r\n".join(["", *names, ""]).encode("utf-8-sig"))
    (tmp_path / "table").write_text("frame,hand_id\n" + "".join(f"1,{name}\n" for name in names))
    (tmp_path / "row").write_text(",".join(names))
    (tmp_path / "list").write_text(json.dumps([{"hand_id": name, "video": "v"} for name in names]))
    pq.write_table(pa.table({"hand_id": pa.array(ids, pa.uint64())}), tmp_path / "numbers")
    pq.write_table(pa.table({"frame": [1, 2, 3], "id": names}), tmp_path / "hex")
    for file in sorted(tmp_path.iterdir()):
        assert parse_ids(str(file)) == Selection(ids=tuple(ids)), file
    assert parse_ids(",".join(names * 40)).rows(pool).tolist() == [4, 2, 9]
    neighbors = [{"hand_id": name, "distance": 0.5 * rank} for rank, name in enumerate(names)]
    answer = [{"query": {"hand_id": "0" * 16}, "neighbors": neighbors}]
    (tmp_path / "answer").write_text(json.dumps(answer))
    read = parse_ids(str(tmp_path / "answer"))
    assert read.ids == tuple(ids)
    assert [read.distances[hand_id] for hand_id in ids] == [0, 0.5, 1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"seven\n", "line 1: hand id 'seven' is not 16 hex digits"),
        (b"frame,hand_id\n1,00000000000000aa\n2\n", "line 3: hand id '' is not 16 hex digits"),
        (b'[{"hand_id": -1}]', "hand 1: hand id '-1' is not"),
        (b'[{"hand": 1}]', "names no hand; give ids in hex"),
        (b"[" * 100_000, "cannot be read as JSON"),
        (b"PAR1 and no more", "cannot be read as Parquet"),
        (b"\xff\xfe\x00\x01", "cannot be read as hand ids"),
        (b"", "names no hand"),
    ],
)
def test_files_without_ids_are_refused_with_the_place(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "ids").write_bytes(content)
    with pytest.raises(HandsimError, match=message):
        parse_ids(str(tmp_path / "ids"))
    with pytest.raises(FileNotFoundError, match="'seven' is neither a file nor hand ids"):
        parse_ids("seven")

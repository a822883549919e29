"""Other videos and labels for hands that are in a pool."""

import os
from pathlib import Path

import numpy as np
import pytest

from handsim import Pool, PoolWriter
from handsim.errors import HandsimError, NotThereError
from handsim.pool import ItemRecord, read_items
from handsim.pool.layout import published_parts
from handsim.pool.relabel import relabel
from handsim.pool.removal import remove
from tests.handsim.builders import add_hands, make_hand, make_jpeg

IDS = [make_hand(number).hand_id for number in range(9)]


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    path = add_hands(tmp_path / "pool", range(8), part_hands=4)
    with PoolWriter(path) as writer:
        writer.add_item(ItemRecord(5, 1, 1), [(make_hand(8), None)])
    return path


def test_hands_get_other_names_and_keep_everything_else(pool: Path) -> None:
    before = Pool.open(pool)
    assert relabel(pool, {IDS[0]: "take 2", IDS[8]: "take 2"}, {IDS[0]: None, IDS[8]: "fist"}) == 2
    assert not before.is_current()
    before.close()
    after = Pool.open(pool)
    assert after.videos.values() == ["take 2", *before.videos.values(slice(1, 8)), "take 2"]
    assert after.labels.values() == [None, *before.labels.values(slice(1, 8)), "fist"]
    for field in ("hand_ids", "keypoints", "frames", "scores", "is_left", "has_crops"):
        np.testing.assert_array_equal(getattr(after, field), getattr(before, field))
    assert after.crop_jpeg(IDS[0]) == make_jpeg(0)
    assert after.hand(IDS[8]).file == make_hand(8).file
    assert [record.key for record in read_items(pool)] == [5]


def test_only_parts_that_change_are_written_and_no_crop_is_copied(pool: Path) -> None:
    tar = published_parts(pool)[1] / "crops.tar"
    inode = tar.stat().st_ino
    assert (
        relabel(pool, {IDS[5]: "new", IDS[1]: make_hand(1).video, 77: "x"}, {IDS[7]: make_hand(7).label}) == 1
    )
    assert [part.name for part in published_parts(pool)] == ["000000", "000001.1", "000002"]
    assert (published_parts(pool)[1] / "crops.tar").stat().st_ino == inode
    for number in range(10):
        relabel(pool, {IDS[5]: f"new {number}"}, {})
    assert sorted(part.name for part in (pool / "parts").iterdir()) == ["000000", "000001.11", "000002"]
    assert Pool.open(pool).videos[5] == "new 9"
    add_hands(pool, [20])
    assert [part.name for part in published_parts(pool)] == ["000000", "000001.11", "000002", "000003"]


def test_removed_hands_are_renamed_too_but_not_counted(pool: Path) -> None:
    remove(pool, [IDS[0]])
    assert relabel(pool, {IDS[0]: "new", IDS[1]: "new"}, {}) == 1


def test_without_hard_links_the_crops_are_copied(pool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted", str(source))

    monkeypatch.setattr(os, "link", refuse)
    relabel(pool, dict.fromkeys(IDS, "new"), {})
    assert [Pool.open(pool).crop_jpeg(hand_id) for hand_id in IDS[:8]] == [make_jpeg(n) for n in range(8)]


def test_writers_exclude_each_other(pool: Path) -> None:
    with PoolWriter(pool), pytest.raises(HandsimError, match=f"being written by process {os.getpid()}; wait"):
        relabel(pool, {IDS[0]: "new"}, {})
    with pytest.raises(NotThereError, match="there is no pool at"):
        relabel(pool / "none", {}, {})

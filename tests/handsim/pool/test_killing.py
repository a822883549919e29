"""What looks after a pool is killed before each of its steps on the disk; nothing else is lost."""

import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from handsim import Pool, PoolWriter
from handsim.images import encode_jpeg
from handsim.pool import ItemRecord, read_items
from handsim.pool.compact import compact
from handsim.pool.layout import published_parts, read_removed
from handsim.pool.merge import merge
from handsim.pool.relabel import change_sides, relabel
from handsim.pool.removal import remove, restore
from tests.handsim.builders import CROP_PX, make_hand, picture
from tests.handsim.killing import kill_at_every_step

Content = dict[int, tuple[str | None, str | None, str | None, bytes, bytes]]
"""Hand -> video, label, side, keypoints and crop."""


def write(pool: Path, numbers: range) -> None:
    """A pool in parts of two hands, with a record of each."""
    with PoolWriter(pool, crop_size_px=CROP_PX, part_hands=2) as writer:
        for number in numbers:
            writer.add_item(ItemRecord(number, 1, 1), [(make_hand(number), encode_jpeg(picture(number)))])


def read(pool: Path) -> Content:
    with closing(Pool.open(pool)) as opened:
        names = zip(
            *(column.values() for column in (opened.videos, opened.labels, opened.sides)), strict=True
        )
        keypoints = map(np.ndarray.tobytes, opened.keypoints)
        return {
            hand_id: (*three, points, opened.crop_jpeg(hand_id))
            for hand_id, three, points in zip(opened.hand_ids.tolist(), names, keypoints, strict=True)
        }


def state(pool: Path) -> tuple[Content, list[int], list[int], list[str]]:
    """All that a pool holds, and of which files it consists."""
    items = sorted(record.key for record in read_items(pool))
    files = sorted(
        str(file.relative_to(pool)) for file in pool.rglob("*") if file.name not in (".lock", ".readers")
    )
    return read(pool), items, read_removed(pool).tolist(), files


IDS = [make_hand(number).hand_id for number in range(6)]
OPERATIONS: dict[str, Callable[[Path], object]] = {
    "remove": lambda home: remove(home / "pool", IDS[1:3]),
    "restore": lambda home: restore(home / "pool"),
    "relabel": lambda home: relabel(home / "pool", {IDS[0]: "new", IDS[3]: "new"}, {IDS[0]: None}),
    "sides": lambda home: change_sides(home / "pool", {IDS[0]: "right", IDS[2]: "left", IDS[3]: "right"}),
    "compact": lambda home: compact(home / "pool"),
    "merge": lambda home: merge(home / "pool", home / "other", prefix="other"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OPERATIONS)
def test_killed_before_any_step_it_loses_nothing_else_and_goes_on(name: str, tmp_path: Path) -> None:
    before, home, done = (tmp_path / place for place in ("before", "home", "done"))
    write(before / "pool", range(5))
    write(before / "other", range(3, 7))
    remove(before / "pool", [IDS[1], IDS[4]])
    remove(before / "other", [IDS[5]])
    operation = OPERATIONS[name]
    shutil.copytree(before, done)
    operation(done)
    begun, ended = read(before / "pool"), state(done / "pool")

    def prepare() -> None:
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(before, home)

    def check() -> None:
        now = read(home / "pool")
        for hand_id in now.keys() | (begun.keys() & ended[0].keys()):
            assert now[hand_id] in (begun.get(hand_id), ended[0].get(hand_id))
        operation(home)
        assert state(home / "pool") == ended

    assert kill_at_every_step(prepare, lambda: operation(home), check) > 5
    assert len(published_parts(home / "pool")) >= 3

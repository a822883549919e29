"""The hands of another pool in this one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from handsim import Hand, Pool, PoolWriter
from handsim.errors import HandsimError, NotThereError
from handsim.pool import ItemRecord, Skip, read_items
from handsim.pool.compact import compact
from handsim.pool.layout import published_parts, read_removed
from handsim.pool.merge import MergeReport, merge
from handsim.pool.removal import remove
from tests.handsim.builders import add_hands, make_hand, make_jpeg

IDS = [make_hand(number).hand_id for number in range(40)]
NOTHING = MergeReport(0, 0, 0, 0, 0, 0, ())


def write(path: Path, hands: list[Hand]) -> Path:
    """A pool of hands, each with the crop of its frame."""
    with PoolWriter(path) as writer:
        for hand in hands:
            writer.add(hand, make_jpeg(hand.frame))
    return path


def test_hands_of_both_pools_are_in_it_once_with_their_crops(tmp_path: Path) -> None:
    pool = add_hands(tmp_path / "pool", range(10), part_hands=4)
    other = add_hands(tmp_path / "other", range(6, 20), part_hands=5)
    add_hands(other, [20], crops=False)
    assert merge(pool, other) == replace(NOTHING, new_hands=11, shared_hands=4)
    both = Pool.open(pool)
    assert both.hand_ids.tolist() == IDS[:21]
    for number in range(20):
        assert both.crop_jpeg(IDS[number]) == make_jpeg(number)
        np.testing.assert_array_equal(both.keypoints[number], make_hand(number).keypoints)
    assert not both.has_crop(IDS[20])
    assert len(Pool.open(other)) == 15
    assert merge(pool, other) == replace(NOTHING, shared_hands=15)
    assert len(published_parts(pool)) == len(both.tars.parts)


def test_a_pool_that_is_not_there_is_made(tmp_path: Path) -> None:
    other = add_hands(tmp_path / "other", range(3))
    assert merge(tmp_path / "pool", other).new_hands == 3
    assert Pool.open(tmp_path / "pool").hand_ids.tolist() == IDS[:3]


def test_a_dry_run_says_the_same_and_changes_nothing(tmp_path: Path) -> None:
    pool, other = (add_hands(tmp_path / name, [number]) for number, name in enumerate(("pool", "other")))
    remove(other, [IDS[1]])
    add_hands(other, [0, 2])
    opened = Pool.open(pool)
    report = merge(pool, other, dry_run=True)
    assert report == replace(NOTHING, new_hands=1, shared_hands=1)
    assert opened.is_current()
    assert merge(pool, other) == report


def test_an_ingest_goes_on_where_either_home_was(tmp_path: Path) -> None:
    failed = (Skip("a.jpg", "unreadable"),)
    for name, records in (
        ("pool", [ItemRecord(1, 1, 0), ItemRecord(2, 1, 0, failed)]),
        (
            "other",
            [ItemRecord(1, 1, 0), ItemRecord(2, 1, 0), ItemRecord(3, 1, 0, failed), ItemRecord(4, 1, 0)],
        ),
    ):
        with PoolWriter(tmp_path / name) as writer:
            for record in records:
                writer.add_item(record, [])
    for _ in range(2):
        merge(tmp_path / "pool", tmp_path / "other")
        assert [record.key for record in read_items(tmp_path / "pool")] == [1, 2, 2, 3, 4]
    with PoolWriter(tmp_path / "pool") as writer:
        assert writer.known_items == {1, 2, 4}


def test_what_either_side_removed_stays_removed(tmp_path: Path) -> None:
    pool, other = (add_hands(tmp_path / name, range(6)) for name in ("pool", "other"))
    add_hands(other, range(6, 10))
    remove(pool, IDS[:2])
    compact(pool)
    remove(other, [IDS[2], IDS[6]])
    report = merge(pool, other)
    assert report == replace(NOTHING, new_hands=3, shared_hands=3, removed_there=1, removed_here=2)
    assert Pool.open(pool).hand_ids.tolist() == [*IDS[3:6], *IDS[7:10]]
    assert set(read_removed(pool).tolist()) == {*IDS[:3], IDS[6]}
    assert not PoolWriter(pool).add(make_hand(6))


def test_hands_that_differ_and_pictures_that_are_there_already_are_told(tmp_path: Path) -> None:
    hands = [make_hand(number) for number in range(4)]
    pool = write(tmp_path / "pool", hands)
    moved = replace(hands[0], keypoints=hands[0].keypoints + np.float32(0.1))
    copies = [replace(hand, hand_id=hand.hand_id + 1, video="copy", frame=hand.frame) for hand in hands[1:3]]
    other_crop = replace(hands[3], hand_id=hands[3].hand_id + 1, video="copy", frame=30)
    other = write(tmp_path / "other", [moved, *copies, other_crop])
    expected = replace(NOTHING, new_hands=3, shared_hands=1, differing_hands=1, duplicates=2)
    assert merge(pool, other) == expected
    np.testing.assert_array_equal(Pool.open(pool).keypoints[0], hands[0].keypoints)


def test_recordings_of_one_name_are_told_and_renamed_if_asked(tmp_path: Path) -> None:
    def clip(number: int, video: str, frame: int) -> Hand:
        return make_hand(number, video=video, frame=frame, side="right")

    pool = write(tmp_path / "pool", [clip(0, "clip", 7), clip(1, "person", 1), clip(2, "same", 3)])
    others = [clip(10, "clip", 7), clip(11, "clip", 8), clip(12, "person", 2), clip(2, "same", 3)]
    other = write(tmp_path / "other", [*others, clip(13, "same", 4)])
    report = merge(pool, other, dry_run=True)
    assert report.clashes == ("clip",)
    for name in ("b", "b"):  # a second home of that name has another recording again
        merge(pool, other, prefix=name)
        other = write(tmp_path / "third", [clip(20, "clip", 7)])
    merge(pool, other, prefix="b")
    videos = Pool.open(pool).videos.values()
    assert videos == ["clip", "person", "same", "b/clip", "b/clip", "person", "same", "b-2/clip"]


def test_what_cannot_be_merged_is_refused(tmp_path: Path) -> None:
    pool = add_hands(tmp_path / "pool", [0])
    with PoolWriter(tmp_path / "small", crop_size_px=32):
        pass
    with pytest.raises(HandsimError, match=r"32 px crops, .* 224 px ones; .* ingest the files"):
        merge(pool, tmp_path / "small")
    with pytest.raises(HandsimError, match="is this pool itself"):
        merge(pool, tmp_path / "small" / ".." / "pool")
    with pytest.raises(NotThereError, match="there is no pool at"):
        merge(pool, tmp_path / "none")
    assert not (tmp_path / "none").exists()

"""A pool: written, read, killed, damaged, and cut down to a subset."""

import os
import resource
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pyarrow.parquet as pq
import pytest
import webdataset

from handsim import Pool, PoolWriter
from handsim.errors import HandsimError, NotThereError
from handsim.hand import format_hand_id
from handsim.pool import ItemRecord, Skip, read_items
from handsim.pool.info import read_pool_info
from handsim.pool.layout import count_hands, published_parts, read_pool_json, read_version
from handsim.pool.merge import merge
from handsim.pool.selection import Selection
from handsim.pool.subset import write_subset
from tests.handsim.builders import add_hands, limited, make_hand, make_jpeg, make_partial_hand


def test_what_is_written_is_read(tmp_path: Path) -> None:
    hands = [make_hand(number) for number in range(40)]
    extra = make_hand(99, external_id="h99", external_positives=("a", "b"))
    with PoolWriter(tmp_path / "pool", part_hands=16) as writer:
        for number, hand in enumerate(hands):
            assert writer.add(hand, make_jpeg(number))
        assert writer.add(extra)
        assert not writer.add(extra)
    pool = Pool.open(tmp_path / "pool")
    first, _, _ = published_parts(pool.path)
    shard = list(webdataset.WebDataset(str(first / "crops.tar"), shardshuffle=False))
    assert [sample["__key__"] for sample in shard] == [format_hand_id(hand.hand_id) for hand in hands[:16]]
    assert shard[3]["jpg"] == make_jpeg(3)
    expected = [*hands, extra]
    assert pool.hand_ids.tolist() == [hand.hand_id for hand in expected]
    assert pool.videos.values() == [hand.video for hand in expected]
    assert pool.labels.values() == [hand.label for hand in expected]
    assert pool.is_left.tolist() == [hand.side == "left" for hand in expected]
    assert pool.frames.tolist() == [hand.frame for hand in expected]
    np.testing.assert_array_equal(pool.keypoints, np.stack([hand.keypoints for hand in expected]))
    for number in (0, 15, 16, 39):
        written, read = hands[number], pool.hand(hands[number].hand_id)
        assert (read.file, read.label, read.side) == (written.file, written.label, written.side)
        np.testing.assert_array_equal(read.box_px, written.box_px)
        assert pool.crop_jpeg(read.hand_id) == make_jpeg(number)
        assert abs(int(pool.crop(read.hand_id)[0, 0, 0]) - number) < 4
    assert pool.hand(extra.hand_id).external_positives == ("a", "b")
    assert not pool.has_crop(extra.hand_id)
    with pytest.raises(HandsimError, match="no picture"):
        pool.crop(extra.hand_id)


def test_unlabelled_joints_and_the_scores_of_joints_are_read_as_they_were_written(tmp_path: Path) -> None:
    scores = np.linspace(0, 1, 21, dtype=np.float32)
    scores[4] = np.nan
    partly, scored = make_partial_hand(2, [4, 20]), make_partial_hand(3, [4], joint_scores=scores)
    with PoolWriter(tmp_path / "pool", part_hands=2) as writer:
        writer.add(make_hand(1))
        assert read_version(tmp_path / "pool") == 1
        for hand in (partly, scored, make_hand(4)):
            writer.add(hand)
    pool = Pool.open(tmp_path / "pool")
    assert pool.is_complete.tolist() == [True, False, False, True]
    np.testing.assert_array_equal(pool.keypoints[1:3], np.stack([partly.keypoints, scored.keypoints]))
    assert pool.hand(partly.hand_id).joint_scores is None
    np.testing.assert_array_equal(pool.hand(scored.hand_id).joint_scores, scores)
    assert read_version(tmp_path / "pool") == 2  # so that an earlier handsim asks to be upgraded
    write_subset(tmp_path / "pool", tmp_path / "subset", 4)
    subset = Pool.open(tmp_path / "subset")
    np.testing.assert_array_equal(subset.is_complete, pool.is_complete[pool.rows(subset.hand_ids)])
    assert read_version(tmp_path / "subset") == 2


def test_a_hand_of_unknown_side_is_read_as_it_was_written_and_earlier_versions_refuse_the_pool(
    tmp_path: Path,
) -> None:
    unknown = make_partial_hand(2, [4], side="unknown")
    with PoolWriter(tmp_path / "pool", part_hands=2) as writer:
        for hand in (make_hand(0), make_partial_hand(1, [4])):
            writer.add(hand)
        assert read_version(tmp_path / "pool") == 2
        for hand in (unknown, make_hand(4)):
            writer.add(hand)
    pool = Pool.open(tmp_path / "pool")
    assert pool.is_left.tolist() == [True, False, False, False]
    assert pool.has_side.tolist() == [True, True, False, True]
    assert pool.is_usable.tolist() == [True, False, False, True]
    assert [hand.side for hand in pool.hands(np.arange(4))] == ["left", "right", "unknown", "right"]
    assert Selection(sides=("unknown",)).rows(pool).tolist() == [2]
    assert Selection(sides=("right",)).rows(pool).tolist() == [1, 3]
    assert read_pool_info(tmp_path / "pool").sides == {"right": 2, "left": 1, "unknown": 1}
    assert read_version(tmp_path / "pool") == 3
    merge(tmp_path / "other", tmp_path / "pool")
    assert read_version(tmp_path / "other") == 3


def test_true_joints_and_visibility_come_back_and_only_of_hands_that_have_them(tmp_path: Path) -> None:
    joints, visible = np.random.default_rng(0).random((21, 3), dtype=np.float32), np.arange(21) % 3 > 0
    joints[4] = np.nan
    hands = [make_hand(0), make_hand(1, joints_mm=joints, visible=visible), make_hand(2, joints_mm=joints)]
    with PoolWriter(tmp_path / "pool", part_hands=2) as writer:
        for hand in hands:
            writer.add(hand)
    pool = Pool.open(tmp_path / "pool")
    expected = np.stack([np.full((21, 3), np.nan), joints, joints])
    np.testing.assert_array_equal(pool.read_joints_mm(), expected)
    shown, is_known = pool.read_visible()
    assert is_known.tolist() == [False, True, False]
    np.testing.assert_array_equal(shown[1], visible)
    for hand, read in zip(hands, pool.hands(np.arange(3)), strict=True):
        for name in ("joints_mm", "visible"):
            truth, again = getattr(hand, name), getattr(read, name)
            assert (truth is None) == (again is None)
            if truth is not None:
                np.testing.assert_array_equal(again, truth)


def test_parts_from_before_the_joints_columns_are_read(tmp_path: Path) -> None:
    pool = add_hands(tmp_path / "pool", range(3))
    file = published_parts(pool)[0] / "hands.parquet"
    later = ["joint_mask", "joint_scores", "joints_mm", "visible"]
    pq.write_table(pq.read_table(file).drop_columns(later), file)
    add_hands(pool, range(3, 5))
    opened = Pool.open(pool)
    assert opened.is_complete.tolist() == [True] * 5
    assert opened.hand(make_hand(1).hand_id).joint_scores is None
    assert opened.hand(make_hand(1).hand_id).joints_mm is None
    assert np.isnan(opened.read_joints_mm()).all()
    write_subset(pool, tmp_path / "subset", 5)
    assert Pool.open(tmp_path / "subset").is_complete.all()
    pq.write_table(pq.read_table(file).drop_columns(["frame"]), file)
    with pytest.raises(
        HandsimError, match=r"part 000000 .* is damaged \(hands.parquet has no column frame\)"
    ):
        Pool.open(pool)


def test_text_that_is_not_utf_8_is_written_with_escapes(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    hand = make_hand(1, file=name, label="\ud83d", external_positives=("fine", name))
    with PoolWriter(tmp_path / "pool") as writer:
        writer.add_item(ItemRecord(5, 1, 1, (Skip(name, "no hand"),)), [(hand, None)])
    read = Pool.open(tmp_path / "pool").hand(hand.hand_id)
    assert (read.file, read.label) == (r"caf\xe9.jpg", r"\ud83d")
    assert read.external_positives == ("fine", r"caf\xe9.jpg")
    assert next(read_items(tmp_path / "pool")).skipped == (Skip(r"caf\xe9.jpg", "no hand"),)


def test_threads_that_read_at_once_open_a_tar_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool, together = Pool.open(add_hands(tmp_path / "pool", [1])), Barrier(4)
    open_file = os.open

    def open_together(path: Path, flags: int) -> int:
        together.wait(timeout=60)
        return open_file(path, flags)

    with monkeypatch.context() as meanwhile, ThreadPoolExecutor(4) as threads:
        meanwhile.setattr("handsim.pool.crops.os.open", open_together)
        read = list(threads.map(pool.crop_jpeg, [make_hand(1).hand_id] * 4))
    assert read == [make_jpeg(1)] * 4
    tar = os.path.realpath(published_parts(pool.path)[0] / "crops.tar")
    assert [os.path.realpath(each) for each in Path("/proc/self/fd").iterdir()].count(tar) == 1


def test_a_pool_knows_whether_it_is_current(tmp_path: Path) -> None:
    for number in (1, 2):
        pool = Pool.open(add_hands(tmp_path / "pool", [number]))
        assert pool.is_current()
        assert int(pool.hand_ids[-1]) in pool
        assert 7 not in pool
    add_hands(tmp_path / "pool", [3])
    assert not pool.is_current()
    shutil.rmtree(tmp_path / "pool")
    assert not pool.is_current()


def test_items_land_with_their_hands(tmp_path: Path) -> None:
    record = ItemRecord(5, pictures=3, hands=2, skipped=(Skip("a.jpg", "no hand", "", 1),))
    with PoolWriter(tmp_path / "pool", part_hands=1) as writer:
        assert writer.add_item(record, [(make_hand(1), None), (make_hand(2), None)]) == 2
        assert len(published_parts(tmp_path / "pool")) == 1  # both hands and the record, in one part
        writer.add_item(ItemRecord(6, 1, 0), [])
    assert next(read_items(tmp_path / "pool")) == record
    with PoolWriter(tmp_path / "pool") as writer:
        assert writer.known_items == {5, 6}


def test_items_that_failed_are_not_known_to_the_next_writer(tmp_path: Path) -> None:
    """Earlier versions recorded them as done."""
    no_hand, crash, error, lost = (
        Skip("a.jpg", reason) for reason in ("no hand", "crashed a worker", "failed", "unreadable")
    )
    with PoolWriter(tmp_path / "pool", part_hands=4) as writer:
        for key, skipped in enumerate([(), (no_hand,), (crash,), (no_hand, error), (lost, no_hand), ()]):
            writer.add_item(ItemRecord(key, 1, 1, skipped), [(make_hand(key), None)])
    with PoolWriter(tmp_path / "pool") as writer:
        assert writer.known_items == {0, 1, 5}


def test_hands_are_counted_without_reading_them(tmp_path: Path) -> None:
    path = add_hands(tmp_path / "pool", [])
    pool = Pool.open(path)
    assert count_hands(path) == len(pool) == 0
    assert pool.keypoints.shape == (0, 21, 3)
    with pytest.raises(HandsimError, match="no hand 0000000000000007"):
        pool.rows([7])
    add_hands(path, range(7), part_hands=3)
    assert count_hands(path) == 7 == len(Pool.open(path))
    with pytest.raises(NotThereError, match="there is no pool at"):
        count_hands(tmp_path / "elsewhere")


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    message = f"written by process {os.getpid()}"
    for _ in range(2):  # the lock goes with the writer
        with PoolWriter(tmp_path / "pool"), pytest.raises(HandsimError, match=message):
            PoolWriter(tmp_path / "pool")
    (tmp_path / "pool" / "parts" / "000000").mkdir()  # without its files
    for _ in range(2):
        with pytest.raises(HandsimError, match=r"part 000000 .* is damaged"):
            PoolWriter(tmp_path / "pool")


def test_what_is_no_pool_is_named(tmp_path: Path) -> None:
    with pytest.raises(HandsimError, match="there is no pool"):
        Pool.open(tmp_path / "nothing")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    for place in (tmp_path / "other", tmp_path / "other" / "notes.txt"):
        with pytest.raises(HandsimError, match="is not a pool"):
            PoolWriter(place)
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["notes.txt"]
    path = add_hands(tmp_path / "pool", [1])
    with pytest.raises(HandsimError, match="224 px crops, not 128"):
        PoolWriter(path, crop_size_px=128)
    content = (path / "pool.json").read_text()
    (path / "pool.json").write_text(content.replace('"version": 1', '"version": 4'))
    with pytest.raises(HandsimError, match=r"format 4.*upgrade"):
        Pool.open(path)
    (path / "pool.json").write_text("")  # and hands are there: nothing is begun anew
    with pytest.raises(HandsimError, match="is not a pool"):
        PoolWriter(path)


@pytest.mark.parametrize("left", ["", "parts", "parts/ .lock", "parts/ pool.json", ".pool.json.0a1b2c3d"])
def test_a_pool_whose_beginning_was_killed_is_begun_again(tmp_path: Path, left: str) -> None:
    for name in left.split():
        place = tmp_path / "pool" / name
        place.parent.mkdir(exist_ok=True)
        place.mkdir() if name.startswith("parts") else place.touch()
    assert len(Pool.open(add_hands(tmp_path / "pool", [1]))) == 1


def test_pool_json_appears_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process killed while it writes the file leaves none under that name."""

    def write_half(path: Path, text: str, encoding: str) -> None:
        path.write_bytes(text.encode(encoding)[:20])
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(Path, "write_text", write_half)
        with pytest.raises(KeyboardInterrupt):
            PoolWriter(tmp_path / "pool")
    assert not (tmp_path / "pool" / "pool.json").exists()
    assert read_pool_json(add_hands(tmp_path / "pool", [])) == 224


@pytest.mark.parametrize("damage", ["truncate", "garbage", "delete"])
def test_a_damaged_part_is_named_with_the_remedy(tmp_path: Path, damage: str) -> None:
    table = published_parts(add_hands(tmp_path / "pool", range(8), part_hands=4))[1] / "hands.parquet"
    if damage == "delete":
        table.unlink()
    else:
        table.write_bytes(table.read_bytes()[:-100] if damage == "truncate" else b"not parquet at all")
    for read in (Pool.open, count_hands):
        with pytest.raises(HandsimError, match=r"part 000001 .* is damaged.*ingest again"):
            read(tmp_path / "pool")


def test_a_pool_may_have_more_parts_than_a_process_may_open_files(tmp_path: Path) -> None:
    pool = Pool.open(add_hands(tmp_path / "pool", range(30), part_hands=1))
    with limited(resource.RLIMIT_NOFILE, 25):
        for number in range(30):
            assert pool.crop_jpeg(make_hand(number).hand_id) == make_jpeg(number)


def test_a_tar_that_ends_too_early_and_a_crop_that_is_none_are_named(tmp_path: Path) -> None:
    tar = published_parts(add_hands(tmp_path / "pool", [1]))[0] / "crops.tar"
    content = tar.read_bytes()
    for altered, message in (
        (content[:600], "ends too early"),
        (content[:512] + b"no JPEG." + content[520:], "crop of hand .* is damaged .*; move its part"),
    ):
        tar.write_bytes(altered)
        with pytest.raises(HandsimError, match=message):
            Pool.open(tmp_path / "pool").crop(make_hand(1).hand_id)


WRITE_FOR_EVER = """
import sys
from tests.handsim.builders import make_hand, make_jpeg
from handsim.pool import ItemRecord, PoolWriter
with PoolWriter(sys.argv[1], part_hands=7) as writer:
    for number in range(60):
        if number not in writer.known_items:
            writer.add_item(ItemRecord(number, 1, 1), [(make_hand(number), make_jpeg(number))])
            print(number, flush=True)
"""


@pytest.mark.slow
def test_a_killed_writer_loses_only_its_part_and_the_next_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "pool"
    command = [sys.executable, "-c", WRITE_FOR_EVER, str(path)]
    for kill_after in (1, 40):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(kill_after):
                process.stdout.readline()
            process.kill()
        pool = Pool.open(path)  # readers are never disturbed
        for hand_id in pool.hand_ids.tolist():
            pool.crop_jpeg(hand_id)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    pool = Pool.open(path)
    assert sorted(pool.hand_ids.tolist()) == sorted(make_hand(number).hand_id for number in range(60))
    assert not list((path / "parts").glob(".*"))
    for number in (0, 23, 59):
        assert pool.crop_jpeg(make_hand(number).hand_id) == make_jpeg(number)


HANDS = 60
"""Of 12 videos, in parts of 8 hands: most videos begin in one part and end in the next."""


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    path = add_hands(tmp_path / "whole", range(17), part_hands=8)
    add_hands(path, [17], crops=False)
    return add_hands(path, range(18, HANDS), part_hands=8)


def subset(whole: Path, hands: int) -> Pool:
    out = whole.parent / f"of {hands}"
    write_subset(whole, out, hands)
    return Pool.open(out)


def test_the_hands_of_a_subset_are_the_same_ones(whole: Path) -> None:
    pool, some = Pool.open(whole), subset(whole, 41)
    assert (len(some), some.crop_size_px) == (41, pool.crop_size_px)
    rows = pool.rows(some.hand_ids)
    for field in ("keypoints", "frames", "has_crops"):
        np.testing.assert_array_equal(getattr(some, field), getattr(pool, field)[rows])
    assert some.videos.values() == pool.videos.values(rows)
    for hand_id in some.hand_ids[some.has_crops].tolist():
        assert some.crop_jpeg(hand_id) == pool.crop_jpeg(hand_id)
        assert some.hand(hand_id).file == pool.hand(hand_id).file
    assert {path.name for path in whole.parent.iterdir()} == {"whole", "of 41"}


def test_a_subset_takes_whole_videos_and_smaller_ones_lie_within_larger_ones(whole: Path) -> None:
    known: set[int] = set()
    for hands in (1, 4, 5, 23, 24, 50, HANDS):
        some = subset(whole, hands)
        ids = {*some.hand_ids.tolist()}
        assert len(some) == len(ids) == hands
        assert known < ids
        known = ids
        per_video = np.bincount(some.videos.codes)
        assert sorted(per_video)[1:] == [5] * (len(per_video) - 1)  # all but the last one


def test_the_order_of_writing_a_pool_plays_no_part(whole: Path) -> None:
    other = add_hands(whole.parent / "other", reversed(range(HANDS)), crops=False, part_hands=50)
    write_subset(other, whole.parent / "of other", 33)
    again = Pool.open(whole.parent / "of other")
    assert {*again.hand_ids.tolist()} == {*subset(whole, 33).hand_ids.tolist()}


def test_a_subset_can_be_added_to_and_what_a_killed_one_left_is_cleared_away(whole: Path) -> None:
    left = whole.parent / ".of 20.writing" / "parts" / "000099"
    left.mkdir(parents=True)
    some = subset(whole, 20)
    assert (len(some), left.exists()) == (20, False)
    assert len(Pool.open(add_hands(some.path, range(HANDS)))) == len(Pool.open(whole)) == HANDS


def test_impossible_sizes_taken_places_and_missing_pools_are_refused(whole: Path) -> None:
    for hands in (0, -1, HANDS + 1):
        with pytest.raises(HandsimError, match=rf"{hands} hands cannot be taken of .*whole; it holds 60"):
            subset(whole, hands)
        assert not (whole.parent / f"of {hands}").exists()
    with pytest.raises(HandsimError, match="whole is there already; give another place"):
        write_subset(whole, whole, 3)
    with pytest.raises(NotThereError, match="there is no pool at"):
        write_subset(whole.parent / "none", whole.parent / "out", 3)

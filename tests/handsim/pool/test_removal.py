"""Hands that are removed from a pool, restored, and deleted for good."""

import os
import shutil
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import webdataset

from handsim import Pool, PoolWriter
from handsim.errors import HandsimError, NotThereError
from handsim.hand import format_hand_id
from handsim.pool import CropFiles, ItemRecord, read_items
from handsim.pool.compact import compact
from handsim.pool.generations import earlier_generations
from handsim.pool.layout import count_hands, published_parts
from handsim.pool.removal import remove, restore
from handsim.pool.subset import write_subset
from tests.handsim.builders import add_hands, make_hand, make_jpeg

IDS = [make_hand(number).hand_id for number in range(9)]


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """Nine hands in parts of four."""
    return add_hands(tmp_path / "pool", range(9), part_hands=4)


def disk_bytes(pool: Path) -> int:
    return sum(file.stat().st_size for file in pool.rglob("*.*") if file.is_file())


def check_hands(path: Path, numbers: list[int]) -> None:
    """Every reader sees exactly these hands of `IDS`, each with its own columns and crop."""
    with closing(Pool.open(path)) as pool, closing(CropFiles(path)) as files:
        assert pool.hand_ids.tolist() == [IDS[number] for number in numbers]
        assert count_hands(path) == len(numbers)
        assert pool.videos.values() == [make_hand(number).video for number in numbers]
        assert pool.read_files().values() == [make_hand(number).file for number in numbers]
        expected = [make_hand(number).keypoints for number in numbers]
        np.testing.assert_array_equal(pool.keypoints, np.stack(expected))
        assert files.jpegs(pool.hand_ids) == [make_jpeg(number) for number in numbers]
        for number in numbers:
            assert pool.crop_jpeg(IDS[number]) == make_jpeg(number)
            assert pool.hand(IDS[number]).file == make_hand(number).file
        for number in set(range(9)) - set(numbers):
            with pytest.raises(NotThereError, match=format_hand_id(IDS[number])):
                pool.crop_jpeg(IDS[number])
            with pytest.raises(NotThereError, match=format_hand_id(IDS[number])):
                files.jpegs(np.array([IDS[number]], dtype=np.uint64))


def test_removed_hands_are_hidden_from_every_reader_until_they_are_restored(pool: Path) -> None:
    before = Pool.open(pool)
    assert remove(pool, [IDS[1], IDS[1], IDS[8]]) == 2
    assert not before.is_current()
    check_hands(pool, [0, 2, 3, 4, 5, 6, 7])
    with pytest.raises(NotThereError, match=f"hand {format_hand_id(IDS[1])} was removed .* restore"):
        Pool.open(pool).hand(IDS[1])
    assert remove(pool, [IDS[2], IDS[1]]) == 1  # the other one was removed before
    check_hands(pool, [0, 3, 4, 5, 6, 7])
    assert restore(pool, [IDS[2]]) == 1
    assert restore(pool) == 2
    check_hands(pool, list(range(9)))


def test_who_has_the_pool_open_goes_on_with_all_its_hands(pool: Path) -> None:
    with closing(Pool.open(pool)) as opened, closing(CropFiles(pool)) as files:
        remove(pool, IDS[:5])
        assert compact(pool).is_in_use
        remove(pool, IDS[5:6])
        assert compact(pool).is_in_use
        assert [opened.crop_jpeg(hand_id) for hand_id in IDS] == [make_jpeg(number) for number in range(9)]
        assert files.jpegs(opened.hand_ids)[4] == make_jpeg(4)
        assert opened.hand(IDS[0]).file == make_hand(0).file
        assert earlier_generations(pool)
    check_hands(pool, [6, 7, 8])
    PoolWriter(pool).close()  # the next writer clears away
    assert not earlier_generations(pool)
    check_hands(pool, [6, 7, 8])


def test_a_forked_reader_keeps_the_parts_that_its_parent_closed(pool: Path) -> None:
    opened = Pool.open(pool)
    (wait, go), (result, report) = os.pipe(), os.pipe()
    if not (child := os.fork()):
        os.read(wait, 1)
        os.write(report, opened.crop_jpeg(IDS[0]))
        os._exit(0)
    opened.close()
    remove(pool, IDS[:1])
    assert compact(pool).is_in_use
    os.write(go, b".")
    os.waitpid(child, 0)
    assert os.read(result, 10_000) == make_jpeg(0)
    PoolWriter(pool).close()
    assert not earlier_generations(pool)
    for descriptor in (wait, go, result, report):
        os.close(descriptor)


@pytest.mark.parametrize("is_compacted", [False, True])
def test_a_removed_hand_that_is_found_again_is_not_added(pool: Path, is_compacted: bool) -> None:
    remove(pool, IDS[:2])
    if is_compacted:
        compact(pool)
    with PoolWriter(pool) as writer:
        assert not writer.add(make_hand(0), make_jpeg(0))
        assert writer.add_item(ItemRecord(7, 2, 2), [(make_hand(1), None), (make_hand(20), None)]) == 1
        assert (writer.removed_found, writer.hand_count) == (2, 8)
    assert count_hands(pool) == 8


def test_an_unknown_id_is_named_and_nothing_changes(pool: Path) -> None:
    remove(pool, [IDS[0]])
    for unknown in (make_hand(50).hand_id, make_hand(51).hand_id):
        with pytest.raises(NotThereError, match=f"no hand {format_hand_id(unknown)} .* nothing was removed"):
            remove(pool, [IDS[3], unknown, make_hand(52).hand_id])
    with pytest.raises(HandsimError, match=f"hand {format_hand_id(IDS[3])} was not removed"):
        restore(pool, [IDS[0], IDS[3]])
    check_hands(pool, list(range(1, 9)))
    (pool / "removed.parquet").write_bytes(b"no table")
    with pytest.raises(HandsimError, match=r"removed.parquet is damaged .* delete it"):
        Pool.open(pool)


def test_compact_gives_the_space_back_and_keeps_all_else(pool: Path) -> None:
    with PoolWriter(pool) as writer:
        writer.add_item(ItemRecord(5, 1, 1), [(make_hand(9), None)])
    before, items = disk_bytes(pool), list(read_items(pool))
    remove(pool, [*IDS[:4], IDS[6], make_hand(9).hand_id])
    size = disk_bytes(pool)
    done = compact(pool)
    assert (done.hands, done.parts, done.is_in_use) == (6, 3, False)
    assert size - disk_bytes(pool) == done.freed_bytes > 5 * len(make_jpeg(0))
    assert disk_bytes(pool) < before
    check_hands(pool, [4, 5, 7, 8])
    assert list(read_items(pool)) == items
    shard = webdataset.WebDataset(str(published_parts(pool)[1] / "crops.tar"), shardshuffle=False)
    assert [sample["__key__"] for sample in shard] == [format_hand_id(IDS[number]) for number in (4, 5, 7)]
    assert compact(pool).parts == 0
    assert restore(pool, IDS[:2]) == 0  # they are gone, and may come in again
    add_hands(pool, range(2))
    assert count_hands(pool) == 6


def test_a_subset_outlives_what_is_made_of_the_pool(pool: Path) -> None:
    remove(pool, [IDS[0]])
    small = pool.with_name("small")
    write_subset(pool, small, 8)
    remove(small, [IDS[8]])
    remove(pool, IDS[1:])
    compact(pool)
    check_hands(small, list(range(1, 8)))
    shutil.rmtree(pool)
    compact(small)
    check_hands(small, list(range(1, 8)))


def test_a_subset_of_an_earlier_version_whose_crops_are_gone_says_where_they_were(pool: Path) -> None:
    small = pool.with_name("small")
    write_subset(pool, small, 9)
    for part in published_parts(small):
        (part / "crops.tar").unlink()
        (part / "crops.tar").symlink_to(pool / "parts" / part.name / "crops.tar")
    check_hands(small, list(range(9)))
    remove(pool, IDS[:1])
    compact(pool)
    with pytest.raises(
        HandsimError, match=r"crops.tar links to .*pool/parts/000000/crops.tar, which is gone"
    ):
        Pool.open(small).crop(IDS[1])


def test_a_pool_on_a_read_only_disk_is_read(pool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, flags: int, mode: int = 0o777) -> int:
        raise OSError(30, "Read-only file system", str(path))

    (pool / ".readers").unlink(missing_ok=True)
    with monkeypatch.context() as read_only:
        read_only.setattr("handsim.files.os.open", refuse)
        assert len(Pool.open(pool)) == 9
    assert not (pool / ".readers").exists()


def test_an_earlier_version_refuses_a_pool_whose_hands_it_would_not_see(pool: Path) -> None:
    """It knows format 1, to which a pool belongs as long as it is only added to."""
    assert '"version": 1' in (pool / "pool.json").read_text()
    remove(pool, IDS[:1])
    assert '"version": 2' in (pool / "pool.json").read_text()

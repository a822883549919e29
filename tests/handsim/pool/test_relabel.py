"""Other videos, labels and sides for hands that are in a pool."""

import os
from pathlib import Path

import numpy as np
import pytest

from handsim import Pool, PoolWriter
from handsim.errors import HandsimError, NotThereError
from handsim.images import decode_image, encode_jpeg
from handsim.pool import ItemRecord, read_items
from handsim.pool.crop_hashes import hash_crops
from handsim.pool.layout import published_parts
from handsim.pool.relabel import change_sides, relabel
from handsim.pool.removal import remove
from handsim.pool.row_cache import RowCache
from tests.handsim.builders import CROP_PX, add_hands, make_hand, make_jpeg, picture, write_picture_pool

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


def test_a_hand_that_becomes_a_left_one_or_was_taken_for_one_is_mirrored_and_no_other(tmp_path: Path) -> None:
    numbers = {"unknown": (1, 2, 3), "left": (4, 5), "right": (6, 7)}
    pool = tmp_path / "pool"
    with PoolWriter(pool, crop_size_px=CROP_PX) as writer:
        for side, group in numbers.items():
            for number in group:
                writer.add(
                    make_hand(number, side=side), encode_jpeg(picture(number)) if number != 7 else None
                )
    before = Pool.open(pool)
    jpegs = {hand_id: before.crop_jpeg(hand_id) for hand_id in before.hand_ids[before.has_crops].tolist()}
    assert (
        change_sides(pool, {IDS[1]: "left", IDS[2]: "right", IDS[4]: "right", IDS[7]: "left", 99: "left"})
        == 4
    )
    after = Pool.open(pool)
    sides = ["left", "right", "unknown", "right", "left", "right", "left"]
    assert [hand.side for hand in after.hands(np.arange(7))] == sides
    is_mirrored = np.array([True, False, False, True, False, False, True])
    expected = np.where(is_mirrored[:, None], 1 - before.keypoints[..., 0], before.keypoints[..., 0])
    np.testing.assert_array_equal(after.keypoints[..., 0], expected)
    np.testing.assert_array_equal(after.keypoints[..., 1:], before.keypoints[..., 1:])
    for hand_id, jpeg in jpegs.items():
        if is_mirrored[after.rows(hand_id)[0]]:
            mirrored = decode_image(jpeg)[:, ::-1].astype(int)
            assert np.abs(after.crop(hand_id) - mirrored).mean() < 10  # JPEG, of small sharp blotches
        else:
            assert after.crop_jpeg(hand_id) == jpeg
    with pytest.raises(HandsimError, match="a hand cannot become 'unknown'; it is one of left, right"):
        change_sides(pool, {IDS[1]: "unknown"})


def test_true_joints_are_mirrored_with_the_keypoints(tmp_path: Path) -> None:
    joints = np.random.default_rng(0).random((21, 3), dtype=np.float32)
    hands = [make_hand(0, joints_mm=joints), make_hand(1, joints_mm=joints), make_hand(2)]  # 0 is left
    with PoolWriter(tmp_path / "pool") as writer:
        for hand in hands:
            writer.add(hand)
    change_sides(tmp_path / "pool", {hands[0].hand_id: "right", hands[2].hand_id: "left"})
    after = Pool.open(tmp_path / "pool").read_joints_mm()
    np.testing.assert_array_equal(after[0], joints * [-1, 1, 1])
    np.testing.assert_array_equal(after[1], joints)
    assert np.isnan(after[2]).all()


def test_what_was_computed_of_a_crop_is_forgotten_when_it_is_mirrored(tmp_path: Path) -> None:
    pool = write_picture_pool(tmp_path / "pool", range(4))
    hashes = hash_crops(pool.path, pool.hand_ids, pool.crop_jpeg)
    caches = [tmp_path / kind / "resnet" for kind in ("features", "vectors")]
    for cache in caches:
        for ids in (pool.hand_ids[:2], pool.hand_ids[2:]):
            RowCache(cache, 1, np.float32).add(ids, np.zeros((2, 1)))
    change_sides(pool.path, {IDS[0]: "right"})
    for cache in caches:
        np.testing.assert_array_equal(
            RowCache(cache, 1, np.float32).contains(pool.hand_ids), [False, False, True, True]
        )
    changed = Pool.open(pool.path)
    again = hash_crops(pool.path, pool.hand_ids, changed.crop_jpeg)
    differs = again.perceptual[np.argsort(again.hand_ids)] != hashes.perceptual[np.argsort(hashes.hand_ids)]
    assert (again.hand_ids[np.argsort(again.hand_ids)][differs] == IDS[0]).all()
    assert differs.any()


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

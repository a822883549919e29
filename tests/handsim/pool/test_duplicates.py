"""What a pool holds twice, and what two pools share."""

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from handsim import HandsimError, Pool, PoolWriter
from handsim.hand import make_hand_id
from handsim.images import encode_jpeg
from handsim.pool.crop_hashes import HASHES_FILE, CropHashes, hash_crops
from handsim.pool.duplicates import (
    DUPLICATES_FILE,
    MAX_BITS,
    MAX_POSE_DISTANCE,
    DuplicateGroups,
    SharedRecording,
    find_duplicates,
    find_pairs,
    find_shared,
)
from handsim.pool.removal import remove, restore
from tests.handsim.builders import CROP_PX, make_hand, picture


def compressed(number: int, quality: int = 90) -> bytes:
    """The picture of that number as JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(picture(number)).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def add(
    path: Path,
    video: str,
    numbers: Iterable[int],
    *,
    quality: int = 90,
    tremor: float = 0.0,
    crop: bool = True,
) -> Pool:
    """A video of hands of `make_hand`, each number with its own picture and pose."""
    random = np.random.default_rng(0)
    with PoolWriter(path, crop_size_px=CROP_PX) as writer:
        for frame, number in enumerate(numbers):
            pose = make_hand(number).keypoints + random.normal(scale=tremor, size=(21, 3))
            hand = make_hand(
                number,
                hand_id=make_hand_id("test", video, frame, 0),
                video=video,
                frame=frame,
                keypoints=pose.astype(np.float32),
            )
            writer.add(hand, compressed(number, quality) if crop else None)
    return Pool.open(path)


def unlike(perceptual: NDArray[np.uint64]) -> CropHashes:
    """Hashes of files that all differ."""
    numbers = np.arange(len(perceptual), dtype=np.uint64)
    return CropHashes(numbers, numbers, perceptual)


def ids(pool: Pool, video: str) -> list[int]:
    """Of a video's hands."""
    return pool.hand_ids[[name == video for name in pool.videos.values()]].tolist()  # type: ignore[no-any-return]


def groups(found: DuplicateGroups) -> set[frozenset[int]]:
    return {frozenset(found.hand_ids[found.group == number].tolist()) for number in set(found.group.tolist())}


def test_equal_crops_are_exact_duplicates_and_the_first_of_them_is_the_original(tmp_path: Path) -> None:
    add(tmp_path, "a", range(6))
    pool = add(tmp_path, "b", [2, 3, 2, 9])
    found = find_duplicates(pool)
    a, b = ids(pool, "a"), ids(pool, "b")
    assert groups(found.groups) == {frozenset([a[2], b[0], b[2]]), frozenset([a[3], b[1]])}
    assert found.groups.is_exact.all()
    assert sorted(found.exact_copies.tolist()) == sorted(b[:3])
    assert not len(found.near_copies)


def test_near_duplicates_are_alike_in_crop_and_in_pose(tmp_path: Path) -> None:
    add(tmp_path, "a", range(8))
    add(tmp_path, "smaller file", range(8), quality=70, tremor=0.005)
    pool = add(tmp_path, "other pose", range(8), quality=71, tremor=0.3)
    found = find_duplicates(pool)
    a, smaller = ids(pool, "a"), ids(pool, "smaller file")
    assert groups(found.groups) == {frozenset(pair) for pair in zip(a, smaller, strict=True)}
    assert not found.groups.is_exact.any()
    assert not len(found.exact_copies)
    assert found.near_copies.tolist() == smaller


def test_of_a_hand_that_moves_slowly_only_what_is_near_to_a_hand_that_stays_may_go() -> None:
    """Each frame is near to the next, the third is not near to the first: all are one group."""
    keypoints = np.tile(np.random.default_rng(0).random((21, 2), dtype=np.float32), (5, 1, 1))
    keypoints[..., 0] += 0.7 * MAX_POSE_DISTANCE * np.arange(5, dtype=np.float32)[:, None]
    pairs = find_pairs(unlike(np.zeros(5, dtype=np.uint64)), keypoints)
    near = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    assert near == {(0, 1), (1, 2), (2, 3), (3, 4)}


@pytest.fixture
def recordings(tmp_path: Path) -> Pool:
    """A clip and most of it again, a third of it in another one, and a hand that holds still in two."""
    add(tmp_path, "clip", range(20))
    add(tmp_path, "clip (1)", [*range(19), 100], quality=80)
    add(tmp_path, "other", [*range(5), *range(200, 210)])
    add(tmp_path, "still", [300] * 12, quality=90)
    return add(tmp_path, "still, too", [300, *range(400, 411)], quality=90)


def test_the_same_recording_twice_is_told_with_the_share_of_its_hands(recordings: Pool) -> None:
    assert find_duplicates(recordings).recordings == [SharedRecording("clip", "clip (1)", 20, 19)]


def test_groups_are_read_back_and_say_when_the_pool_has_changed(recordings: Pool) -> None:
    assert DuplicateGroups.load(recordings.path) is None
    found = find_duplicates(recordings).groups
    found.save(recordings.path)
    loaded = DuplicateGroups.load(recordings.path)
    assert loaded is not None
    for name in ("hand_ids", "group", "is_exact"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(found, name))
    assert loaded.describe_staleness(recordings) is None
    remove(recordings.path, recordings.hand_ids[:2].tolist())  # what is left was compared all the same
    assert loaded.describe_staleness(Pool.open(recordings.path)) is None
    restore(recordings.path)
    numbers = loaded.group_of(np.append(recordings.hand_ids[:3], np.uint64(5)))
    assert (numbers[:3] >= 0).all()
    assert numbers[3] == -1
    grown = add(recordings.path, "more", range(500, 507))
    stale = loaded.describe_staleness(grown)
    assert stale is not None
    assert "was made before 7 hands were added; run `handsim pool duplicates` again" in stale
    whole = (recordings.path / DUPLICATES_FILE).read_bytes()
    for damaged in (b"PK", whole[:-30], whole[:60] + bytes(20) + whole[80:]):
        (recordings.path / DUPLICATES_FILE).write_bytes(damaged)
        with pytest.raises(HandsimError, match="is damaged"):
            DuplicateGroups.load(recordings.path)


def test_a_crop_is_hashed_once_and_one_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    add(tmp_path, "bare", range(50, 52), crop=False)
    pool = add(tmp_path, "a", range(4))
    bad, *good = pool.hand_ids[2:].tolist()
    read: list[int] = []

    def crop(hand_id: int) -> bytes:
        read.append(hand_id)
        return b"no JPEG" if hand_id == bad else pool.crop_jpeg(hand_id)

    first = hash_crops(tmp_path, pool.hand_ids[pool.has_crops], crop)
    assert sorted(first.hand_ids.tolist()) == sorted(good)
    assert sorted(read) == sorted([bad, *good])
    read.clear()
    again = hash_crops(tmp_path, pool.hand_ids[pool.has_crops], crop)
    assert read == [bad]
    assert again.perceptual.tolist() == first.perceptual.tolist()
    assert find_duplicates(pool).unread == 2
    (tmp_path / HASHES_FILE).write_bytes(b"damaged")
    read.clear()
    hash_crops(tmp_path, pool.hand_ids[pool.has_crops], crop)
    assert len(read) == 4


def test_what_two_pools_share_is_found_with_one_of_the_others_hands(tmp_path: Path) -> None:
    here = add(tmp_path / "here", "a", range(6))
    add(tmp_path / "there", "b", [40, 41, 2])
    there = add(tmp_path / "there", "c", [4, 5], quality=70, tremor=0.004)
    hashes = hash_crops(there.path, there.hand_ids, there.crop_jpeg)
    rows, places, is_exact = find_shared(here, hashes, there.keypoints[there.rows(hashes.hand_ids)])
    assert rows.tolist() == [2, 4, 5]
    assert is_exact.tolist() == [True, False, False]
    assert hashes.hand_ids[places].tolist() == [*ids(there, "b")[2:], *ids(there, "c")]


def all_pairs(hashes: NDArray[np.uint64], keypoints: NDArray[np.float32]) -> set[tuple[int, int]]:
    """The slow, obvious way."""
    return {
        (one, two)
        for two in range(len(hashes))
        for one in range(two)
        if (int(hashes[one]) ^ int(hashes[two])).bit_count() <= MAX_BITS
        and np.linalg.norm(keypoints[one] - keypoints[two], axis=1).mean() < MAX_POSE_DISTANCE
    }


@given(st.integers(0, 2**32 - 1), st.integers(0, 10))
def test_every_near_pair_is_found_and_each_once(seed: int, flips: int) -> None:
    random = np.random.default_rng(seed)
    hashes = random.choice(random.integers(0, 2**64, 3, dtype=np.uint64), 40)
    for _ in range(flips):
        hashes ^= np.uint64(1) << random.integers(0, 64, 40).astype(np.uint64)
    keypoints = random.choice(random.random((3, 21, 2), dtype=np.float32), 40)
    keypoints += random.normal(scale=0.02, size=(40, 21, 2)).astype(np.float32)
    found = find_pairs(unlike(hashes), keypoints)
    listed = list(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert len(listed) == len(set(listed))
    assert set(listed) == all_pairs(hashes, keypoints)


def test_unlabelled_joints_do_not_count_and_a_hand_of_few_joints_is_no_near_one() -> None:
    keypoints = np.tile(np.random.default_rng(0).random((21, 2), dtype=np.float32), (3, 1, 1))
    keypoints[1, 8:] = keypoints[2, 3:] = np.nan
    hashes = unlike(np.zeros(3, dtype=np.uint64))
    pairs = find_pairs(hashes, keypoints)
    assert (pairs.first.tolist(), pairs.second.tolist()) == ([0], [1])


def test_thousands_of_equal_pictures_take_no_square_of_them() -> None:
    count = 4_000
    hashes = unlike(np.zeros(count, dtype=np.uint64))
    pairs = find_pairs(hashes, np.zeros((count, 21, 2), dtype=np.float32))
    assert count - 1 <= len(pairs.first) <= 64 * count


def test_a_flat_crop_and_a_mirrored_one_are_no_copies_of_each_other(tmp_path: Path) -> None:
    crops = {1: picture(1), 2: picture(1)[:, ::-1], 3: np.full((CROP_PX, CROP_PX, 3), 90, dtype=np.uint8)}
    read = {number: encode_jpeg(np.ascontiguousarray(crop)) for number, crop in crops.items()}
    hashes = CropHashes.of_jpegs(np.array([1, 2, 3], dtype=np.uint64), read.__getitem__)
    apart = np.bitwise_count(hashes.perceptual[:, None] ^ hashes.perceptual)
    assert (apart[~np.eye(3, dtype=bool)] > MAX_BITS).all()

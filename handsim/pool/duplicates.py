"""Hands that a pool holds more than once, and hands that two pools share.

Two hands are **exact** duplicates where the JPEGs of their crops are the same bytes. They are **near** ones
where the crops look alike (at most `MAX_BITS` of the 64 bits of their perceptual hashes differ) and the
hands are posed alike (a mean joint distance below `MAX_POSE_DISTANCE`): the same picture in another size or
compression, a copy of a recording, the next frame of a hand that does not move.

Hashes that differ little are found without comparing all pairs, by multi-index hashing (Norouzi, Punjani and
Fleet, "Fast Search in Hamming Space with Multi-Index Hashing", CVPR 2012): where two hashes differ in at most
7 bits, one of their four 16-bit parts differs in at most one.
"""

import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Final
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from handsim.english import pluralize
from handsim.errors import HandsimError
from handsim.files import replacing
from handsim.hashing import mix64
from handsim.pool.crop_hashes import CropHashes, Progress, hash_crops
from handsim.pool.reader import Pool

DUPLICATES_FILE: Final = "duplicates.npz"
MAX_BITS: Final = 7
MAX_POSE_DISTANCE: Final = 0.03
"""In crop widths: seven pixels of 224."""

_LEAST_JOINTS: Final = 5
"""Joints that both hands must have, to compare their poses."""
_ALL_PAIRS: Final = 64
"""Of up to that many hands with the same hash all pairs are compared. Of more (black crops, a hand that
holds still for minutes) each is compared with that many that follow it by pose."""
_PARTS: Final = 4
_PART_BITS: Final = 16
_PAIRS_AT_ONCE: Final = 2**20
_LEAST_SHARED: Final = 0.5
_LEAST_HANDS: Final = 2


@dataclass(frozen=True, eq=False)
class DuplicateGroups:
    """Which hands are duplicates of each other: those of one group, directly or through others of it."""

    hand_ids: NDArray[np.uint64]
    """[n], rising: only hands that have a duplicate."""
    group: NDArray[np.int32]
    """[n] number of its group, from 0."""
    is_exact: NDArray[np.bool_]
    """[n] whether another hand has the same JPEG."""
    pool_hands: int
    """Of how many hands they were found."""
    pool_digest: int
    """A hash over the ids of these hands and of all that were removed, in any order: a removal keeps it."""

    def group_of(self, hand_ids: NDArray[np.uint64]) -> NDArray[np.int32]:
        """[...] the groups of hands [...]; -1 for a hand without a duplicate."""
        if not len(self.hand_ids):
            return np.full(hand_ids.shape, -1, dtype=np.int32)
        places = np.minimum(np.searchsorted(self.hand_ids, hand_ids), len(self.hand_ids) - 1)
        return np.where(self.hand_ids[places] == hand_ids, self.group[places], np.int32(-1))

    def describe_staleness(self, pool: Pool) -> str | None:
        """A line for people where they are not of the hands that the pool holds now; else None."""
        added = len(pool) - self.pool_hands
        if self.pool_digest == _digest(pool) and added <= 0:  # more: some that were not compared are restored
            return None
        what = (
            pluralize(added, "hand was", "hands were") + " added" if added > 0 else "the pool's hands changed"
        )
        return f"{pool.path / DUPLICATES_FILE} was made before {what}; run `handsim pool duplicates` again"

    def save(self, pool: Path) -> None:
        """Write them into the pool's folder, in place of earlier ones."""
        with replacing(pool / DUPLICATES_FILE) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file,
                hand_ids=self.hand_ids,
                group=self.group,
                kind=np.where(self.is_exact, "exact", "near"),
                pool_hands=np.int64(self.pool_hands),
                pool_digest=np.uint64(self.pool_digest),
            )

    @classmethod
    def load(cls, pool: Path) -> "DuplicateGroups | None":
        """Those in the pool's folder, None where nobody looked for them; HandsimError for a damaged file."""
        path = pool / DUPLICATES_FILE
        if not path.exists():
            return None
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls(
                    hand_ids=file["hand_ids"].astype(np.uint64),
                    group=file["group"].astype(np.int32),
                    is_exact=file["kind"] == "exact",
                    pool_hands=int(file["pool_hands"]),
                    pool_digest=int(file["pool_digest"]),
                )
        except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
            raise HandsimError(
                f"{path} is damaged ({error}); run `handsim pool duplicates` again, or remove it"
            ) from error


@dataclass(frozen=True)
class SharedRecording:
    """Two videos that are in large part the same."""

    first: str
    second: str
    hands: int
    """Of the smaller one."""
    alike: int
    """How many of them the other one has, too."""


@dataclass(frozen=True, eq=False)
class HandPairs:
    """Pairs [P] of alike hands, as places in the arrays that were searched."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    """Above ``first``."""
    is_exact: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class DuplicateSearch:
    """What `find_duplicates` found in a pool."""

    groups: DuplicateGroups
    exact_copies: NDArray[np.uint64]
    """All but the first hand of each set of equal crops."""
    near_copies: NDArray[np.uint64]
    """Further hands of which each has a near duplicate among those that stay."""
    recordings: list[SharedRecording]
    """The same recording twice, the largest first."""
    unread: int
    """Hands without a picture, or with one that cannot be read: not compared."""


def find_duplicates(pool: Pool, progress: Progress | None = None) -> DuplicateSearch:
    """Find the duplicates among all hands of a pool; of equal hands the one that came first is the original.

    Of the hashes those that the pool has already are not made again. Raises HandsimError for a damaged pool.
    """
    hashes, rows = _hash_pool(pool, progress)
    pairs = find_pairs(hashes, pool.keypoints[rows])
    labels = _components(pairs, len(rows))
    sizes = np.bincount(labels, minlength=1)
    grouped = np.flatnonzero(sizes[labels] > 1)
    by_id = grouped[np.argsort(hashes.hand_ids[grouped])]
    is_exact = np.zeros(len(rows), dtype=np.bool_)
    is_exact[pairs.first[pairs.is_exact]] = is_exact[pairs.second[pairs.is_exact]] = True
    groups = DuplicateGroups(
        hand_ids=hashes.hand_ids[by_id],
        group=np.unique(labels[by_id], return_inverse=True)[1].astype(np.int32),
        is_exact=is_exact[by_id],
        pool_hands=len(pool),
        pool_digest=_digest(pool),
    )
    exact, near = _copies(pairs)
    return DuplicateSearch(
        groups=groups,
        exact_copies=hashes.hand_ids[exact],
        near_copies=hashes.hand_ids[near],
        recordings=_shared_recordings(pool, rows[grouped], labels[grouped]),
        unread=len(pool) - len(rows),
    )


def find_shared(
    pool: Pool,
    other_hashes: CropHashes,
    other_keypoints: NDArray[np.float32],
    progress: Progress | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.intp], NDArray[np.bool_]]:
    """Hands of a pool that are duplicates of others [M], of another pool or a dataset.

    Returns their rows [S] in the pool, the place [S] of one of the others that is alike, and [S] whether it
    is exact. ``other_keypoints`` [M, 21, 2 or 3] are in the crop's unit square.
    """
    hashes, rows = _hash_pool(pool, progress)
    both = CropHashes.concatenate([hashes, other_hashes])
    keypoints = np.concatenate([pool.keypoints[rows][..., :2], other_keypoints[..., :2]])
    pairs = find_pairs(both, keypoints)
    # An original stands for its copies: what is near to it is near to them.
    original = np.arange(len(both))
    original[pairs.second[pairs.is_exact]] = pairs.first[pairs.is_exact]
    here = np.arange(len(both)) < len(rows)
    partner = np.full(len(both), -1)
    partner[original[~here]] = np.flatnonzero(~here)  # of an original: another's hand that equals it
    is_exact = partner >= 0
    near = ~pairs.is_exact
    for one, two in ((pairs.first[near], pairs.second[near]), (pairs.second[near], pairs.first[near])):
        helps = (partner[one] < 0) & is_exact[two]
        partner[one[helps]] = partner[two[helps]]
    shared = np.flatnonzero(here & (partner[original] >= 0))
    found = original[shared]
    return rows[shared], partner[found] - len(rows), is_exact[found]


def find_pairs(hashes: CropHashes, keypoints: NDArray[np.float32]) -> HandPairs:
    """Exact and near duplicates among N hands, with keypoints [N, 21, 2 or 3].

    Of equal hands, each copy makes a pair with the first, and only the first is compared with others.
    """
    _, originals, inverse = np.unique(hashes.jpeg, return_index=True, return_inverse=True)
    original = originals[inverse]
    copies = np.flatnonzero(original != np.arange(len(hashes)))
    firsts, seconds = [original[copies]], [copies]
    units = np.sort(originals)
    for one, two in _alike_pairs(hashes.perceptual[units], keypoints[units]):
        firsts.append(units[np.minimum(one, two)])
        seconds.append(units[np.maximum(one, two)])
    first, second = np.concatenate(firsts), np.concatenate(seconds)
    return HandPairs(first, second, np.arange(len(first)) < len(copies))


def _hash_pool(pool: Pool, progress: Progress | None) -> tuple[CropHashes, NDArray[np.int64]]:
    """The hashes of a pool's crops, in the pool's order, and the rows [N] of these hands."""
    hashes = hash_crops(pool.path, pool.hand_ids[pool.has_crops], pool.stored_jpeg, progress)
    rows = pool.rows(hashes.hand_ids)
    order = np.argsort(rows)
    return hashes.select(order), rows[order]


def _alike_pairs(
    perceptual: NDArray[np.uint64], keypoints: NDArray[np.float32]
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Pairs of hands with similar hashes and similar poses, each pair once."""
    values, inverse, counts = np.unique(perceptual, return_inverse=True, return_counts=True)
    # Hands by hash, and by pose among those of one hash.
    order = np.lexsort((np.nan_to_num(keypoints[..., :2]).sum(axis=(1, 2)), inverse))
    ends = np.cumsum(counts)
    starts = ends - counts
    last = np.minimum(np.arange(len(order)) + _ALL_PAIRS, np.repeat(ends, counts) - 1)
    for rows, others in _ranges(np.arange(len(order)) + 1, last + 1):
        yield _posed_alike(order[rows], order[others], keypoints)
    few = np.minimum(counts, _ALL_PAIRS)
    for one, two in _similar_hashes(values):
        # Each hand of one hash with each of the other.
        for pairs, places in _ranges(np.zeros(len(one), dtype=np.intp), few[one] * few[two]):
            left, right = np.divmod(places, few[two[pairs]])
            yield _posed_alike(order[starts[one[pairs]] + left], order[starts[two[pairs]] + right], keypoints)


def _similar_hashes(values: NDArray[np.uint64]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Places of different hashes [U] that differ in at most `MAX_BITS` bits, each pair once."""
    flips = np.array([0, *(1 << bit for bit in range(_PART_BITS))], dtype=np.uint64)
    shifts = np.arange(_PARTS, dtype=np.uint64) * np.uint64(_PART_BITS)
    mask = np.uint64(2**_PART_BITS - 1)
    for number, shift in enumerate(shifts):
        part = (values >> shift) & mask
        order = np.argsort(part, kind="stable")
        rising = part[order]
        for flip in flips:
            begin, end = (np.searchsorted(rising, part ^ flip, side) for side in ("left", "right"))
            for rows, places in _ranges(begin, end):
                others = order[places]
                difference = values[rows] ^ values[others]
                is_pair = (rows < others) & (np.bitwise_count(difference) <= MAX_BITS)
                # Only in the first part by which they could be found.
                for earlier in shifts[:number]:
                    is_pair &= np.bitwise_count((difference >> earlier) & mask) > 1
                yield rows[is_pair], others[is_pair]


def _ranges(
    begin: NDArray[np.integer], end: NDArray[np.integer]
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """(row, place) for each place from begin [N] to below end [N] of a row, some millions at a time."""
    counts = np.maximum(end - begin, 0)
    total = np.cumsum(counts)
    start = 0
    while start < len(counts):
        before = int(total[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(total, before + _PAIRS_AT_ONCE, "right")))
        count = counts[start:stop]
        rows = np.repeat(np.arange(start, stop), count)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count)
        yield rows, begin[rows] + within
        start = stop


def _posed_alike(
    one: NDArray[np.intp], two: NDArray[np.intp], keypoints: NDArray[np.float32]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Those of the pairs whose joints lie near each other; a joint that either lacks does not count."""
    # A quarter of the joints first: most pairs are far apart in these already.
    for joints, bound in ((slice(0, None, 4), 2 * MAX_POSE_DISTANCE), (slice(None), MAX_POSE_DISTANCE)):
        apart = np.hypot(*np.moveaxis(keypoints[one, joints, :2] - keypoints[two, joints, :2], -1, 0))
        is_known = np.isfinite(apart)
        known = is_known.sum(axis=1)
        mean = np.where(is_known, apart, 0.0).sum(axis=1) / np.maximum(known, 1)
        is_near = mean < bound
        if joints == slice(None):
            is_near &= known >= _LEAST_JOINTS
        one, two = one[is_near], two[is_near]
    return one, two


def _components(pairs: HandPairs, hands: int) -> NDArray[np.intp]:
    """[hands] the first hand of the group that each is in, itself where it has no duplicate."""
    labels = np.arange(hands)
    while True:
        one, two = labels[pairs.first], labels[pairs.second]
        if np.array_equal(one, two):
            return labels
        np.minimum.at(labels, np.maximum(one, two), np.minimum(one, two))
        while not np.array_equal(labels, labels[labels]):
            labels = labels[labels]


def _copies(pairs: HandPairs) -> tuple[list[int], list[int]]:
    """Hands that could go: exact copies of an earlier one, then those near to an earlier one that stays."""
    exact = set(pairs.second[pairs.is_exact].tolist())
    near: set[int] = set()
    order = np.lexsort((pairs.first, pairs.second))
    order = order[~pairs.is_exact[order]]
    for first, second in zip(pairs.first[order].tolist(), pairs.second[order].tolist(), strict=True):
        if first not in near:
            near.add(second)
    return sorted(exact), sorted(near)


def _shared_recordings(
    pool: Pool, rows: NDArray[np.int64], labels: NDArray[np.intp]
) -> list[SharedRecording]:
    """Pairs of videos that have at least half of their hands in common, and not just a few.

    A hand is matched by one of its group in the other video, each by another one: where a hand holds still
    in both, a single frame that is alike does not make the recordings so.
    """
    videos = pool.videos.codes
    keys, counts = np.unique(np.stack([labels, videos[rows]], axis=1), axis=0, return_counts=True)
    alike: Counter[tuple[int, int]] = Counter()
    borders = np.flatnonzero(np.diff(keys[:, 0], prepend=-1))
    for group in np.split(np.arange(len(keys)), borders[1:]):
        if len(group) > 1:
            named = zip(keys[group, 1].tolist(), counts[group].tolist(), strict=True)
            for (one, hands_of_one), (two, hands_of_two) in combinations(named, 2):
                alike[one, two] += min(hands_of_one, hands_of_two)
    sizes = np.bincount(videos, minlength=len(pool.videos.names))
    recordings = [
        SharedRecording(pool.videos.names[one], pool.videos.names[two], smaller, count)
        for (one, two), count in alike.items()
        if (smaller := int(min(sizes[one], sizes[two]))) >= _LEAST_HANDS and count >= _LEAST_SHARED * smaller
    ]
    return sorted(recordings, key=lambda each: (-each.alike, each.first, each.second))


def _digest(pool: Pool) -> int:
    return int(mix64(np.concatenate([pool.hand_ids, pool.removed])).sum(dtype=np.uint64))

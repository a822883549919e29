"""Putting the hands of another pool into this one.

A hand is known by its id, which is made of the recording's content: one that both pools hold is kept once, as
it is here. Each part of the other pool becomes at most one part here, with the items that were done to get
it: a merge that was killed goes on when it is made again.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from handsim.errors import HandsimError
from handsim.pool import layout
from handsim.pool.crops import copy_crops
from handsim.pool.generations import changing, link_or_copy, new_part
from handsim.pool.reader import Pool
from handsim.pool.removal import stored_ids, write_removed
from handsim.pool.writer import PoolWriter, is_done

Recording = tuple[str, str]
"""Source and video."""
_SAME_PLACE: Final = 1e-5
"""In crop widths: an export in COCO's format rounds."""


@dataclass(frozen=True)
class MergeReport:
    """What another pool brings, or has brought."""

    new_hands: int
    shared_hands: int
    """Hands that this pool had already."""
    differing_hands: int
    """Of these, with other keypoints there; those of this pool stay."""
    removed_there: int
    """Hands of this pool that the other one had removed: they are removed here, too."""
    removed_here: int
    """Hands of the other pool that this one had removed: they stay out."""
    duplicates: int
    """New hands with the keypoints and the crop of a hand that this pool has under another id."""
    clashes: tuple[str, ...]
    """Videos of both pools that share no hand and differ at the same frame: two recordings of one name."""


def merge(pool: Path, other: Path, *, prefix: str | None = None, dry_run: bool = False) -> MergeReport:
    """Add the hands of another pool; a pool that is not there is made. The other pool stays as it is.

    With a ``prefix``, a video of the other pool whose name clashes becomes ``prefix/video``. After a kill,
    the same call does the rest. Raises NotThereError where there is no other pool, HandsimError for crops of
    another size or enlargement, for a damaged part, and while the pool is being written.
    """
    size_px, enlargement = layout.read_pool_json(other), layout.read_crop_enlargement(other)
    if pool.resolve() == other.resolve():
        raise HandsimError(f"{other} is this pool itself; name another home")
    if layout.can_begin_at(pool):
        if dry_run:
            return MergeReport(layout.count_hands(other), 0, 0, 0, 0, 0, ())
        PoolWriter(pool, crop_size_px=size_px, crop_enlargement=enlargement).close()
    if layout.read_pool_json(pool) != size_px:
        raise HandsimError(
            f"{other} holds {size_px} px crops, {pool} {layout.read_pool_json(pool)} px ones; "
            f"a pool has one size: ingest the files of the other home into this one instead"
        )
    if layout.read_crop_enlargement(pool) != enlargement:
        raise HandsimError(
            f"crops of {other} are {enlargement:g} times as long as the hand's box, those of {pool} "
            f"{layout.read_crop_enlargement(pool):g} times; a pool has one kind: ingest the files of the "
            f"other home into this one instead"
        )
    with changing(pool), closing(Pool.open(pool)) as here, closing(Pool.open(other)) as there:
        removed = layout.read_removed(pool), layout.read_removed(other)
        is_new = ~np.isin(there.hand_ids, np.concatenate([stored_ids(pool), removed[0]]))
        clashes = _find_clashes(here, there)
        report = _compare(here, there, removed, is_new, clashes)
        if not dry_run:
            if np.setdiff1d(removed[1], removed[0]).size:
                write_removed(pool, np.union1d(*removed))
            layout.raise_version(pool, layout.read_version(other))
            renamed = {} if prefix is None else _rename(clashes, prefix, here, there)
            _copy_parts(there, pool, there.hand_ids[is_new], renamed)
    return report


def _compare(
    here: Pool,
    there: Pool,
    removed: tuple[NDArray[np.uint64], NDArray[np.uint64]],
    is_new: NDArray[np.bool_],
    clashes: list[Recording],
) -> MergeReport:
    shared = np.intersect1d(here.hand_ids, there.hand_ids)
    ours, theirs = (pool.keypoints[pool.rows(shared)] for pool in (here, there))
    is_equal = np.isclose(ours, theirs, rtol=0, atol=_SAME_PLACE, equal_nan=True)
    return MergeReport(
        new_hands=int(is_new.sum()),
        shared_hands=len(shared),
        differing_hands=int((~is_equal.all(axis=(1, 2))).sum()),
        removed_there=int(np.isin(here.hand_ids, removed[1]).sum()),
        removed_here=int(np.isin(there.hand_ids, removed[0]).sum()),
        duplicates=_count_duplicates(here, there, np.flatnonzero(is_new)),
        clashes=tuple(video for _, video in clashes),
    )


def _count_duplicates(here: Pool, there: Pool, new_rows: NDArray[np.intp]) -> int:
    """How many of the new hands have the keypoints and the JPEG of a hand here.

    Detected again, the same picture gives the same keypoints, so that few crops have to be read.
    """
    known_rows = np.flatnonzero(here.has_crops)
    known, new = _hash_keypoints(here, known_rows), _hash_keypoints(there, new_rows)
    order = np.argsort(known)
    places = np.searchsorted(known, new, sorter=order)
    is_candidate = (places < len(known)) & there.has_crops[new_rows]
    is_candidate[is_candidate] = known[order[places[is_candidate]]] == new[is_candidate]
    pairs = zip(known_rows[order[places[is_candidate]]], new_rows[is_candidate], strict=True)
    return sum(
        here.stored_jpeg(int(here.hand_ids[ours])) == there.stored_jpeg(int(there.hand_ids[theirs]))
        for ours, theirs in pairs
    )


def _hash_keypoints(pool: Pool, rows: NDArray[np.intp]) -> NDArray[np.uint64]:
    """[M] a hash of the x of all joints, by their bits."""
    words = np.ascontiguousarray(pool.keypoints[rows, :, 0]).view(np.uint32).astype(np.uint64)
    factors = np.random.default_rng(0).integers(2**63, size=words.shape[1], dtype=np.uint64) | np.uint64(1)
    hashes: NDArray[np.uint64] = (words * factors).sum(axis=1, dtype=np.uint64)
    return hashes


def _find_clashes(here: Pool, there: Pool) -> list[Recording]:
    ours, theirs = _rows_by_recording(here), _rows_by_recording(there)
    clashes = []
    for recording in sorted(ours.keys() & theirs.keys()):
        rows, other_rows = ours[recording], theirs[recording]
        shares_a_hand = np.isin(here.hand_ids[rows], there.hand_ids[other_rows]).any()
        if not shares_a_hand and np.isin(_moments(here, rows), _moments(there, other_rows)).any():
            clashes.append(recording)
    return clashes


def _moments(pool: Pool, rows: NDArray[np.intp]) -> NDArray[np.int64]:
    """One number for frame and side. Pictures without a number in their name are frame 0: no moment."""
    rows = rows[pool.frames[rows] != 0]
    moments: NDArray[np.int64] = pool.frames[rows] * 3 + pool.has_side[rows] + pool.is_left[rows]
    return moments


def _rows_by_recording(pool: Pool) -> dict[Recording, NDArray[np.intp]]:
    if not len(pool):
        return {}
    order = np.lexsort((pool.videos.codes, pool.sources.codes))
    codes = np.stack([pool.sources.codes, pool.videos.codes], axis=1)[order]
    groups = np.split(order, np.flatnonzero((codes[1:] != codes[:-1]).any(axis=1)) + 1)
    return {(pool.sources[rows[0]] or "", pool.videos[rows[0]] or ""): rows for rows in groups}


def _rename(clashes: list[Recording], prefix: str, here: Pool, there: Pool) -> dict[Recording, str]:
    """New names of videos that clash: the first that no hand has here, but for hands of the other pool."""
    ours = _rows_by_recording(here)

    def is_free(recording: Recording) -> bool:
        rows = ours.get(recording, np.empty(0, dtype=np.intp))
        return bool(np.isin(here.hand_ids[rows], there.hand_ids).all())

    def names(video: str) -> Iterator[str]:
        yield f"{prefix}/{video}"
        yield from (f"{prefix}-{number}/{video}" for number in count(2))

    return {
        (source, video): next(name for name in names(video) if is_free((source, name)))
        for source, video in clashes
    }


def _copy_parts(there: Pool, pool: Path, new_ids: NDArray[np.uint64], renamed: dict[Recording, str]) -> None:
    parts = layout.published_parts(pool)
    number = layout.part_number(parts[-1]) + 1 if parts else 0
    done, recorded = _known_items(parts)
    for place, part in enumerate(there.tars.parts):
        hands = layout.read_columns(part, layout.HANDS_FILE, None)
        is_new = np.isin(hands["hand_id"].to_numpy(), new_ids)
        items = layout.read_columns(part, layout.ITEMS_FILE, None)
        keys = items["key"].to_numpy()
        items = items.filter(pa.array(~np.isin(keys, recorded) | (is_done(items) & ~np.isin(keys, done))))
        if not is_new.any() and not len(items):
            continue
        with new_part(layout.parts_directory(pool) / f"{number:06d}") as writing:
            hands = _with_names(hands.filter(pa.array(is_new)), renamed)
            if len(hands) and is_new.all():
                link_or_copy(part, layout.CROPS_FILE, writing)
            else:
                hands = copy_crops(there.tars, place, hands, writing)
            layout.write_hands(hands, writing)
            pq.write_table(items, writing / layout.ITEMS_FILE, compression="zstd")
        number += 1


def _known_items(parts: Sequence[Path]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Keys of the items that are done, and of all that are recorded."""
    tables = [layout.read_columns(part, layout.ITEMS_FILE, ["key", "skipped"]) for part in parts]
    items = pa.concat_tables([layout.ITEMS_SCHEMA.empty_table().select(["key", "skipped"]), *tables])
    keys = items["key"].to_numpy()
    return keys[is_done(items)], keys


def _with_names(hands: pa.Table, renamed: dict[Recording, str]) -> pa.Table:
    if not renamed:
        return hands
    recordings = zip(hands["source"].to_pylist(), hands["video"].to_pylist(), strict=True)
    return layout.with_column(hands, "video", [renamed.get(each, each[1]) for each in recordings])

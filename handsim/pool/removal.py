"""Removing hands from a pool, and taking that back.

A removed hand leaves a tombstone, its id in ``removed.parquet``, which is replaced as a whole: from then on
no reader sees the hand and no ingest adds it again. What lies on disk stays until `handsim.pool.compact`.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from handsim.errors import HandsimError, NotThereError
from handsim.files import replacing, sync
from handsim.hand import format_hand_id
from handsim.pool import layout
from handsim.pool.generations import changing


def remove(pool: Path, hand_ids: Iterable[int]) -> int:
    """Remove hands from a pool; returns how many there were: one that was removed before is passed over.

    Raises NotThereError, naming the first, for ids that the pool never held: then nothing is removed.
    """
    ids = _as_ids(hand_ids)
    with changing(pool):
        removed = layout.read_removed(pool)
        new = np.setdiff1d(ids, removed)
        unknown = np.setdiff1d(new, stored_ids(pool))
        if unknown.size:
            first = next(hand_id for hand_id in ids.tolist() if hand_id in unknown)
            raise NotThereError(
                f"no hand {format_hand_id(first)} in {pool} ({len(unknown):,} of {len(ids):,} are unknown); "
                f"nothing was removed"
            )
        if new.size:
            write_removed(pool, np.union1d(removed, new))
    return len(new)


def restore(pool: Path, hand_ids: Iterable[int] | None = None) -> int:
    """Take the removal of hands (None: all) back; returns how many of them are in the pool again.

    The others had been compacted away. They may be added again, by an ingest into another home and
    `handsim.pool.merge`. Raises HandsimError, naming the first, for ids that were not removed: then nothing
    is restored.
    """
    with changing(pool):
        removed = layout.read_removed(pool)
        ids = removed if hand_ids is None else _as_ids(hand_ids)
        others = ids[~np.isin(ids, removed)]
        if others.size:
            first = format_hand_id(int(others[0]))
            raise HandsimError(f"hand {first} was not removed from {pool}; nothing was restored")
        if ids.size:
            write_removed(pool, np.setdiff1d(removed, ids))
        return len(np.intersect1d(ids, stored_ids(pool)))


def stored_ids(pool: Path) -> NDArray[np.uint64]:
    """Ids of all hands that lie in the parts of a pool, removed ones included."""
    parts = layout.published_parts(pool)
    columns = [layout.read_columns(part, layout.HANDS_FILE, ["hand_id"])["hand_id"] for part in parts]
    return np.concatenate([np.empty(0, dtype=np.uint64), *(column.to_numpy() for column in columns)])


def write_removed(pool: Path, hand_ids: NDArray[np.uint64]) -> None:
    """Replace the tombstones of a pool."""
    layout.raise_version(pool, 2)
    with replacing(pool / layout.REMOVED_FILE) as file:
        pq.write_table(pa.table([hand_ids], schema=layout.REMOVED_SCHEMA), file, compression="zstd")
    sync(pool)


def _as_ids(hand_ids: Iterable[int]) -> NDArray[np.uint64]:
    """Each once, in their order."""
    return np.array(list(dict.fromkeys(map(int, hand_ids))), dtype=np.uint64)

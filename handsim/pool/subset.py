"""A smaller pool out of a larger one, to measure what more data is worth."""

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from handsim.english import pluralize
from handsim.errors import HandsimError
from handsim.files import creating
from handsim.hashing import hash64
from handsim.pool import layout
from handsim.pool.reader import Pool


def write_subset(pool: Path, out: Path, hands: int) -> None:
    """Write a pool at ``out`` with ``hands`` hands of another one, which share their crops' files.

    Whole videos are taken, except for the last one, in an order that only their names decide: a smaller
    subset is part of every larger one. ``out`` appears complete, or not at all. Raises NotThereError where
    there is no pool, HandsimError where ``out`` is there, and for more hands than there are.
    """
    whole = Pool.open(pool)
    if not 1 <= hands <= len(whole):
        raise HandsimError(
            f"{pluralize(hands, 'hand')} cannot be taken of {pool}; it holds {len(whole):,}, give 1 to that"
        )
    chosen = whole.hand_ids[_order_by_video(whole)[:hands]]
    out.parent.mkdir(parents=True, exist_ok=True)
    with creating(out) as writing:
        layout.parts_directory(writing).mkdir(parents=True)
        version = layout.read_version(pool)
        layout.write_pool_json(writing, whole.crop_size_px, version, whole.crop_enlargement)
        for part in whole.tars.parts:  # while the pool is open, nobody deletes them
            name = f"{layout.part_number(part):06d}"
            _write_part(part, layout.parts_directory(writing) / name, chosen)


def _order_by_video(pool: Pool) -> NDArray[np.intp]:
    """Rows [N], video by video."""
    ranks = np.array([hash64(name.encode()) for name in pool.videos.names], dtype=np.uint64)
    return np.lexsort((pool.hand_ids, pool.frames, ranks[pool.videos.codes]))


def _write_part(part: Path, out: Path, chosen: NDArray[np.uint64]) -> None:
    """The hands of a part that are among the chosen ones [M], if there are any, beside the crops of all."""
    hands = layout.read_columns(part, layout.HANDS_FILE, None)
    is_chosen = np.isin(hands["hand_id"].to_numpy(), chosen)
    if not is_chosen.any():
        return
    out.mkdir()
    layout.write_hands(hands.filter(pa.array(is_chosen)), out)
    pq.write_table(layout.ITEMS_SCHEMA.empty_table(), out / layout.ITEMS_FILE)
    crops = (part / layout.CROPS_FILE).resolve()
    if crops.exists():
        try:  # a file of its own name: it outlives the other pool, and what is made of that
            os.link(crops, out / layout.CROPS_FILE)
        except OSError:  # another disk, or one without hard links
            (out / layout.CROPS_FILE).symlink_to(crops)

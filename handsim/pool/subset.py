"""A smaller pool out of a larger one, to measure what more data is worth."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from handsim.errors import HandsimError
from handsim.files import sync
from handsim.hashing import hash64
from handsim.pool import layout
from handsim.pool.reader import Pool


def write_subset(pool: Path, out: Path, hands: int) -> None:
    """Write a pool at ``out`` with ``hands`` hands of another one; the crops stay where they are, linked to.

    Whole videos are taken, except for the last one, in an order that only their names decide: a smaller
    subset is part of every larger one. ``out`` appears complete, or not at all. Raises NotThereError where
    there is no pool, HandsimError where ``out`` is there, and for more hands than there are.
    """
    if out.exists():
        raise HandsimError(f"{out} is there already; give another place, or remove it")
    whole = Pool.open(pool)
    if not 1 <= hands <= len(whole):
        raise HandsimError(
            f"{hands:,} hands cannot be taken of {pool}; it holds {len(whole):,}, give 1 to that"
        )
    chosen = np.zeros(len(whole), dtype=np.bool_)
    chosen[_order_by_video(whole)[:hands]] = True
    writing = out.with_name(f".{out.name}.writing")
    shutil.rmtree(writing, ignore_errors=True)
    layout.parts_directory(writing).mkdir(parents=True)
    layout.write_pool_json(writing, whole.crop_size_px, layout.read_version(pool))
    start = 0
    for part in layout.published_parts(pool):  # one that appeared meanwhile comes last, and has no row
        rows = layout.row_count(part, layout.HANDS_FILE)
        _write_part(part, layout.parts_directory(writing) / part.name, chosen[start : start + rows])
        start += rows
    sync(layout.parts_directory(writing))
    sync(writing)
    writing.rename(out)
    sync(out.parent)


def _order_by_video(pool: Pool) -> NDArray[np.intp]:
    """Rows [N], video by video."""
    ranks = np.array([hash64(name.encode()) for name in pool.videos.names], dtype=np.uint64)
    return np.lexsort((pool.hand_ids, pool.frames, ranks[pool.videos.codes]))


def _write_part(part: Path, out: Path, chosen: NDArray[np.bool_]) -> None:
    """The ``chosen`` rows [N] of a part, if there are any, beside a link to the crops of all."""
    if not chosen.any():
        return
    out.mkdir()
    hands = layout.read_columns(part, layout.HANDS_FILE, layout.HANDS_SCHEMA.names).filter(pa.array(chosen))
    pq.write_table(hands, out / layout.HANDS_FILE, compression=layout.HANDS_COMPRESSION)
    pq.write_table(layout.ITEMS_SCHEMA.empty_table(), out / layout.ITEMS_FILE)
    layout.sync_directory(out)
    crops = part / layout.CROPS_FILE
    if crops.exists():
        (out / layout.CROPS_FILE).symlink_to(crops.resolve())

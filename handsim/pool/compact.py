"""Giving the space of removed hands back: parts that hold any are rewritten without them.

Their tombstones stay, so that no ingest adds them again. A subset that an earlier version made, or one on
another disk, links to the crops of this pool by their place, and loses those of rewritten parts.
"""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from handsim.pool import layout
from handsim.pool.crops import TarFiles, copy_crops
from handsim.pool.generations import changing, earlier_generations, link_or_copy, next_generation


@dataclass(frozen=True)
class Compaction:
    """What was rewritten."""

    hands: int
    """Removed hands that are gone for good."""
    parts: int
    freed_bytes: int
    is_in_use: bool
    """Whether earlier parts are still there because somebody reads the pool; the next writer deletes them."""


def compact(pool: Path) -> Compaction:
    """Rewrite the parts of a pool that hold removed hands; what was done to a file stays recorded.

    After a kill, the same call does the rest. Raises HandsimError for a part that is damaged, and while the
    pool is being written.
    """
    hands = parts = freed_bytes = 0
    with changing(pool):
        removed = layout.read_removed(pool)
        with closing(TarFiles(pool)) as tars:
            for number, part in enumerate(tars.parts):
                table = layout.read_columns(part, layout.HANDS_FILE, None)
                is_kept = ~layout.are_removed(table["hand_id"].to_numpy(), removed)
                if is_kept.all():
                    continue
                remaining = table.filter(pa.array(is_kept))
                with next_generation(part) as writing:
                    layout.write_hands(copy_crops(tars, number, remaining, writing), writing)
                    link_or_copy(part, layout.ITEMS_FILE, writing)
                    freed_bytes += _size(part) - _size(writing)
                hands, parts = hands + int((~is_kept).sum()), parts + 1
    return Compaction(hands, parts, freed_bytes, bool(earlier_generations(pool)))


def _size(part: Path) -> int:
    return sum(file.stat().st_size for file in part.iterdir())

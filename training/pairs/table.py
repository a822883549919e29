"""Pairs that were mined before, by `handsim mine`."""

from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from handsim.errors import HandsimError, NotThereError
from index.pairs import PAIRS_SCHEMA
from training.pairs.drawn import DrawnPairs
from training.pairs.hand_set import HandSet

_COLUMNS: Final = ("hand_id", "positive_id", "distance")


class MinedTable:
    """A `PairSource` that reads `index.pairs`: it trains without an index, on pairs that never change."""

    version: str | None
    """Name of the index version they were mined in, as the file tells it."""
    not_in_pool: int
    """Pairs of the file that are left out, because the pool has no picture of one of their hands."""

    def __init__(self, path: str | Path, pictured: HandSet) -> None:
        """Read all pairs, in memory; ``pictured`` are the pool's hands.

        Raises NotThereError without the file, HandsimError for one of another kind or another pool.
        """
        table = _read(Path(path))
        told = (table.schema.metadata or {}).get(b"index_version")
        self.version = None if told is None else told.decode()
        hands, positives, distances = (table[name].to_numpy() for name in _COLUMNS)
        shown = pictured.holds(hands) & pictured.holds(positives)
        self.not_in_pool = int(len(shown) - shown.sum())
        if not shown.any():
            raise HandsimError(
                f"none of the {len(shown):,} pairs of {path} is of this pool; mine them again, in its index"
            )
        order = np.argsort(hands[shown], kind="stable")
        self._hands, self._positives, self._distances = (
            column[shown][order] for column in (hands, positives, distances)
        )

    def draw(self, anchors: NDArray[np.uint64], rng: np.random.Generator) -> DrawnPairs:
        """For each anchor [B] one of the positives that were mined for it, each as likely as the other."""
        begin = np.searchsorted(self._hands, anchors, "left")
        count = np.searchsorted(self._hands, anchors, "right") - begin
        alone = count == 0
        rows = begin + rng.integers(np.maximum(count, 1))
        rows[alone] = 0
        return DrawnPairs(
            anchors=anchors,
            positives=np.where(alone, anchors, self._positives[rows]),
            distances=np.where(alone, np.float32(np.nan), self._distances[rows]),
            negatives=np.empty((len(anchors), 0), dtype=np.uint64),
            version=self.version,
            without_positive=int(alone.sum()),
        )

    def close(self) -> None:
        """Nothing to let go of."""


def _read(path: Path) -> pa.Table:
    if not path.is_file():
        raise NotThereError(f"there is no table of pairs at {path}; `handsim mine` writes one")
    try:
        with pq.ParquetFile(path, memory_map=True) as parquet:
            known = parquet.schema_arrow
            strange = [
                name
                for name in _COLUMNS
                if name not in known.names or known.field(name).type != PAIRS_SCHEMA.field(name).type
            ]
            if strange:
                raise HandsimError(
                    f"{path} is no table of pairs: it has no column {strange[0]} of "
                    f"{PAIRS_SCHEMA.field(strange[0]).type}; `handsim mine` writes one"
                )
            return parquet.read(columns=list(_COLUMNS))
    except (OSError, pa.ArrowException) as error:
        why = str(error).splitlines()[0][:120]
        raise HandsimError(f"{path} is no table of pairs ({why}); `handsim mine` writes one") from error

"""Mined pairs as Parquet: one row a pair."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from index.info import VersionInfo
from index.mining import MinedPairs

PAIRS_SCHEMA: Final = pa.schema(
    [
        pa.field("hand_id", pa.uint64(), nullable=False),
        pa.field("positive_id", pa.uint64(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),  # 1 is the nearest of the positives mined
        pa.field("distance", pa.float32(), nullable=False),  # in the index's embedding
    ]
)


def write_pairs(path: str | Path, batches: Iterable[MinedPairs], mined_from: VersionInfo) -> int:
    """Write pairs as they come, and the file under its name only once it is whole; returns how many.

    The file's metadata tells the index version and the fingerprint of the embedding they were mined in.
    """
    path = Path(path)
    facts = {"index_version": mined_from.name, "embedding_fingerprint": mined_from.embedding_fingerprint}
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    count = 0
    try:
        with pq.ParquetWriter(temporary, PAIRS_SCHEMA.with_metadata(facts), compression="zstd") as writer:
            for batch in batches:
                rows, ranks = np.nonzero(batch.found)
                count += len(rows)
                columns = [
                    batch.hand_ids[rows],
                    batch.positives[rows, ranks],
                    (ranks + 1).astype(np.int32),
                    batch.distances[rows, ranks],
                ]
                writer.write_table(pa.table(columns, schema=writer.schema))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return count

"""Building one version of an embedded index in a directory of its own."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import qdrant_edge as edge

from handsim.atomic_file import sync
from handsim.embedding import PoseEmbedding
from index import edge_layout as layout
from index.catalog import Progress
from index.columns import HandColumns, payloads_of
from index.settings import IndexSettings

_CHUNK_HANDS: Final = 5_000
_MAX_SEGMENT_KB: Final = 2**40
"""No bound: one graph over all hands answers faster than several."""

_PAYLOAD_INDEXES: Final[dict[str, "edge.PayloadSchemaParams"]] = {
    # No edges of their own in the graph: searching through filters by ACORN finds as much without.
    **{field: edge.KeywordIndexParams(enable_hnsw=False) for field in ("video", "source", "side", "label")},
    "score": edge.FloatIndexParams(enable_hnsw=False),
}


def build_version(
    directory: Path,
    hands: HandColumns,
    embedding: PoseEmbedding,
    settings: IndexSettings,
    progress: Progress | None = None,
) -> None:
    """Write a complete version of at least one hand into an empty directory, down to the disk."""
    started = time.perf_counter()
    shard_path = directory / layout.SHARD
    shard_path.mkdir()
    shard = edge.EdgeShard.create(str(shard_path), _engine_config(embedding.dimension, settings))
    try:
        _write_points(shard, hands, embedding, progress)
        for field, params in _PAYLOAD_INDEXES.items():
            shard.update(edge.UpdateOperation.create_field_index(field, params))
        shard.optimize()
        shard.flush()
    finally:
        shard.close()
    _settle(shard_path, len(hands))
    embedding.save(directory / layout.EMBEDDING_FILE)
    for path in [*directory.rglob("*"), directory]:
        sync(path)
    record = layout.VersionRecord(
        points=len(hands),
        dimension=embedding.dimension,
        embedding_kind="pose",
        embedding_fingerprint=embedding.fingerprint,
        built_at=datetime.now(UTC).isoformat(timespec="seconds"),
        build_seconds=round(time.perf_counter() - started, 3),
        bytes_on_disk=layout.bytes_on_disk(directory),
        settings=settings,
        files=layout.list_files(shard_path),
    )
    layout.write_record(directory, record)
    sync(directory)


def _settle(shard_path: Path, points: int) -> None:
    """Open the shard once: that it opens and is whole is known, and what a first opening tidies up is done.

    From here on opening changes no file, so that what was recorded of them holds.
    """
    shard = edge.EdgeShard.load(str(shard_path))
    written = shard.info().points_count
    shard.close()
    assert written == points, f"{written} of {points} hands written"


def _engine_config(dimension: int, settings: IndexSettings) -> edge.EdgeConfig:
    return edge.EdgeConfig(
        vectors=edge.EdgeVectorParams(dimension, edge.Distance.Euclid),
        hnsw_config=edge.HnswIndexConfig(
            m=settings.m,
            ef_construct=settings.ef_construct,
            full_scan_threshold=settings.full_scan_below_kb,
            max_indexing_threads=settings.threads,
        ),
        optimizers=edge.EdgeOptimizersConfig(
            default_segment_number=1,
            max_segment_size=_MAX_SEGMENT_KB,
            indexing_threshold=settings.index_above_kb,
        ),
        # With a log only one process could open the shard; a version is flushed before anyone sees it.
        wal_enabled=False,
    )


def _write_points(
    shard: edge.EdgeShard, hands: HandColumns, embedding: PoseEmbedding, progress: Progress | None
) -> None:
    for start in range(0, len(hands), _CHUNK_HANDS):
        rows = slice(start, min(start + _CHUNK_HANDS, len(hands)))
        points = [
            edge.Point(hand_id, vector, {key: value for key, value in payload.items() if value is not None})
            for hand_id, vector, payload in zip(
                hands.hand_ids[rows].tolist(),
                embedding.transform(hands.keypoints[rows]).tolist(),
                payloads_of(hands, rows),
                strict=True,
            )
        ]
        shard.update(edge.UpdateOperation.upsert_points(points))
        if progress is not None:
            progress(rows.stop, len(hands))

"""Writing one version of an embedded index into a directory of its own.

Full disks: foreseen where that is possible, told in one line where it is not.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import qdrant_edge as edge

from handsim.embedding import Embedding
from handsim.errors import HandsimError
from handsim.files import sync
from index.edge import layout
from index.info import IndexSettings
from index.points import Checksum, PointSource, Progress

# What builds took at their peak, sampled from outside every 3 ms, on ext4: 10,000 hands 6.4 MB with 14
# components and 8.5 MB with 40, 100,000 hands 59 MB, 500,000 hands 297 MB (594 bytes a hand, 208 of the
# difference between 14 and 40 being two copies of the vectors). Adding 10,000 to 90,000 took 80 MB: the copy
# and less than a whole build. In a tmpfs, where reading a hole fills it, 100 hands took 69 MB, 100,000 87 MB.
_BYTES_AT_LEAST: Final = 80_000_000
"""Files that the engine lays out whole, on file systems that do not leave holes."""
_BYTES_PER_HAND: Final = 500
"""A hand's id, payload and place in the payload indexes, before and after it is linked."""
_BYTES_PER_LINK: Final = 4

_SAYS_FULL: Final = ("No space left on device", "Not enough space available", "Disk quota exceeded")


def check_space(
    directory: Path, points: int, dimension: int, settings: IndexSettings, base_bytes: int = 0
) -> None:
    """Raise HandsimError when a directory's disk cannot hold a version of so many hands while it is built.

    ``base_bytes`` are copied there first. The engine maps its files into memory: a disk that fills up
    meanwhile kills the process without a word.
    """
    each = dimension * 4 * 2 + settings.m * _BYTES_PER_LINK + _BYTES_PER_HAND
    needed = _BYTES_AT_LEAST + points * each + base_bytes
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise HandsimError(
            f"the disk of {directory} has {free / 1e6:,.0f} MB free; an index of {points:,} hands needs some "
            f"{needed / 1e6:,.0f} MB while it is built; `handsim index prune`, or name another disk"
        )


@contextmanager
def full_disk_told(directory: Path) -> Iterator[None]:
    """Whatever the system or the engine says of a full disk becomes one HandsimError."""
    try:
        yield
    except Exception as error:
        if isinstance(error, HandsimError) or not any(words in str(error) for words in _SAYS_FULL):
            raise
        raise HandsimError(
            f"the disk of {directory} is full; `handsim index prune`, or make room on it"
        ) from error


_MAX_SEGMENT_KB: Final = 2**40
"""No bound: one graph over all hands answers faster than several."""

_BLOCK_BYTES: Final = 65_536

_PAYLOAD_INDEXES: Final[dict[str, "edge.PayloadSchemaParams"]] = {
    # No edges of their own in the graph: searching through filters by ACORN finds as much without.
    "video": edge.KeywordIndexParams(enable_hnsw=False),
    # Every question may leave a video out, few ask for the rest: those are mapped, and so shared by all
    # processes that read. The video's too would halve the rate.
    **{
        field: edge.KeywordIndexParams(enable_hnsw=False, memory=edge.Memory.Cold)
        for field in ("source", "side", "label")
    },
    "score": edge.FloatIndexParams(enable_hnsw=False, memory=edge.Memory.Cold),
}


@dataclass(frozen=True, eq=False)
class Draft:
    """What a version is to be made of."""

    points: PointSource
    """Hands to write."""
    embedding: Embedding
    """What placed them."""
    settings: IndexSettings
    """How to link them."""
    base: Path | None = None
    """The directory of a version to start from a copy of; None starts empty."""


def write_version(directory: Path, draft: Draft, progress: Progress | None = None) -> None:
    """Write a complete version of at least one hand into an empty directory, down to the disk."""
    started = time.perf_counter()
    base = None if draft.base is None else layout.read_record(draft.base)
    total = len(draft.points) + (0 if base is None else base.points)
    base_bytes = 0 if base is None else base.bytes_on_disk
    check_space(directory.parent, total, draft.embedding.dimension, draft.settings, base_bytes)
    shard_path = directory / layout.SHARD
    checksum = Checksum() if base is None else Checksum.parse(base.checksum)
    if draft.base is None:
        shard_path.mkdir()
        config = _engine_config(draft.embedding.dimension, draft.settings)
        shard = edge.EdgeShard.create(str(shard_path), config)
    else:
        # Whoever opens the base meanwhile has the engine write its settings anew, by way of such files.
        passing = shutil.ignore_patterns(layout.ENGINE_TEMPORARY)
        shutil.copytree(draft.base / layout.SHARD, shard_path, ignore=passing, copy_function=_copy_with_holes)
        shard = edge.EdgeShard.load(str(shard_path))
    try:
        _write_points(shard, draft.points, checksum, progress)
        shard.optimize()
        if draft.base is None:
            # Only now: made before, they would be built twice over and double the memory that linking takes.
            for field, params in _PAYLOAD_INDEXES.items():
                shard.update(edge.UpdateOperation.create_field_index(field, params))
        shard.flush()
    finally:
        shard.close()
    _settle(shard_path, total)
    draft.embedding.save(directory / layout.EMBEDDING_FILE)
    for path in [*directory.rglob("*"), directory]:
        sync(path)
    record = layout.VersionRecord(
        points=total,
        dimension=draft.embedding.dimension,
        embedding_kind=draft.embedding.kind,
        embedding_fingerprint=draft.embedding.fingerprint,
        built_at=datetime.now(UTC).isoformat(timespec="seconds"),
        build_seconds=round(time.perf_counter() - started, 3),
        checksum=checksum.digest,
        bytes_on_disk=layout.bytes_on_disk(directory),
        settings=draft.settings,
        files=layout.list_files(shard_path),
    )
    layout.write_record(directory, record)
    sync(directory)


def _copy_with_holes(source: str, target: str) -> None:
    """Copy a file and leave out what is zero: the engine lays files out larger than what it writes."""
    with open(source, "rb") as read, open(target, "wb") as written:
        while block := read.read(_BLOCK_BYTES):
            if block.count(0) == len(block):
                written.seek(len(block), os.SEEK_CUR)
            else:
                written.write(block)
        written.truncate()


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
    shard: edge.EdgeShard, points: PointSource, checksum: Checksum, progress: Progress | None
) -> None:
    done = 0
    for batch in points.batches():
        upserts = [
            edge.Point(hand_id, vector, {key: value for key, value in payload.items() if value is not None})
            for hand_id, vector, payload in zip(
                batch.hand_ids.tolist(), batch.vectors.tolist(), batch.payloads, strict=True
            )
        ]
        shard.update(edge.UpdateOperation.upsert_points(upserts))
        checksum.add(batch)
        done += len(batch)
        if progress is not None:
            progress(done, len(points))

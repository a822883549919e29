"""Writing one version of an embedded index into a directory of its own.

The version is written without a write-ahead log, linked into one graph, opened once, synced, and described
last of all in ``version.json``. A disk without room for it is refused before the first byte is written.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import qdrant_edge as edge

from handsim.embedding import Embedding
from handsim.errors import HandsimError
from handsim.files import sync
from index.edge import layout
from index.edge.columns import COLUMNS_FILE, ColumnsWriter, MappedColumns
from index.info import IndexSettings
from index.points import Checksum, PointSource, Progress
from index.qdrant import encode_payload

# What builds took at their peak, sampled from outside every 3 ms, on ext4: 10,000 hands 6.4 MB with 14
# components and 8.5 MB with 40, 100,000 hands 59 MB, 500,000 hands 297 MB (594 bytes a hand, 208 of the
# difference between 14 and 40 being two copies of the vectors). Adding 10,000 to 90,000 took 80 MB: the copy
# and less than a whole build. In a tmpfs, where reading a hole fills it, 100 hands took 69 MB, 100,000 87 MB.
_MIN_BYTES: Final = 80_000_000
"""Files that the engine creates at full size, on file systems that do not leave holes."""
_BYTES_PER_HAND: Final = 512
"""A hand's id, payload and entries in the payload indexes, before and after the graph is built, and its place
in the mapped columns."""
_BYTES_PER_EDGE: Final = 4

_FULL_DISK_MESSAGES: Final = ("No space left on device", "Not enough space available", "Disk quota exceeded")

_MAX_SEGMENT_KB: Final = 2**40
"""No bound: one graph over all hands answers faster than several."""

_BLOCK_BYTES: Final = 65_536

_PAYLOAD_INDEXES: Final[dict[str, "edge.PayloadSchemaParams"]] = {
    # No edges of their own in the graph: searching through filters by ACORN finds as much without.
    "video": edge.KeywordIndexParams(enable_hnsw=False),
    # Every query may leave a video out, few use the other fields: those are mapped, and so shared by all
    # processes that read. With the video's mapped too, the rate would be half.
    **{
        field: edge.KeywordIndexParams(enable_hnsw=False, memory=edge.Memory.Cold)
        for field in ("source", "side", "label")
    },
    "score": edge.FloatIndexParams(enable_hnsw=False, memory=edge.Memory.Cold),
}


@dataclass(frozen=True, eq=False)
class BuildRequest:
    """What a version is made of."""

    points: PointSource
    """Hands to write."""
    embedding: Embedding
    """What made their vectors."""
    settings: IndexSettings
    """How to build their graph."""
    origin: str
    """What the whole version is made of, see `index.points.PointSource`."""
    base: Path | None = None
    """The directory of a version to start from a copy of; None starts empty."""


def write_version(directory: Path, request: BuildRequest, progress: Progress | None = None) -> None:
    """Write a complete version of at least one hand into an empty directory, and sync it.

    Raises HandsimError when the disk has too little room.
    """
    started = time.perf_counter()
    base = None if request.base is None else layout.read_record(request.base)
    total = len(request.points) + (0 if base is None else base.points)
    _check_space(directory.parent, total, request, 0 if base is None else base.bytes_on_disk)
    # First, because it fails where an encoder's weights are missing, and all that follows takes long.
    request.embedding.save(directory / layout.EMBEDDING_FILE)
    shard_path = directory / layout.SHARD
    checksum = Checksum() if base is None else Checksum.parse(base.checksum)
    if request.base is None:
        shard_path.mkdir()
        config = _engine_config(request.embedding.dimension, request.settings)
        shard = edge.EdgeShard.create(str(shard_path), config)
    else:
        # Another process that opens the base just now has the engine write its settings anew, into such
        # files.
        ignore = shutil.ignore_patterns(layout.ENGINE_TEMPORARY)
        shutil.copytree(request.base / layout.SHARD, shard_path, ignore=ignore, copy_function=_copy_sparse)
        shard = edge.EdgeShard.load(str(shard_path))
    columns = ColumnsWriter() if request.base is None else _columns_of(request.base)
    try:
        _write_points(shard, request.points, checksum, columns, progress)
        shard.optimize()
        if request.base is None:
            # Only now: made before, they would be built twice and double the memory that the graph takes.
            for field, params in _PAYLOAD_INDEXES.items():
                shard.update(edge.UpdateOperation.create_field_index(field, params))
        shard.flush()
    finally:
        shard.close()
    _open_once(shard_path, total)
    if columns is not None:
        columns.write(directory / COLUMNS_FILE)
    (directory / layout.ORIGIN_FILE).write_text(request.origin + "\n")
    for path in [*directory.rglob("*"), directory]:
        sync(path)
    record = layout.VersionRecord(
        points=total,
        dimension=request.embedding.dimension,
        embedding_kind=request.embedding.kind,
        embedding_fingerprint=request.embedding.fingerprint,
        built_at=datetime.now(UTC).isoformat(timespec="seconds"),
        build_seconds=round(time.perf_counter() - started, 3),
        checksum=checksum.digest,
        bytes_on_disk=layout.bytes_on_disk(directory),
        settings=request.settings,
        files=layout.list_files(shard_path),
    )
    layout.write_record(directory, record)
    sync(directory)


def copy_version(source: Path, directory: Path, progress: Progress | None = None) -> None:
    """Copy the files of a complete version into an empty directory, and sync it; the graph comes along.

    The caller holds the version's lock. ``progress`` counts hands in proportion to the bytes. Raises
    HandsimError when the disk has too little room.
    """
    record = layout.read_record(source)
    needed, free = _MIN_BYTES + record.bytes_on_disk, shutil.disk_usage(directory).free
    if free < needed:
        raise HandsimError(
            f"the disk of {directory.parent} has {free / 1e6:,.0f} MB free; a copy of {source.name} needs "
            f"some {needed / 1e6:,.0f} MB; make room on it, or name another disk"
        )
    done = 0
    for file in sorted(source.rglob("*")):
        path = file.relative_to(source)
        if any(part.startswith(".") for part in path.parts):
            continue  # what another process is just about to put in place of a file
        if file.is_dir():
            (directory / path).mkdir()
            continue
        _copy_sparse(file, directory / path)
        done += file.stat().st_blocks * 512
        if progress is not None:
            hands = record.points * done // max(1, record.bytes_on_disk)
            progress(min(hands, record.points - 1), record.points)
    layout.check_files(directory, record)
    for path in [*directory.rglob("*"), directory]:
        sync(path)
    if progress is not None:
        progress(record.points, record.points)


@contextmanager
def convert_full_disk_errors(directory: Path) -> Iterator[None]:
    """Turn every error of the system or the engine about a full disk into one HandsimError."""
    try:
        yield
    except Exception as error:
        if isinstance(error, HandsimError) or not any(text in str(error) for text in _FULL_DISK_MESSAGES):
            raise
        raise HandsimError(
            f"the disk of {directory} is full; `handsim index prune`, or make room on it"
        ) from error


def _check_space(directory: Path, points: int, request: BuildRequest, base_bytes: int) -> None:
    """Raise HandsimError when the directory's disk has no room to build a version of ``points`` hands.

    ``base_bytes`` are copied there first. The engine maps its files into memory: a disk that fills up
    meanwhile kills the process without a message.
    """
    bytes_per_hand = (
        request.embedding.dimension * 4 * 3 + request.settings.m * _BYTES_PER_EDGE + _BYTES_PER_HAND
    )
    needed = _MIN_BYTES + points * bytes_per_hand + base_bytes
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise HandsimError(
            f"the disk of {directory} has {free / 1e6:,.0f} MB free; an index of {points:,} hands needs some "
            f"{needed / 1e6:,.0f} MB while it is built; `handsim index prune`, or name another disk"
        )


def _copy_sparse(source: str | Path, target: str | Path) -> None:
    """Copy a file without its blocks of zeros: the engine creates files larger than their contents."""
    with open(source, "rb") as reader, open(target, "wb") as writer:
        while block := reader.read(_BLOCK_BYTES):
            if block.count(0) == len(block):
                writer.seek(len(block), os.SEEK_CUR)
            else:
                writer.write(block)
        writer.truncate()


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
        # With a log only one process could open the shard; a version is flushed before anyone can open it.
        wal_enabled=False,
    )


def _columns_of(base: Path) -> ColumnsWriter | None:
    """The columns of a version to start from; None where an older handsim wrote it, without any."""
    with suppress(FileNotFoundError):
        return ColumnsWriter(MappedColumns(base / COLUMNS_FILE))
    return None


def _write_points(
    shard: edge.EdgeShard,
    points: PointSource,
    checksum: Checksum,
    columns: ColumnsWriter | None,
    progress: Progress | None,
) -> None:
    done = 0
    for batch in points.batches():
        upserts = [
            edge.Point(hand_id, vector, encode_payload(payload))
            for hand_id, vector, payload in zip(
                batch.hand_ids.tolist(), batch.vectors.tolist(), batch.payloads, strict=True
            )
        ]
        shard.update(edge.UpdateOperation.upsert_points(upserts))
        checksum.add(batch)
        if columns is not None:
            columns.add(batch)
        done += len(batch)
        if progress is not None:
            progress(done, len(points))


def _open_once(shard_path: Path, points: int) -> None:
    """Open the shard and count its points.

    The engine tidies up at the first opening; later ones change no file, so that their recorded sizes hold.
    """
    shard = edge.EdgeShard.load(str(shard_path))
    written = shard.info().points_count
    shard.close()
    assert written == points, f"{written} of {points} hands written"

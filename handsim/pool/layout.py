"""How a pool lies on disk. Versions 1 to 3:

    pool/pool.json                   format version, size of the crops and how much they show
    pool/.lock                       locked by the one process that writes
    pool/parts/000000/hands.parquet  one row per hand, keypoints included
    pool/parts/000000/crops.tar      the crops, <hand_id>.jpg, uncompressed (WebDataset reads it)
    pool/parts/000000/items.parquet  what was looked at to get them, and what could not be used
    pool/parts/.000001.writing/      the part being written; renamed when complete, or thrown away

A part appears by one rename, so readers see all of it or nothing. Parts that were written before a nullable
column was there lack it, and read as null.

Version 2 has hands with unlabelled joints, whose keypoints are NaN, and hands that were removed or renamed:

    pool/removed.parquet             ids of removed hands: their rows are passed over wherever they lie
    pool/parts/000000.1/             a later generation of part 000000; the latest one counts
    pool/.readers                    locked by all who read, and by who deletes earlier generations alone

Version 3 has hands of unknown side, which an earlier handsim would take for right ones.

A pool is version 1 until the first of these comes, and raised no further than they need: an earlier handsim
reads it up to there, and then says that it has to be upgraded. See `handsim.pool.generations` for how a part
is rewritten.
"""

import errno
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from handsim.errors import HandsimError, NotThereError
from handsim.files import FileLock, sync, write_text_atomically
from handsim.geometry import CROP_ENLARGEMENT
from handsim.skeleton import JOINT_COUNT

FORMAT_VERSION: Final = 3
HANDS_FILE: Final = "hands.parquet"
CROPS_FILE: Final = "crops.tar"
ITEMS_FILE: Final = "items.parquet"
LOCK_FILE: Final = ".lock"
READERS_FILE: Final = ".readers"
POOL_FILE: Final = "pool.json"
REMOVED_FILE: Final = "removed.parquet"

HANDS_SCHEMA: Final = pa.schema(
    [
        pa.field("hand_id", pa.uint64(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("video", pa.string(), nullable=False),
        pa.field("frame", pa.int64(), nullable=False),
        pa.field("side", pa.string(), nullable=False),
        pa.field("score", pa.float32(), nullable=False),
        pa.field("box_px", pa.list_(pa.float32(), 4), nullable=False),
        pa.field("keypoints", pa.list_(pa.float32(), JOINT_COUNT * 3), nullable=False),
        pa.field("label", pa.string()),
        pa.field("file", pa.string(), nullable=False),
        pa.field("external_id", pa.string()),
        pa.field("external_positives", pa.list_(pa.string()), nullable=False),
        pa.field("crop_offset", pa.int64(), nullable=False),  # of the JPEG in crops.tar; -1: no picture
        pa.field("crop_bytes", pa.int32(), nullable=False),
        pa.field("joint_mask", pa.list_(pa.bool_())),  # [21] which joints are labelled; null: all of them
        pa.field("joint_scores", pa.list_(pa.float32())),  # [21]; null: the source has none
        pa.field("track", pa.uint64()),  # the id of the track's first hand; null: in none
        pa.field("joints_mm", pa.list_(pa.float32())),  # [63] true joints; null: nobody knows them
        pa.field("visible", pa.list_(pa.bool_())),  # [21] joints that nothing hides; null: nobody knows
    ]
)

_SKIP: Final = pa.struct(
    {"file": pa.string(), "reason": pa.string(), "detail": pa.string(), "count": pa.int32()}.items()
)
_FILE: Final = pa.struct(
    {
        "path": pa.binary(),  # absolute, as the file system holds it
        "size": pa.int64(),
        "digest": pa.string(),
        "content": pa.string(),
        "outcome": pa.uint64(),
        "identity": pa.string(),
        "video": pa.string(),
        "label": pa.string(),
    }.items()
)
ITEMS_SCHEMA: Final = pa.schema(
    [
        pa.field("key", pa.uint64(), nullable=False),
        pa.field("pictures", pa.int32(), nullable=False),
        pa.field("hands", pa.int32(), nullable=False),
        pa.field("skipped", pa.list_(_SKIP), nullable=False),
        # Null in what earlier versions recorded:
        pa.field("remarks", pa.list_(_SKIP)),
        pa.field("hand_ids", pa.list_(pa.uint64())),
        pa.field("file", _FILE),
        pa.field("tracks", pa.string()),  # of a stretch of video: the state of its tracks at the end, as JSON
    ]
)

REMOVED_SCHEMA: Final = pa.schema([pa.field("hand_id", pa.uint64(), nullable=False)])
_SCHEMAS: Final = {HANDS_FILE: HANDS_SCHEMA, ITEMS_FILE: ITEMS_SCHEMA}

# Keypoints are noise to a compressor: stored plainly they load at the speed of the disk.
HANDS_COMPRESSION: Final = {
    name: "none" if name in ("box_px", "keypoints") else "zstd" for name in HANDS_SCHEMA.names
}


def parts_directory(pool: Path) -> Path:
    """Where the parts of a pool lie."""
    return pool / "parts"


def part_number(part: Path) -> int:
    """The number of a part, the same for all its generations."""
    return int(part.name.partition(".")[0])


def part_generation(part: Path) -> int:
    """How often a part was rewritten."""
    return int(part.name.partition(".")[2] or 0)


def all_generations(pool: Path) -> list[Path]:
    """The complete parts in the order they were written, the generations of each from first to last."""
    parts = (part for part in parts_directory(pool).iterdir() if re.fullmatch(r"\d+(\.\d+)?", part.name))
    return sorted(parts, key=lambda part: (part_number(part), part_generation(part)))


def published_parts(pool: Path) -> list[Path]:
    """The complete parts in the order they were written, each in its latest generation."""
    return list({part_number(part): part for part in all_generations(pool)}.values())


@contextmanager
def reading(pool: Path) -> Iterator[list[Path]]:
    """Yield the published parts; until the block ends nobody deletes them, whatever takes their place."""
    lock = _lock_for_reading(pool)
    try:
        yield published_parts(pool)
    finally:
        if lock is not None:
            lock.leave_to_child()  # closed, not unlocked: a forked process may read on


def _lock_for_reading(pool: Path) -> FileLock | None:
    """None where the disk is read-only or has no locks: there, parts are not rewritten either."""
    try:
        try:
            lock = FileLock(pool / READERS_FILE, create=False)
        except FileNotFoundError:
            lock = FileLock(pool / READERS_FILE)
    except OSError as error:
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            return None
        raise
    try:
        lock.acquire(shared=True, wait=True)
    except OSError:
        lock.leave_to_child()
        return None
    return lock


def read_columns(
    part: Path, file: str, columns: list[str] | None, as_dictionary: Sequence[str] = ()
) -> pa.Table:
    """Columns (None: all) of one part's table, some left dictionary-encoded; removed hands are there, too.

    Raises HandsimError for a damaged part.
    """
    try:
        with pq.ParquetFile(part / file, read_dictionary=list(as_dictionary), memory_map=True) as parquet:
            table = parquet.read(columns=columns, use_threads=False)
            rows = parquet.metadata.num_rows
    except (OSError, pa.ArrowException) as error:
        raise damaged(part, str(error)) from error
    for name in columns or ():
        if name not in table.column_names:
            column = _SCHEMAS[file].field(name)
            if not column.nullable:
                raise damaged(part, f"{file} has no column {name}")
            table = table.append_column(column, pa.nulls(rows, column.type))
    return table if columns is None else table.select(columns)


def row_count(part: Path, file: str) -> int:
    """Rows of one part's table, from its footer; raises HandsimError for a damaged part."""
    try:
        return int(pq.read_metadata(part / file).num_rows)
    except (OSError, pa.ArrowException) as error:
        raise damaged(part, str(error)) from error


def read_removed(pool: Path) -> NDArray[np.uint64]:
    """Ids of the removed hands, rising; raises HandsimError for a file that cannot be read."""
    file = pool / REMOVED_FILE
    try:
        with pq.ParquetFile(file) as parquet:  # not `read_table`, which loads pandas
            return np.sort(parquet.read(columns=["hand_id"], use_threads=False)["hand_id"].to_numpy())
    except FileNotFoundError:
        return np.empty(0, dtype=np.uint64)
    except (OSError, KeyError, pa.ArrowException) as error:
        raise HandsimError(
            f"{file} is damaged ({str(error).splitlines()[0][:120]}); without it all removed hands are back: "
            f"restore it from a backup, or delete it"
        ) from error


def are_removed(hand_ids: NDArray[np.uint64], removed: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """[N] of which hands are among those that `read_removed` gives."""
    if not removed.size:
        return np.zeros(len(hand_ids), dtype=np.bool_)
    places = np.searchsorted(removed, hand_ids)
    found: NDArray[np.bool_] = removed[np.minimum(places, len(removed) - 1)] == hand_ids
    return found


def read_hands(
    part: Path, columns: list[str], removed: NDArray[np.uint64], as_dictionary: Sequence[str] = ()
) -> pa.Table:
    """Columns of the hands of one part without the removed ones; raises HandsimError for a damaged part."""
    if not removed.size:
        return read_columns(part, HANDS_FILE, columns, as_dictionary)
    table = read_columns(part, HANDS_FILE, list({*columns, "hand_id"}), as_dictionary)
    is_kept = ~are_removed(table["hand_id"].to_numpy(), removed)
    return (table if is_kept.all() else table.filter(pa.array(is_kept))).select(columns)


def hand_count(part: Path, removed: NDArray[np.uint64]) -> int:
    """Hands of one part without the removed ones; raises HandsimError for a damaged part."""
    return len(read_hands(part, ["hand_id"], removed)) if removed.size else row_count(part, HANDS_FILE)


def count_hands(pool: Path) -> int:
    """How many hands a pool holds just now, without reading them.

    Raises NotThereError when there is no pool, HandsimError for a damaged part.
    """
    read_pool_json(pool)
    with reading(pool) as parts:
        removed = read_removed(pool)
        return sum(hand_count(part, removed) for part in parts)


def damaged(part: Path, why: str) -> HandsimError:
    """The error for a part that cannot be read."""
    return HandsimError(
        f"part {part.name} of the pool {part.parent.parent} is damaged ({why.splitlines()[0][:120]}); "
        f"move {part} away and ingest again: its hands are taken anew"
    )


def with_column(hands: pa.Table, name: str, values: Sequence[object]) -> pa.Table:
    """The table with other values in one of its columns."""
    place = hands.schema.get_field_index(name)
    field = hands.schema.field(place)
    return hands.set_column(place, field, pa.array(values, field.type))


def write_hands(hands: pa.Table, part: Path) -> None:
    """Write the table of a part's hands."""
    compression = {name: HANDS_COMPRESSION.get(name, "zstd") for name in hands.column_names}
    pq.write_table(hands, part / HANDS_FILE, compression=compression)


def write_pool_json(
    pool: Path, crop_size_px: int, version: int = 1, crop_enlargement: float = CROP_ENLARGEMENT
) -> None:
    """Mark a directory as a pool."""
    content = {
        "format": "handsim-pool",
        "version": version,
        "crop_size_px": crop_size_px,
        "crop_enlargement": crop_enlargement,
    }
    write_text_atomically(pool / POOL_FILE, json.dumps(content, indent=1) + "\n")
    sync(pool)


def raise_version(pool: Path, version: int) -> None:
    """Have a handsim that does not know this version refuse the pool, before it gets what came with that."""
    if read_version(pool) < version:
        write_pool_json(pool, read_pool_json(pool), version, read_crop_enlargement(pool))


def can_begin_at(pool: Path) -> bool:
    """Whether a pool can be begun at a place: nothing is there, or what a process killed at that left.

    That is an empty ``parts``, the lock, and a ``pool.json`` that is empty or has not got its name yet.
    """
    if not pool.is_dir():
        return not pool.exists()
    names = {path.name for path in pool.iterdir() if not path.name.startswith(f".{POOL_FILE}.")}
    if names - {POOL_FILE, LOCK_FILE, "parts"}:
        return False
    if POOL_FILE in names and (pool / POOL_FILE).stat().st_size:
        return False
    return "parts" not in names or not published_parts(pool)


def sync_directory(directory: Path) -> None:
    """Have the disk hold a directory and the files in it."""
    for file in directory.iterdir():
        sync(file)
    sync(directory)


def read_pool_json(pool: Path) -> int:
    """Check that a directory is a pool this version can read and return its crop size in pixels."""
    return _read_pool_json(pool)[1]


def read_crop_enlargement(pool: Path) -> float:
    """Side of a pool's pictures in longer sides of the hand's box; raises as `read_pool_json`."""
    return _read_pool_json(pool)[2]


def read_version(pool: Path) -> int:
    """The version of a pool's format; raises as `read_pool_json`."""
    return _read_pool_json(pool)[0]


def _read_pool_json(pool: Path) -> tuple[int, int, float]:
    if not pool.exists():
        raise NotThereError(f"there is no pool at {pool}; `handsim ingest PATH` makes one")
    try:
        content = json.loads((pool / POOL_FILE).read_text())
        name, version, crop_size_px = content["format"], int(content["version"]), int(content["crop_size_px"])
        # Earlier versions do not say it, and had no other.
        enlargement = float(content.get("crop_enlargement", CROP_ENLARGEMENT))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HandsimError(f"{pool} is not a pool (its pool.json is missing or damaged: {error})") from error
    if name != "handsim-pool":
        raise HandsimError(f"{pool} was written by another program (pool.json says {name!r})")
    if version > FORMAT_VERSION:
        raise HandsimError(
            f"{pool} has format {version}, this handsim reads up to {FORMAT_VERSION}; upgrade handsim"
        )
    return version, crop_size_px, enlargement

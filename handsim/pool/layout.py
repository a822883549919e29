"""How a pool lies on disk. Versions 1 and 2:

    pool/pool.json                   format version and crop size
    pool/.lock                       locked by the one process that writes
    pool/parts/000000/hands.parquet  one row per hand, keypoints included
    pool/parts/000000/crops.tar      the crops, <hand_id>.jpg, uncompressed (WebDataset reads it)
    pool/parts/000000/items.parquet  what was looked at to get them, and what could not be used
    pool/parts/.000001.writing/      the part being written; renamed when complete, or thrown away

A part appears by one rename, so readers see all of it or nothing. Parts that were written before a nullable
column was there lack it, and read as null.

Version 2 has hands with unlabelled joints, whose keypoints are NaN. A pool is version 1 until the first of
them comes: an earlier handsim reads it up to there, and then says that it has to be upgraded.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from handsim.errors import HandsimError, NotThereError
from handsim.files import sync, write_text_atomically
from handsim.skeleton import JOINT_COUNT

FORMAT_VERSION: Final = 2
HANDS_FILE: Final = "hands.parquet"
CROPS_FILE: Final = "crops.tar"
ITEMS_FILE: Final = "items.parquet"
LOCK_FILE: Final = ".lock"
POOL_FILE: Final = "pool.json"

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
    ]
)

_SKIP: Final = pa.struct(
    {"file": pa.string(), "reason": pa.string(), "detail": pa.string(), "count": pa.int32()}.items()
)
ITEMS_SCHEMA: Final = pa.schema(
    [
        pa.field("key", pa.uint64(), nullable=False),
        pa.field("pictures", pa.int32(), nullable=False),
        pa.field("hands", pa.int32(), nullable=False),
        pa.field("skipped", pa.list_(_SKIP), nullable=False),
    ]
)

_SCHEMAS: Final = {HANDS_FILE: HANDS_SCHEMA, ITEMS_FILE: ITEMS_SCHEMA}

# Keypoints are noise to a compressor: stored plainly they load at the speed of the disk.
HANDS_COMPRESSION: Final = {
    name: "none" if name in ("box_px", "keypoints") else "zstd" for name in HANDS_SCHEMA.names
}


def parts_directory(pool: Path) -> Path:
    """Where the parts of a pool lie."""
    return pool / "parts"


def published_parts(pool: Path) -> list[Path]:
    """The complete parts, in the order they were written."""
    return sorted(part for part in parts_directory(pool).iterdir() if part.name.isdigit())


def read_columns(part: Path, file: str, columns: list[str], as_dictionary: Sequence[str] = ()) -> pa.Table:
    """Columns of one part's table, some left dictionary-encoded; raises HandsimError for a damaged part."""
    try:
        with pq.ParquetFile(part / file, read_dictionary=list(as_dictionary), memory_map=True) as parquet:
            table = parquet.read(columns=columns, use_threads=False)
            rows = parquet.metadata.num_rows
    except (OSError, pa.ArrowException) as error:
        raise damaged(part, str(error)) from error
    for name in columns:
        if name not in table.column_names:
            column = _SCHEMAS[file].field(name)
            if not column.nullable:
                raise damaged(part, f"{file} has no column {name}")
            table = table.append_column(column, pa.nulls(rows, column.type))
    return table.select(columns)


def row_count(part: Path, file: str) -> int:
    """Rows of one part's table, from its footer; raises HandsimError for a damaged part."""
    try:
        return int(pq.read_metadata(part / file).num_rows)
    except (OSError, pa.ArrowException) as error:
        raise damaged(part, str(error)) from error


def count_hands(pool: Path) -> int:
    """How many hands a pool holds just now, without reading them.

    Raises NotThereError when there is no pool, HandsimError for a damaged part.
    """
    read_pool_json(pool)
    return sum(row_count(part, HANDS_FILE) for part in published_parts(pool))


def damaged(part: Path, why: str) -> HandsimError:
    """The error for a part that cannot be read."""
    return HandsimError(
        f"part {part.name} of the pool {part.parent.parent} is damaged ({why.splitlines()[0][:120]}); "
        f"move {part} away and ingest again: its hands are taken anew"
    )


def write_pool_json(pool: Path, crop_size_px: int, version: int = 1) -> None:
    """Mark a directory as a pool."""
    content = {"format": "handsim-pool", "version": version, "crop_size_px": crop_size_px}
    write_text_atomically(pool / POOL_FILE, json.dumps(content, indent=1) + "\n")
    sync(pool)


def upgrade_pool_json(pool: Path) -> None:
    """Have earlier versions of handsim refuse the pool, which is about to hold what they do not know."""
    if read_version(pool) < FORMAT_VERSION:
        write_pool_json(pool, read_pool_json(pool), FORMAT_VERSION)


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


def read_version(pool: Path) -> int:
    """The version of a pool's format; raises as `read_pool_json`."""
    return _read_pool_json(pool)[0]


def _read_pool_json(pool: Path) -> tuple[int, int]:
    if not pool.exists():
        raise NotThereError(f"there is no pool at {pool}; `handsim ingest PATH` makes one")
    try:
        content = json.loads((pool / POOL_FILE).read_text())
        name, version, crop_size_px = content["format"], int(content["version"]), int(content["crop_size_px"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HandsimError(f"{pool} is not a pool (its pool.json is missing or damaged: {error})") from error
    if name != "handsim-pool":
        raise HandsimError(f"{pool} was written by another program (pool.json says {name!r})")
    if version > FORMAT_VERSION:
        raise HandsimError(
            f"{pool} has format {version}, this handsim reads up to {FORMAT_VERSION}; upgrade handsim"
        )
    return version, crop_size_px

"""Writing a pool: append-only, one process at a time, each part published by one rename.

Beside its hands, a pool records the items that an ingest has done, so that a later one leaves them out.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from handsim.errors import HandsimError
from handsim.geometry import CROP_ENLARGEMENT, CROP_SIZE_PX, rescale_keypoints
from handsim.hand import Hand
from handsim.pool import layout
from handsim.pool.crops import TarWriter
from handsim.pool.generations import clear_remains, lock_pool, publish

UNREADABLE: Final = "unreadable"
CRASHED: Final = "crashed a worker"
FAILED: Final = "failed"
DETECTOR_FAILED: Final = "detector failed"
FAILURES: Final = (UNREADABLE, CRASHED, FAILED, DETECTOR_FAILED)
"""Reasons that another try may not meet: a disk that was not mounted, memory that ran out."""


@dataclass(frozen=True)
class Skip:
    """Something that could not be used, and why."""

    file: str
    """The file's path below the folder that was ingested."""
    reason: str
    """A short class of reasons: ``no hand``, ``not an image``, ``truncated video``."""
    detail: str = ""
    count: int = 1
    """How many pictures of this file it concerns (frames of a video)."""


@dataclass(frozen=True)
class FileRecord:
    """The file of a piece of work: by it a later ingest knows the file again, moved or named otherwise."""

    path: bytes
    """Absolute, as the file system holds it."""
    size: int
    digest: str
    """The content as the ids of its hands have it; see `make_hand_id`."""
    content: str
    """Digest of the whole file, or of many places of a video."""
    outcome: int
    """63-bit hash of the content and of all options that decide what is taken from it; names are no such."""
    identity: str
    """The video name in the ids of its hands, which stays when they are renamed."""
    video: str
    """The video name that was asked for."""
    label: str | None


@dataclass(frozen=True)
class ItemRecord:
    """One piece of work that is done: a picture, a stretch of video, a batch of annotations."""

    key: int
    """63-bit hash of the file and of everything that decides what is taken from it."""
    pictures: int
    """Pictures or frames looked at."""
    hands: int
    skipped: tuple[Skip, ...] = ()
    remarks: tuple[Skip, ...] = ()
    """What is wrong with what was used all the same."""
    hand_ids: tuple[int, ...] | None = None
    """The hands that were found, whether or not the pool had them; None: recorded by an earlier version."""
    file: FileRecord | None = None
    tracks: str | None = None
    """Of a stretch of video, with what the tracks of the next one go on; see `handsim.ingest.tracks`."""


def read_items(pool: Path) -> Iterator[ItemRecord]:
    """The recorded pieces of work behind a pool; raises HandsimError for a damaged part."""
    with layout.reading(pool) as parts:
        for part in parts:
            for row in layout.read_columns(part, layout.ITEMS_FILE, layout.ITEMS_SCHEMA.names).to_pylist():
                for name in ("skipped", "remarks"):
                    row[name] = tuple(Skip(**skip) for skip in row[name] or ())
                row["hand_ids"] = None if row["hand_ids"] is None else tuple(row["hand_ids"])
                row["file"] = None if row["file"] is None else FileRecord(**row["file"])
                yield ItemRecord(**row)


_COMPUTED_COLUMNS: Final = ("keypoints", "joints_mm", "crop_offset", "crop_bytes", "joint_mask")
_PLAIN_COLUMNS: Final = tuple(name for name in layout.HANDS_SCHEMA.names if name not in _COMPUTED_COLUMNS)


def _as_row(record: ItemRecord) -> dict[str, Any]:
    """A record as plain values; `asdict` takes as long as all else that is done for a picture here."""
    row = dict(vars(record))
    row["skipped"], row["remarks"] = list(map(vars, record.skipped)), list(map(vars, record.remarks))
    row["file"] = None if record.file is None else vars(record.file)
    return row


class PoolWriter:
    """Appends hands to a pool; use it as a context manager.

    Hands are collected into a part and become visible together when it is published: after
    ``part_hands`` hands, after ``part_seconds`` seconds, and at the end. A killed writer loses
    the part it was writing and nothing else; the next one clears its remains away.
    """

    known_items: set[int]
    """Keys of the items that need no second look: recorded, and not failed (`FAILURES`)."""
    removed_found: int
    """Hands that were to be added again after people had removed them: they stay out."""
    crop_enlargement: float
    """Side of the pool's pictures, in longer sides of the hand's box: the same for all that are added."""

    def __init__(
        self,
        path: str | Path,
        *,
        crop_size_px: int = CROP_SIZE_PX,
        crop_enlargement: float = CROP_ENLARGEMENT,
        part_hands: int = 8192,
        part_seconds: float = 60.0,
    ) -> None:
        """Open a pool for writing, making it when it is not there: then its pictures have that enlargement.

        Raises HandsimError when another process writes to it, or when ``path`` is something else.
        """
        self.path = Path(path)
        self._part_hands, self._part_seconds = part_hands, part_seconds
        if not layout.can_begin_at(self.path):
            _check_crop_size(self.path, crop_size_px)
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = lock_pool(self.path)
        try:
            if layout.can_begin_at(self.path):
                layout.parts_directory(self.path).mkdir(exist_ok=True)
                layout.write_pool_json(self.path, crop_size_px, crop_enlargement=crop_enlargement)
            _check_crop_size(self.path, crop_size_px)  # another writer may have made it just now
            self.crop_enlargement = layout.read_crop_enlargement(self.path)
            clear_remains(self.path)
            parts = layout.published_parts(self.path)
            self._known_hands, self.known_items = _read_known(parts)
            self._removed = set(layout.read_removed(self.path).tolist())
            self._known_hands -= self._removed
        except BaseException:
            self._lock.release()
            raise
        self._next_part = layout.part_number(parts[-1]) + 1 if parts else 0
        self.removed_found = 0
        self._start_part()

    def _start_part(self) -> None:
        self._rows: list[dict[str, Any]] = []
        self._items: list[dict[str, Any]] = []
        self._tar: TarWriter | None = None
        self._part_started = time.monotonic()

    @property
    def _writing(self) -> Path:
        return layout.parts_directory(self.path) / f".{self._next_part:06d}.writing"

    @property
    def hand_count(self) -> int:
        """Hands in the pool, those not yet published included."""
        return len(self._known_hands)

    def add(self, hand: Hand, crop_jpeg: bytes | None = None) -> bool:
        """Append one hand and its picture (None: keypoints only), which shows as much as `crop_enlargement`
        says; the hand's keypoints are those of SiMHand's crop all the same.

        False, and no change, if it is known or was removed.
        """
        is_new = self._append(hand, crop_jpeg)
        self._publish_if_due()
        return is_new

    def add_item(self, record: ItemRecord, hands: Sequence[tuple[Hand, bytes | None]]) -> int:
        """Append all hands of a finished piece of work and record it; returns how many were new.

        Hands and record land in the same part, so a killed run can neither lose nor repeat them.
        """
        new = sum(self._append(hand, crop_jpeg) for hand, crop_jpeg in hands)
        self.known_items.add(record.key)
        self._items.append(_as_row(record))
        self._publish_if_due()
        return new

    def _append(self, hand: Hand, crop_jpeg: bytes | None) -> bool:
        if hand.hand_id in self._known_hands:
            return False
        if hand.hand_id in self._removed:
            self.removed_found += 1
            return False
        self._known_hands.add(hand.hand_id)
        offset, size = self._append_crop(hand.hand_id, crop_jpeg)
        self._rows.append(
            {
                **{name: getattr(hand, name) for name in _PLAIN_COLUMNS},
                "keypoints": rescale_keypoints(
                    hand.keypoints, CROP_ENLARGEMENT, self.crop_enlargement
                ).reshape(-1),
                "joints_mm": None if hand.joints_mm is None else hand.joints_mm.reshape(-1),
                "crop_offset": offset,
                "crop_bytes": size,
                "joint_mask": None if hand.joint_mask.all() else hand.joint_mask,
            }
        )
        return True

    def _append_crop(self, hand_id: int, crop_jpeg: bytes | None) -> tuple[int, int]:
        if crop_jpeg is None:
            return -1, 0
        if self._tar is None:
            self._writing.mkdir(exist_ok=True)
            self._tar = TarWriter(self._writing)
        return self._tar.add(hand_id, crop_jpeg), len(crop_jpeg)

    def _publish_if_due(self) -> None:
        waited_s = time.monotonic() - self._part_started
        if len(self._rows) >= self._part_hands or waited_s >= self._part_seconds:
            self.publish()

    def publish(self) -> None:
        """Make what was added so far visible to readers, and safe from a crash or a power cut."""
        if self._rows or self._items:
            self._writing.mkdir(exist_ok=True)
            if self._tar is not None:
                self._tar.close()
            hands = _table(self._rows, layout.HANDS_SCHEMA)
            items = _table(self._items, layout.ITEMS_SCHEMA)
            if hands["joint_mask"].null_count < len(hands):
                layout.raise_version(self.path, 2)
            if "unknown" in hands["side"].unique().to_pylist():
                layout.raise_version(self.path, 3)
            layout.write_hands(hands, self._writing)
            pq.write_table(items, self._writing / layout.ITEMS_FILE, compression="zstd")
            publish(self._writing, layout.parts_directory(self.path) / f"{self._next_part:06d}")
            self._next_part += 1
        self._start_part()

    def close(self) -> None:
        """Publish what is left and let the next writer in."""
        try:
            self.publish()
        finally:
            self._lock.release()

    def __enter__(self) -> "PoolWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _table(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    try:
        return pa.Table.from_pylist(rows, schema=schema)
    except UnicodeEncodeError:  # names of files are bytes, and Python holds those that are not UTF-8 as well
        return pa.Table.from_pylist([_escape(row) for row in rows], schema=schema)


def _escape(value: Any) -> Any:
    """A value whose texts are UTF-8: other bytes become ``\\xff``, half of a character ``\\ud83d``."""
    match value:
        case str():
            try:
                encoded = value.encode("utf-8", "surrogateescape")
            except UnicodeEncodeError:
                encoded = value.encode("utf-8", "backslashreplace")
            return encoded.decode("utf-8", "backslashreplace")
        case dict():
            return {name: _escape(item) for name, item in value.items()}
        case list() | tuple():
            return [_escape(item) for item in value]
    return value


def _check_crop_size(pool: Path, crop_size_px: int) -> None:
    size_px = layout.read_pool_json(pool)
    if size_px != crop_size_px:
        raise HandsimError(f"{pool} holds {size_px} px crops, not {crop_size_px} px; use another pool")


def _read_known(parts: Sequence[Path]) -> tuple[set[int], set[int]]:
    """Ids of the published hands, and keys of the published items that did not fail."""
    hands: set[int] = set()
    items: set[int] = set()
    for part in parts:
        hands.update(layout.read_columns(part, layout.HANDS_FILE, ["hand_id"])["hand_id"].to_pylist())
        table = layout.read_columns(part, layout.ITEMS_FILE, ["key", "skipped"])
        items.update(table["key"].to_numpy()[is_done(table)].tolist())
    return hands, items


def is_done(items: pa.Table) -> NDArray[np.bool_]:
    """[N] of which items, by their skips, another try would find nothing more (`FAILURES`)."""
    skipped = items["skipped"].combine_chunks()
    has_failed = pc.is_in(pc.struct_field(skipped.flatten(), "reason"), pa.array(FAILURES))
    done = np.ones(len(items), dtype=np.bool_)
    done[pc.list_parent_indices(skipped).filter(has_failed).to_numpy()] = False
    return done

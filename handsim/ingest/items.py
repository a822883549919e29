"""Items of work, small enough to share out and to lose, and what comes of them.

`ItemKeys` are hashes of all that decides what comes of an item; a later run knows by them what is done.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from handsim.annotations import Annotation
from handsim.detection.detector import Detection, UndetectedError
from handsim.errors import Remark, UnusableError
from handsim.hand import MAX_HAND_ID, Hand
from handsim.hashing import hash64
from handsim.ingest.origins import Origin
from handsim.pool.writer import DETECTOR_FAILED, FAILED, FAILURES, UNREADABLE, FileRecord, Skip
from handsim.tars import TarMember


class ItemKeys(NamedTuple):
    """Under what an item is recorded as done; each is 63 bits."""

    key: int
    """Equal for the same work in a later run."""
    former: tuple[int, ...]
    """Under what earlier versions may have recorded it: without the detector, but with its names."""


@dataclass(frozen=True)
class _FileItem:
    """One picture file, or a stretch of one video file."""

    keys: ItemKeys
    path: Path
    """Absolute, without links."""
    size: int
    """Bytes."""
    origin: Origin
    work: str
    """All options that decide what is taken from it; with the content they are its `outcome`."""

    def outcome(self, content: str) -> int:
        """63-bit hash of what comes of it: of the file's content, and of the work."""
        return hash64(f"{content} {self.work}".encode()) & MAX_HAND_ID


@dataclass(frozen=True)
class PictureItem(_FileItem):
    """One picture file, or a picture in a tar: its path is then that in the tar, as if it were a folder."""

    pictures: int = 1
    member: TarMember | None = None
    """Where it lies in a tar."""
    hand: Hand | None = None
    """The hand that it is the crop of, where a pool exported it."""

    @property
    def source(self) -> Path | TarMember:
        """What to read."""
        return self.member or self.path


@dataclass(frozen=True)
class VideoItem(_FileItem):
    """A stretch of one video or animation."""

    is_animation: bool
    samples_per_s: float
    start: int
    """First sample."""
    stop: int | None
    """Sample after the last; None: to the end of the file."""
    pictures: int
    """How many samples the header lets one expect."""
    digest: str
    """The content, as ids have it."""
    content: str
    """Digest of many places of the file."""


class AnnotationRow(NamedTuple):
    """One annotated hand, and where it comes from."""

    annotation: Annotation
    picture: Path | None
    """None: its keypoints alone go into the pool."""
    origin: Origin
    hand_id: int


@dataclass(frozen=True, eq=False)
class AnnotationItem:
    """A batch of annotations, each with the path of its picture."""

    keys: ItemKeys
    rows: tuple[AnnotationRow, ...]

    @property
    def pictures(self) -> int:
        """How many hands it names."""
        return len(self.rows)

    @property
    def has_pictures(self) -> bool:
        """Whether pictures are to be opened for it."""
        return any(row.picture is not None for row in self.rows)

    @property
    def origins(self) -> list[Origin]:
        """Of each annotation."""
        return [row.origin for row in self.rows]


FileItem = PictureItem | VideoItem
Item = FileItem | AnnotationItem


@dataclass(eq=False)
class ItemResult:
    """What came of one item."""

    key: int
    pictures: int = 0
    """Pictures or frames looked at."""
    hands: list[tuple[Hand, bytes | None]] = field(default_factory=list)
    """Hands and their crops as JPEG (None: keypoints alone)."""
    skipped: list[Skip] = field(default_factory=list)
    remarks: list[Skip] = field(default_factory=list)
    """What is wrong with what was used all the same."""
    stages: Counter[str] = field(default_factory=Counter)
    """How many hands each try of the detector found."""
    detectors: Counter[str] = field(default_factory=Counter)
    """How many hands each detector found."""
    digest: str = ""
    """Of a picture's file."""
    frames: list[tuple[float, list[Detection]]] = field(default_factory=list)
    """Of a video: the time of each frame in seconds, and what was found in it: the hands, in their order."""
    tracks: str | None = None
    """Of a video: with what the next stretch goes on; see `handsim.ingest.tracks`."""

    @property
    def has_failed(self) -> bool:
        """Whether another try may find more; see `FAILURES`."""
        return any(skip.reason in FAILURES for skip in self.skipped)

    def count(self, detection: Detection) -> None:
        """Count a hand by what found it."""
        self.stages[detection.stage] += 1
        self.detectors[detection.detector] += 1

    def add_remarks(self, file: str, remarks: Iterable[Remark]) -> None:
        """Note what is wrong with a file that was used all the same."""
        self.remarks += [Skip(file, remark.reason, remark.detail, remark.count) for remark in remarks]


def record_file(item: FileItem, picture_digest: str) -> FileRecord:
    """What a pool records of the file of an item; a video's digests come with the item."""
    digest, content = (
        (item.digest, item.content) if isinstance(item, VideoItem) else (picture_digest, picture_digest)
    )
    return FileRecord(
        os.fsencode(item.path),
        item.size,
        digest,
        content,
        item.outcome(content),
        item.origin.identity,
        item.origin.video,
        item.origin.label,
    )


def file_keys(
    path: Path, size: int, time_ns: int, work: Sequence[Any], former: Iterable[Sequence[Any]]
) -> ItemKeys:
    """Keys of the work on a file: its place, size and time, and every option that decides the outcome.

    A file that was replaced has other keys and is looked at again. ``former`` are the details that earlier
    versions hashed in place of ``work``.
    """
    identity = [str(path), size, time_ns]
    return ItemKeys(_hash([*identity, *work]), tuple(_hash([*identity, *details]) for details in former))


def _hash(values: Sequence[Any]) -> int:
    return hash64(json.dumps(values).encode()) & MAX_HAND_ID


def describe_failure(file: str, error: Exception) -> Skip:
    """What the report says of a file that could not be used."""
    if isinstance(error, UnusableError):
        return Skip(file, error.reason, error.detail)
    if isinstance(error, UndetectedError):
        return Skip(file, DETECTOR_FAILED, str(error))
    if isinstance(error, OSError):
        return Skip(file, UNREADABLE, error.strerror or str(error))
    return Skip(file, FAILED, f"{type(error).__name__}: {error}")

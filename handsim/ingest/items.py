"""Items of work, small enough to share out and to lose, and what comes of them.

`ItemKeys` are hashes of all that decides what comes of an item; a later run knows by them what is done.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from handsim.annotations import Annotation
from handsim.errors import UnusableError
from handsim.hand import MAX_HAND_ID, Hand
from handsim.hashing import hash64
from handsim.ingest.origins import Origin
from handsim.pool.writer import FAILED, FAILURES, UNREADABLE, Skip


class ItemKeys(NamedTuple):
    """Under what an item is recorded as done; each is 63 bits."""

    key: int
    """Equal for the same work in a later run."""
    key_v1: int
    """Under what earlier versions recorded it: without the detector and the details of annotations."""


@dataclass(frozen=True)
class PictureItem:
    """One picture file."""

    keys: ItemKeys
    path: Path
    origin: Origin
    pictures: int = 1


@dataclass(frozen=True)
class VideoItem:
    """A stretch of one video file."""

    keys: ItemKeys
    path: Path
    origin: Origin
    samples_per_s: float
    start: int
    """First sample."""
    stop: int | None
    """Sample after the last; None: to the end of the file."""
    pictures: int
    """How many samples the header lets one expect."""


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


Item = PictureItem | VideoItem | AnnotationItem


@dataclass(eq=False)
class ItemResult:
    """What came of one item."""

    key: int
    pictures: int = 0
    """Pictures or frames looked at."""
    hands: list[tuple[Hand, bytes | None]] = field(default_factory=list)
    """Hands and their crops as JPEG (None: keypoints alone)."""
    skipped: list[Skip] = field(default_factory=list)
    stages: Counter[str] = field(default_factory=Counter)
    """How many hands each try of the detector found."""

    @property
    def has_failed(self) -> bool:
        """Whether another try may find more; see `FAILURES`."""
        return any(skip.reason in FAILURES for skip in self.skipped)


def item_keys(path: Path, details: Sequence[Any], more_details: Sequence[Any]) -> ItemKeys:
    """Keys of the work on a file: its place, size and time, and every detail that decides the outcome.

    A file that was replaced has other keys and is looked at again. Earlier versions left out
    ``more_details``. Raises OSError for a file that is gone.
    """
    status = path.stat()
    identity = [str(path.resolve()), status.st_size, status.st_mtime_ns, *details]
    key, key_v1 = (
        hash64(json.dumps(values).encode()) & MAX_HAND_ID for values in ([*identity, *more_details], identity)
    )
    return ItemKeys(key, key_v1)


def describe_failure(file: str, error: Exception) -> Skip:
    """What the report says of a file that could not be used."""
    if isinstance(error, UnusableError):
        return Skip(file, error.reason, error.detail)
    if isinstance(error, OSError):
        return Skip(file, UNREADABLE, error.strerror or str(error))
    return Skip(file, FAILED, f"{type(error).__name__}: {error}")

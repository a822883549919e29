"""Items of work, small enough to share out and to lose, and what comes of them.

`ItemKeys` are hashes of all that decides what comes of an item; a later run knows by them what is done.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from handsim.errors import UnusableError
from handsim.hand import MAX_HAND_ID, Hand
from handsim.hashing import hash64
from handsim.ingest.hand100m import Annotation, BadAnnotation
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


@dataclass(frozen=True, eq=False)
class AnnotationItem:
    """A batch of Hand100M annotations, each with the path of its picture."""

    keys: ItemKeys
    annotations: tuple[tuple[Annotation | BadAnnotation, Path, Origin], ...]

    @property
    def pictures(self) -> int:
        """How many hands it names."""
        return len(self.annotations)


Item = PictureItem | VideoItem | AnnotationItem


@dataclass(eq=False)
class ItemResult:
    """What came of one item."""

    key: int
    pictures: int = 0
    """Pictures or frames looked at."""
    hands: list[tuple[Hand, bytes]] = field(default_factory=list)
    """Hands and their crops as JPEG."""
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

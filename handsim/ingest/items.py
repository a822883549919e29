"""The pieces of work an ingest is cut into, small enough to share out and to lose."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from handsim.hand import MAX_HAND_ID, Hand
from handsim.media.hand100m import Annotation, BadAnnotation
from handsim.pool import Skip


@dataclass(frozen=True)
class Naming:
    """What the hands of one file are called."""

    file: str
    """Path below the folder that was ingested, that folder included; for people."""
    source: str
    video: str
    label: str | None
    frame: int
    """The number in the file's name; frames of a video have their own."""


@dataclass(frozen=True)
class PictureItem:
    """One picture file."""

    key: int
    """Equal for the same work in a later run; see `item_key`."""
    path: Path
    naming: Naming

    @property
    def pictures(self) -> int:
        """How many pictures it holds."""
        return 1


@dataclass(frozen=True)
class VideoItem:
    """A stretch of one video file."""

    key: int
    path: Path
    naming: Naming
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

    key: int
    annotations: tuple[tuple[Annotation | BadAnnotation, Path, Naming], ...]

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
    """What could not be used."""
    rungs: dict[str, int] = field(default_factory=dict)
    """How many hands each try of the detector's ladder found."""


def item_key(path: Path, *details: str | float | None) -> int:
    """63-bit key of the work on a file: its place, size and time, and every detail that decides the outcome.

    A file that was replaced has another key and is looked at again. Raises OSError for a file that is gone.
    """
    status = path.stat()
    identity = json.dumps([str(path.resolve()), status.st_size, status.st_mtime_ns, *details])
    return int.from_bytes(hashlib.blake2b(identity.encode(), digest_size=8).digest(), "big") & MAX_HAND_ID

"""What a pool remembers about the files it was made from."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from handsim.pool import layout


@dataclass(frozen=True)
class Skip:
    """Something that could not be used, and why."""

    file: str
    """The file's path below the folder that was ingested."""
    reason: str
    """A short class of reasons: ``no hand``, ``not an image``, ``truncated video``."""
    detail: str = ""
    """What exactly was seen."""
    count: int = 1
    """How many pictures of this file it concerns (frames of a video)."""


@dataclass(frozen=True)
class ItemRecord:
    """One piece of work that is done: a picture, a stretch of video, a batch of annotations."""

    key: int
    """63-bit hash of the file and of everything that decides what is taken from it."""
    pictures: int
    """Pictures or frames looked at."""
    hands: int
    """Hands taken from it."""
    skipped: tuple[Skip, ...] = ()
    """What of it could not be used."""


def read_items(pool: Path) -> Iterator[ItemRecord]:
    """The finished pieces of work behind a pool; raises HandsimError for a damaged part."""
    for part in layout.published_parts(pool):
        for row in layout.read_columns(part, layout.ITEMS_FILE, layout.ITEMS_SCHEMA.names).to_pylist():
            yield ItemRecord(**{**row, "skipped": tuple(Skip(**skip) for skip in row["skipped"])})

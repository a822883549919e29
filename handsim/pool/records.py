"""What a pool remembers about the files it was made from."""

from dataclasses import dataclass


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

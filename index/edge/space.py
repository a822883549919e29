"""Full disks: foreseen where that is possible, told in one line where it is not."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from handsim.errors import HandsimError
from index.settings import IndexSettings

# What builds took at their peak, sampled from outside every 3 ms, on ext4: 10,000 hands 6.4 MB with 14
# components and 8.5 MB with 40, 100,000 hands 59 MB, 500,000 hands 297 MB (594 bytes a hand, 208 of the
# difference between 14 and 40 being two copies of the vectors). Adding 10,000 to 90,000 took 80 MB: the copy
# and less than a whole build. In a tmpfs, where reading a hole fills it, 100 hands took 69 MB, 100,000 87 MB.
_BYTES_AT_LEAST: Final = 80_000_000
"""Files that the engine lays out whole, on file systems that do not leave holes."""
_BYTES_PER_HAND: Final = 500
"""A hand's id, payload and place in the payload indexes, before and after it is linked."""
_BYTES_PER_LINK: Final = 4

_SAYS_FULL: Final = ("No space left on device", "Not enough space available", "Disk quota exceeded")


def check_space(
    directory: Path, points: int, dimension: int, settings: IndexSettings, base_bytes: int = 0
) -> None:
    """Raise HandsimError when a directory's disk cannot hold a version of so many hands while it is built.

    ``base_bytes`` are copied there first. The engine maps its files into memory: a disk that fills up
    meanwhile kills the process without a word.
    """
    each = dimension * 4 * 2 + settings.m * _BYTES_PER_LINK + _BYTES_PER_HAND
    needed = _BYTES_AT_LEAST + points * each + base_bytes
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise HandsimError(
            f"the disk of {directory} has {free / 1e6:,.0f} MB free; an index of {points:,} hands needs some "
            f"{needed / 1e6:,.0f} MB while it is built; `handsim index prune`, or name another disk"
        )


@contextmanager
def full_disk_told(directory: Path) -> Iterator[None]:
    """Whatever the system or the engine says of a full disk becomes one HandsimError."""
    try:
        yield
    except Exception as error:
        if isinstance(error, HandsimError) or not any(words in str(error) for words in _SAYS_FULL):
            raise
        raise HandsimError(
            f"the disk of {directory} is full; `handsim index prune`, or make room on it"
        ) from error

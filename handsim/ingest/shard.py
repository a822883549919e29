"""The share of one machine, where several ingest the same files without a word between them.

Each machine chooses its files by hashes of what all of them see alike: of a picture its name and size, of a
video its first bytes, so that the copies of a recording, and its beginning, come to one machine. A folder may
be mounted elsewhere on each, and files may be added later: no file changes its shard for that.
"""

import re
from dataclasses import dataclass
from typing import Final

from handsim.errors import HandsimError
from handsim.hashing import hash64

_SHARD: Final = re.compile(r"(\d{1,9})/(\d{1,9})")


@dataclass(frozen=True)
class Shard:
    """One of ``count`` shares, counted from 1. Raises HandsimError for one that there is not."""

    number: int
    count: int

    def __post_init__(self) -> None:
        if self.count < 1 or not 1 <= self.number <= self.count:
            raise HandsimError(f"there is no shard {self}; of N shards, they are 1/N to N/N")

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read ``3/16``; raises HandsimError for anything else."""
        match = _SHARD.fullmatch(text.strip())
        if match is None:
            raise HandsimError(f"{text!r} is no shard; write which of how many, such as 3/16")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def has(self, *what: object) -> bool:
        """Whether a piece of work is of this shard; of all shards of that count exactly one has it."""
        return hash64(repr(what).encode()) % self.count == self.number - 1

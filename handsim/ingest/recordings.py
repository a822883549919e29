"""Which video files hold the same recording, and by what the ids of its hands know it.

Ids were always made with a digest of a video's first 64 kilobytes: so a recording whose download was cut
short keeps its ids when it is complete. Recordings can begin alike: cameras reserve room in their headers. So
digests of many places are compared as well, and where two recordings of one name begin alike, the ids of the
second are made with both.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from handsim.ingest.known import HEAD_DIGITS, KnownItems
from handsim.ingest.origins import Origin
from handsim.pool.writer import FileRecord
from handsim.tars import TarMember, open_member

_BLOCK_BYTES: Final = 1 << 16
_PLACES: Final = 16
"""Blocks that are compared, the first and the last among them: a megabyte of each video."""


@dataclass(frozen=True)
class Fingerprint:
    """What is compared of a video file."""

    head: str
    """Digest of its first 64 kilobytes."""
    content: str
    """Digest of its size and of blocks all over it."""


@dataclass(frozen=True)
class Recording:
    """What a video file is, among those that are known."""

    digest: str
    """What ids are made with."""
    known: FileRecord | None = None
    """The file that holds the same recording, or its beginning: names and ids go on as there."""
    is_copy: bool = False
    """Whether that file has the same content and is still there."""


def digest_picture(source: Path | TarMember) -> str:
    """The content of a picture, as ids have it: of the whole file; raises OSError."""
    with open_member(source) if isinstance(source, TarMember) else source.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=HEAD_DIGITS // 2)).hexdigest()


def digest_head(path: Path) -> str:
    """Digest of the first 64 kilobytes of a file; raises OSError."""
    with path.open("rb") as file:
        return _digest_head(file.read(_BLOCK_BYTES))


def _digest_head(head: bytes) -> str:
    return hashlib.blake2b(head, digest_size=HEAD_DIGITS // 2).hexdigest()


def take_fingerprint(path: Path, size: int) -> Fingerprint:
    """Of a file, or of its first ``size`` bytes; raises OSError."""
    with path.open("rb") as file:
        digest = hashlib.blake2b(str(size).encode(), digest_size=16)
        head = file.read(min(_BLOCK_BYTES, size))
        digest.update(head)
        for place in range(1, _PLACES):
            start = max(0, size - _BLOCK_BYTES) * place // (_PLACES - 1)
            file.seek(start)
            digest.update(file.read(min(_BLOCK_BYTES, size - start)))
    return Fingerprint(_digest_head(head), digest.hexdigest())


def is_there(path: bytes) -> bool:
    """Whether a file is where a record says; of a file in a tar, whether the tar is."""
    try:
        os.stat(path)
    except NotADirectoryError:
        return True
    except OSError:
        return False
    return True


class Recordings:
    """The recordings of a pool, and of the files that an ingest meets."""

    def __init__(self, known: KnownItems) -> None:
        self._known = known.recordings
        self._met: dict[str, list[FileRecord]] = {}

    def identify(self, path: Path, size: int, print_: Fingerprint, origin: Origin) -> Recording:
        """What a video file is; give smaller files first, so that a beginning comes before the whole."""
        others = [*self._known.get(print_.head, ()), *self._met.get(print_.head, ())]
        recording = self._compare(path, size, print_, origin, others)
        identity = recording.known.identity if recording.known else origin.identity
        self._met.setdefault(print_.head, []).append(
            FileRecord(
                os.fsencode(path),
                size,
                recording.digest,
                print_.content,
                outcome=0,
                identity=identity,
                video=origin.video,
                label=origin.label,
            )
        )
        return recording

    def _compare(
        self, path: Path, size: int, print_: Fingerprint, origin: Origin, others: list[FileRecord]
    ) -> Recording:
        same = [other for other in others if other.content == print_.content]
        if same:
            here = next((other for other in same if other.path == os.fsencode(path)), None)
            there = next((other for other in same if os.path.exists(other.path)), None)
            known = here or there or same[0]
            return Recording(known.digest, known, is_copy=known is there and known is not here)
        for other in others:
            if other.size < size and take_fingerprint(path, other.size).content == other.content:
                return Recording(other.digest, other)
        if any(other.identity == origin.identity for other in others):
            return Recording(f"{print_.head}-{print_.content}")
        return Recording(print_.head)

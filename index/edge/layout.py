"""How an embedded index lies on disk. Version 1:

    index/catalog.json             marks the directory as an index; the number of the newest version
    index/current                  name of the current version, and below it those published before
    index/.lock, .pointer-lock     see `index.edge.locks`
    index/v0001/version.json       what the version is, and the size of every file in its shard
    index/v0001/embedding.json     the embedding it was built with (and its encoder beside it, if it has one)
    index/v0001/shard/             Qdrant Edge's own files, written once
    index/v0001/verification.json  what the last verification found
    index/.building/               a version being built; renamed when complete, or thrown away
    index/.removed-v0001/          a version being removed

A version appears by one rename, disappears by one, and what it answers never changes in between.
"""

import json
import re
import shutil
import zlib
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from handsim.errors import HandsimError, NotThereError
from handsim.files import sync, write_text_atomically
from index.evaluation import Verification
from index.info import IndexSettings, VersionInfo

FORMAT_VERSION: Final = 1
CATALOG_FILE: Final = "catalog.json"
POINTER_FILE: Final = "current"
VERSION_FILE: Final = "version.json"
EMBEDDING_FILE: Final = "embedding.json"
SHARD: Final = "shard"
VERIFICATION_FILE: Final = "verification.json"
BUILDING: Final = ".building"
REMOVED: Final = ".removed-"
ENGINE_TEMPORARY: Final = ".atomicwrite*"
"""What the engine writes into before it replaces a file, while it opens a shard."""

_VERSION_NAME: Final = re.compile(r"v(\d{4,})")
_REWRITTEN_ON_LOADING: Final = "edge_config.json"
_SMALL_FILE_BYTES: Final = 65_536


@dataclass(frozen=True)
class VersionRecord:
    """The contents of ``version.json``."""

    points: int
    dimension: int
    embedding_kind: str
    embedding_fingerprint: str
    built_at: str
    build_seconds: float
    checksum: str
    bytes_on_disk: int
    settings: IndexSettings
    files: dict[str, list[int]]
    """See `list_files`."""

    def info(self, directory: Path, *, is_current: bool) -> VersionInfo:
        """What people see of it."""
        return VersionInfo(
            name=directory.name,
            points=self.points,
            dimension=self.dimension,
            embedding_kind=self.embedding_kind,
            embedding_fingerprint=self.embedding_fingerprint,
            built_at=self.built_at,
            build_seconds=self.build_seconds,
            settings=self.settings,
            checksum=self.checksum,
            bytes_on_disk=self.bytes_on_disk,
            recall_at_1=read_recall(directory),
            is_current=is_current,
        )


def version_names(root: Path) -> list[str]:
    """Names of the complete versions, oldest first."""
    if not root.is_dir():
        return []
    names = [entry.name for entry in root.iterdir() if _VERSION_NAME.fullmatch(entry.name)]
    return sorted(names, key=_number)


def next_version_name(root: Path) -> str:
    """The name of the version to build next; numbers are never used twice."""
    facts = _read_json(root / CATALOG_FILE) or {}
    return f"v{max([facts.get('newest', 0), *map(_number, version_names(root))]) + 1:04d}"


def note_number(root: Path, name: str) -> None:
    """Have the numbers count on from a version's."""
    facts = _read_json(root / CATALOG_FILE) or {}
    newest = max(facts.get("newest", 0), _number(name))
    write_text_atomically(root / CATALOG_FILE, json.dumps(facts | {"newest": newest}) + "\n")


def _number(name: str) -> int:
    return int(name[1:])


def read_publications(root: Path) -> list[str]:
    """Names of the current version and of those published before it, latest first; empty before the first."""
    try:
        return (root / POINTER_FILE).read_text(errors="replace").split()
    except FileNotFoundError:
        return []


def write_publications(root: Path, names: list[str]) -> None:
    """Make the first one the current version, at once for everybody."""
    write_text_atomically(root / POINTER_FILE, "".join(f"{name}\n" for name in names))
    sync(root)


def read_recall(directory: Path) -> float | None:
    """Recall@1 at a version's last verification, or None."""
    facts = _read_json(directory / VERIFICATION_FILE) or {}
    recall = facts.get("recall_at_1")
    return recall if isinstance(recall, float) else None


def write_verification(directory: Path, verification: Verification) -> None:
    """Keep what a verification found. Only for who holds the pointer's lock."""
    write_text_atomically(directory / VERIFICATION_FILE, json.dumps(asdict(verification), indent=1) + "\n")


def leftovers(root: Path) -> list[Path]:
    """Directories that killed builders and removers left behind. Only for who holds the builder's lock."""
    return [root / BUILDING, *root.glob(f"{REMOVED}*")]


def leftover_files(root: Path) -> list[Path]:
    """What killed processes began to write. Only for who holds the builder's lock and the pointer's."""
    patterns = (f".{POINTER_FILE}.*", f".{CATALOG_FILE}.*", f"v*/.{VERIFICATION_FILE}.*")
    return [file for pattern in patterns for file in root.glob(pattern)]


def engine_leftovers(directory: Path) -> list[Path]:
    """What processes killed while they opened a version left in it. Only for who claims it alone."""
    return list((directory / SHARD).rglob(ENGINE_TEMPORARY))


def remove_tree(directory: Path) -> None:
    """Remove a directory, which may be gone and which another process may be removing, too."""
    while directory.exists():
        with suppress(FileNotFoundError):
            shutil.rmtree(directory)


def remove_root(root: Path) -> None:
    """Remove an index without versions; killed meanwhile, it is still one."""
    for file in sorted(root.iterdir(), key=lambda file: file.name == CATALOG_FILE):
        remove_tree(file) if file.is_dir() else file.unlink()
    root.rmdir()


def mark_catalog(root: Path) -> None:
    """Make a directory an index, if it is not one yet. Only for who holds the builder's lock."""
    if not (root / CATALOG_FILE).exists():
        facts = {"format": "handsim-index", "version": FORMAT_VERSION}
        write_text_atomically(root / CATALOG_FILE, json.dumps(facts) + "\n")


def check_catalog(root: Path) -> None:
    """Raise HandsimError unless the path is an index, or free for one."""
    if not root.exists() or (root.is_dir() and all(file.name.startswith(".") for file in root.iterdir())):
        return  # hidden files are all that a first build leaves that was killed at once
    facts = _read_json(root / CATALOG_FILE) if root.is_dir() else None
    if facts is None or facts.get("format") != "handsim-index":
        raise HandsimError(
            f"{root} is not an index of handsim ({CATALOG_FILE} is missing or not ours); "
            f"name another directory, then `handsim index build`"
        )
    _check_format(root, facts)


def write_record(directory: Path, record: VersionRecord) -> None:
    """Write ``version.json``."""
    facts = {"format": "handsim-index-version", "version": FORMAT_VERSION, **asdict(record)}
    write_text_atomically(directory / VERSION_FILE, json.dumps(facts, indent=1) + "\n")


def read_record(directory: Path) -> VersionRecord:
    """Read ``version.json``; raises HandsimError when it is damaged or newer than this program."""
    facts = _read_json(directory / VERSION_FILE)
    if facts is None or facts.pop("format", None) != "handsim-index-version":
        raise damaged(directory, f"{VERSION_FILE} is missing or garbled")
    _check_format(directory, facts)
    del facts["version"]
    try:
        return VersionRecord(**{**facts, "settings": IndexSettings(**facts["settings"])})
    except (KeyError, TypeError, HandsimError) as error:
        raise damaged(directory, f"{VERSION_FILE} lacks a field: {error}") from error


def list_files(shard: Path) -> dict[str, list[int]]:
    """What `check_files` compares: [bytes] of every file of a shard, [bytes, CRC-32] of the small ones.

    The engine opens a shard with missing or cut files without complaint and answers less; this catches it.
    """
    files = sorted(file for file in shard.rglob("*") if file.is_file())
    return {
        file.relative_to(shard).as_posix(): _size_and_checksum(file)
        for file in files
        if file.name != _REWRITTEN_ON_LOADING
    }


def check_files(directory: Path, record: VersionRecord) -> None:
    """Raise HandsimError that names the first file of a version that is not as it was written."""
    for name, expected in record.files.items():
        try:
            found = _size_and_checksum(directory / SHARD / name)
        except OSError as error:
            raise damaged(directory, f"{SHARD}/{name} cannot be read: {error.strerror}") from error
        if found != expected:
            raise damaged(directory, f"{SHARD}/{name} was cut or changed")


def bytes_on_disk(directory: Path) -> int:
    """What the files take up: their blocks, not their lengths, as the engine's have holes."""
    return sum(file.stat().st_blocks * 512 for file in directory.rglob("*"))


def _size_and_checksum(file: Path) -> list[int]:
    size = file.stat().st_size
    return [size, zlib.crc32(file.read_bytes())] if size <= _SMALL_FILE_BYTES else [size]


def damaged(directory: Path, why: str) -> HandsimError:
    """The error for a version that cannot be read."""
    return HandsimError(
        f"index version {directory} is damaged ({why}); remove that directory and `handsim index build` again"
    )


def missing(root: Path, name: str) -> NotThereError:
    """The error for a version that is not there."""
    known = ", ".join(version_names(root)) or "none"
    return NotThereError(
        f"the index {root} has no version {name!r} (it has: {known}); `handsim index build` makes one"
    )


def _check_format(path: Path, facts: dict[str, Any]) -> None:
    version = facts.get("version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise HandsimError(
            f"{path} has format {version}, this handsim reads up to {FORMAT_VERSION}; upgrade handsim"
        )


def _read_json(file: Path) -> dict[str, Any] | None:
    """The object in a file, or None when there is no such file or it is not an object."""
    try:
        facts = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) else None

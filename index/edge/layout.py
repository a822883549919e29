"""The files of an embedded index. Format 1:

    index/catalog.json             marks the directory as an index; the number of the newest version
    index/current                  name of the current version, and below it those published before
    index/.lock, .pointer-lock     see `index.edge.locks`
    index/v0001/version.json       `VersionRecord`: what the version is, the size of every file in its shard
    index/v0001/embedding.json     the embedding it was built with, and its encoder beside it if it has one
    index/v0001/origin             `VersionInfo.origin`; a file of its own, which older programs do not read
    index/v0001/shard/             Qdrant Edge's own files, written once
    index/v0001/hands.arrow        see `index.edge.columns`
    index/v0001/verification.json  what the last verification measured
    index/.building/               a version being built; renamed when complete, else removed
    index/.removed-v0001/          a version being removed

A version appears by one rename, disappears by one, and does not change in between.
"""

import json
import re
import shutil
import zlib
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from handsim.errors import HandsimError
from handsim.files import sync, write_text_atomically
from index.evaluation import Verification
from index.info import BaseRecord, IndexSettings, VersionInfo, check_format, version_number

_FORMAT_VERSION: Final = 1
_CATALOG_FORMAT: Final = "handsim-index"
_VERSION_FORMAT: Final = "handsim-index-version"
_CATALOG_FILE: Final = "catalog.json"
_POINTER_FILE: Final = "current"
VERSION_FILE: Final = "version.json"
EMBEDDING_FILE: Final = "embedding.json"
ORIGIN_FILE: Final = "origin"
SHARD: Final = "shard"
VERIFICATION_FILE: Final = "verification.json"
BUILDING: Final = ".building"
REMOVED: Final = ".removed-"
ENGINE_TEMPORARY: Final = ".atomicwrite*"
"""Where the engine writes a new file before it replaces the old one, while it opens a shard."""

_VERSION_NAME: Final = re.compile(r"v(\d{4,})")
REWRITTEN_ON_OPENING: Final = "edge_config.json"
_SMALL_FILE_BYTES: Final = 65_536


@dataclass(frozen=True, kw_only=True)
class VersionRecord(BaseRecord):
    """The contents of ``version.json``."""

    bytes_on_disk: int
    files: dict[str, list[int]]
    """See `list_files`."""


def read_info(directory: Path, *, is_current: bool) -> VersionInfo:
    """The record of a version and its last verification; raises as `read_record` does."""
    record = read_record(directory)
    return record.to_info(
        directory.name,
        bytes_on_disk=record.bytes_on_disk,
        recall_at_1=_read_recall(directory),
        is_current=is_current,
        origin=_read_origin(directory),
    )


def version_names(root: Path) -> list[str]:
    """Names of the complete versions, oldest first."""
    if not root.is_dir():
        return []
    names = [entry.name for entry in root.iterdir() if _VERSION_NAME.fullmatch(entry.name)]
    return sorted(names, key=version_number)


def next_version_name(root: Path) -> str:
    """The name of the version to build next; numbers are never used twice."""
    record = _read_json(root / _CATALOG_FILE) or {}
    return f"v{max([record.get('newest', 0), *map(version_number, version_names(root))]) + 1:04d}"


def record_number(root: Path, name: str) -> None:
    """Record that the number of a version is in use."""
    record = _read_json(root / _CATALOG_FILE) or {}
    newest = max(record.get("newest", 0), version_number(name))
    write_text_atomically(root / _CATALOG_FILE, json.dumps(record | {"newest": newest}) + "\n")


def read_publications(root: Path) -> list[str]:
    """Names of the current version and of those published before it, latest first; empty before the first."""
    try:
        return (root / _POINTER_FILE).read_text(errors="replace").split()
    except FileNotFoundError:
        return []


def write_publications(root: Path, names: list[str]) -> None:
    """Make the first one the current version, at once for all readers. Only under the pointer's lock."""
    write_text_atomically(root / _POINTER_FILE, "".join(f"{name}\n" for name in names))
    sync(root)


def write_verification(directory: Path, verification: Verification) -> None:
    """Write ``verification.json``. Only under the pointer's lock."""
    write_text_atomically(directory / VERIFICATION_FILE, json.dumps(asdict(verification), indent=1) + "\n")


def read_verification(directory: Path) -> Verification | None:
    """Read ``verification.json``; None where there is none."""
    return Verification.parse(_read_json(directory / VERIFICATION_FILE))


def leftovers(root: Path) -> list[Path]:
    """Directories that killed processes left behind. Only under the builder's lock."""
    return [root / BUILDING, *root.glob(f"{REMOVED}*")]


def leftover_files(root: Path) -> list[Path]:
    """Files that killed processes began to write. Only under the builder's and the pointer's lock."""
    patterns = (f".{_POINTER_FILE}.*", f".{_CATALOG_FILE}.*", f"v*/.{VERIFICATION_FILE}.*")
    return [file for pattern in patterns for file in root.glob(pattern)]


def engine_leftovers(directory: Path) -> list[Path]:
    """What processes left that were killed while they opened a version. Only under its exclusive lock."""
    return list((directory / SHARD).rglob(ENGINE_TEMPORARY))


def remove_tree(directory: Path) -> None:
    """Remove a directory; another process may have removed it, or may be removing it too."""
    while directory.exists():
        with suppress(FileNotFoundError):
            shutil.rmtree(directory)


def remove_root(root: Path) -> None:
    """Remove an index without versions; the file that marks it goes last, in case this process is killed."""
    for file in sorted(root.iterdir(), key=lambda file: file.name == _CATALOG_FILE):
        remove_tree(file) if file.is_dir() else file.unlink()
    root.rmdir()


def mark_catalog(root: Path) -> None:
    """Make a directory an index, if it is not one yet. Only under the builder's lock."""
    if not (root / _CATALOG_FILE).exists():
        record = {"format": _CATALOG_FORMAT, "version": _FORMAT_VERSION}
        write_text_atomically(root / _CATALOG_FILE, json.dumps(record) + "\n")


def check_catalog(root: Path) -> None:
    """Raise HandsimError unless the path is an index, or free for one."""
    if not root.exists() or (root.is_dir() and all(file.name.startswith(".") for file in root.iterdir())):
        return  # a first build that was killed at once leaves only hidden files
    record = _read_json(root / _CATALOG_FILE) if root.is_dir() else None
    if record is None or record.get("format") != _CATALOG_FORMAT:
        raise HandsimError(
            f"{root} is not an index of handsim ({_CATALOG_FILE} is missing or not ours); "
            f"name another directory, then `handsim index build`"
        )
    check_format(record.get("version"), _FORMAT_VERSION, root)


def write_record(directory: Path, record: VersionRecord) -> None:
    """Write ``version.json``."""
    fields = {"format": _VERSION_FORMAT, "version": _FORMAT_VERSION, **asdict(record)}
    write_text_atomically(directory / VERSION_FILE, json.dumps(fields, indent=1) + "\n")


def read_record(directory: Path) -> VersionRecord:
    """Read ``version.json``; raises HandsimError when it is damaged or newer than this program."""
    fields = _read_json(directory / VERSION_FILE)
    if fields is None or fields.pop("format", None) != _VERSION_FORMAT:
        raise damaged_error(directory, f"{VERSION_FILE} is missing or garbled")
    check_format(fields.pop("version", None), _FORMAT_VERSION, directory)
    try:
        return VersionRecord(**{**fields, "settings": IndexSettings(**fields["settings"])})
    except (KeyError, TypeError, HandsimError) as error:
        raise damaged_error(directory, f"{VERSION_FILE} lacks a field: {error}") from error


def list_files(shard: Path) -> dict[str, list[int]]:
    """[bytes] of every file of a shard, [bytes, CRC-32] of the small ones, for `check_files`.

    The engine opens a shard with missing or cut files without an error, and finds less.
    """
    files = sorted(file for file in shard.rglob("*") if file.is_file())
    return {
        file.relative_to(shard).as_posix(): _size_and_checksum(file)
        for file in files
        if file.name != REWRITTEN_ON_OPENING
    }


def check_files(directory: Path, record: VersionRecord) -> None:
    """Raise HandsimError, which names the file, unless all files of a version are as they were written."""
    for name, expected in record.files.items():
        try:
            actual = _size_and_checksum(directory / SHARD / name)
        except FileNotFoundError as error:
            raise damaged_error(directory, f"{SHARD}/{name} is missing") from error
        except OSError as error:
            raise unreadable_error(directory / SHARD / name, error.strerror) from error
        if actual != expected:
            raise damaged_error(directory, f"{SHARD}/{name} was cut or changed")


def bytes_on_disk(directory: Path) -> int:
    """The size of the files' blocks, not of their contents: the engine's files have holes."""
    return sum(file.stat().st_blocks * 512 for file in directory.rglob("*"))


def _size_and_checksum(file: Path) -> list[int]:
    size = file.stat().st_size
    return [size, zlib.crc32(file.read_bytes())] if size <= _SMALL_FILE_BYTES else [size]


def damaged_error(directory: Path, why: str) -> HandsimError:
    """The error for a version that cannot be read."""
    return HandsimError(
        f"index version {directory} is damaged ({why}); remove that directory and `handsim index build` again"
    )


def unreadable_error(path: Path, reason: str | None) -> HandsimError:
    """The error for a file that the system does not open, which says nothing about its content."""
    return HandsimError(f"{path} cannot be read ({reason})")


def _read_origin(directory: Path) -> str:
    try:
        return (directory / ORIGIN_FILE).read_text(errors="replace").strip()
    except FileNotFoundError:  # written by an older program
        return ""


def _read_recall(directory: Path) -> float | None:
    recall = (_read_json(directory / VERIFICATION_FILE) or {}).get("recall_at_1")
    return recall if isinstance(recall, float) else None


def _read_json(file: Path) -> dict[str, Any] | None:
    """The object in a file, or None when there is no such file or it is not an object.

    Raises HandsimError when the file cannot be read.
    """
    try:
        value = json.loads(file.read_text())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError):
        return None
    except OSError as error:
        raise unreadable_error(file, error.strerror) from error
    return value if isinstance(value, dict) else None

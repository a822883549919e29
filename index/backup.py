"""Backups of an index: a directory with every version and a manifest, verified when it is written and read.

    backup/backup.json                       the manifest: `Manifest`, as JSON
    backup/v0003-20261129T031500-8e2b.../    v0003, as an embedded index with this one version
    backup/.lock                             held by who writes the backup, shared by who restores it

Whatever engine the index has, a backup holds hands, not the engine's own dump: it can be restored into a
directory, and into a server of any version and any number of nodes. A version that is in the backup already
is not copied again, and its folder never changes: its name says when the version was built and what hash its
hands have. The manifest is replaced in one step when all is there, and what it does not name any more is
removed after that. So a backup that was killed is still the one before, and a first one names no version.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any, Final

from handsim.errors import HandsimError, NotThereError
from handsim.files import FileLock, sync, write_text_atomically
from index.catalog import Catalog
from index.copy import (
    AS_ORIGINAL,
    Placement,
    copy_verification,
    copy_version,
    no_version_error,
    open_unless_pruned,
    refuse_inside,
)
from index.edge import layout
from index.edge.catalog import EdgeCatalog
from index.info import VersionInfo, check_format
from index.points import Progress

_MANIFEST_FILE: Final = "backup.json"
_LOCK_FILE: Final = ".lock"
_FORMAT: Final = "handsim-index-backup"
_FORMAT_VERSION: Final = 1
_CHANGES: Final = {"current", layout.VERIFICATION_FILE}
"""Files of an index that change after a version is written: the manifest leaves them out."""
_FOLDER: Final = re.compile(r"v\d{4,}-[\dT]+-[0-9a-f]+")


@dataclass(frozen=True, kw_only=True)
class SavedVersion:
    """One version in a backup."""

    name: str
    built_at: str
    checksum: str
    """Over ids and vectors, see `index.points.Checksum`."""
    points: int
    embedding_kind: str
    embedding_fingerprint: str
    folder: str
    """In the backup's directory."""
    files: dict[str, list[Any]]
    """[bytes, SHA-256 as hex digits] by the path in the folder; no hash of what the engine writes anew."""

    @property
    def state(self) -> tuple[str, str, str]:
        """As `VersionInfo.state`: another one after hands were added in place."""
        return self.name, self.checksum, self.built_at


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a backup holds."""

    handsim: str
    """The version of the program that wrote it."""
    engine: str
    """``edge`` or ``server``: what the index was."""
    address: str
    """Where the index was."""
    made_at: str
    """ISO 8601, UTC."""
    publications: list[str]
    """The current version and those published before it, latest first."""
    versions: list[SavedVersion]
    """Oldest first; none while the first backup is being written."""


def write_backup(source: Catalog, folder: Path, progress: Progress | None = None) -> tuple[Manifest, int]:
    """Have a directory hold all that an index holds; returns the manifest, and how many versions were copied.

    Readers and a builder go on meanwhile. After an interruption, call this once more. Versions that the index
    has no longer leave the backup, too. Raises NotThereError for an index without versions, HandsimError for
    a directory that is something else, is the backup of another index, or lies inside the index.
    """
    if source.root is not None:
        refuse_inside(folder, source.root)
    if not source.versions():
        raise no_version_error(source)
    if _read_or_none(folder) is None and folder.exists() and not _is_empty(folder):
        raise HandsimError(f"{folder} holds something else, and no backup; name an empty directory")
    folder.mkdir(parents=True, exist_ok=True)
    with _lock(folder, exclusive=True):
        publications = source.publications()  # before the versions: what is published is complete
        infos = source.versions()
        before = _read_or_none(folder) or _write_manifest(folder, source, [], [])
        _check_same_index(before, source, infos, folder)
        known = {saved.state: saved for saved in before.versions}
        copied, versions = 0, []
        for info in infos:
            saved = known.get(info.state)
            if saved is None or not _is_whole(folder, saved, progress):
                saved = _save(source, info, folder, progress)
                copied += saved is not None
            else:
                copy_verification(info.name, source, EdgeCatalog(folder / saved.folder))
            if saved is not None:
                versions.append(saved)
        if not versions:  # the index was dropped meanwhile: its backup stays
            raise no_version_error(source)
        manifest = _write_manifest(folder, source, publications, versions)
        _remove_others(folder, manifest)
    return manifest, copied


def check_backup(folder: Path, progress: Progress | None = None) -> Manifest:
    """Read every file and every hand of a backup; ``progress`` counts hands.

    Raises NotThereError where there is none, HandsimError for an unfinished or damaged one.
    """
    with _lock(folder, exclusive=False):
        manifest = _read_whole(folder)
        done, total = 0, sum(saved.points for saved in manifest.versions)
        for saved in manifest.versions:
            _check_files(folder, saved)
            with EdgeCatalog(folder / saved.folder).open(saved.name) as version:
                digest = version.read_checksum()
            if digest != saved.checksum:
                raise _damaged_error(folder, f"the hands of {saved.name} are not those that were written")
            done += saved.points
            if progress is not None:
                progress(done, total)
    return manifest


def restore_backup(
    folder: Path, target: Catalog, placement: Placement = AS_ORIGINAL, progress: Progress | None = None
) -> Manifest:
    """Write all versions of a backup into an empty index, compare them hand by hand, and only then publish.

    All files of the backup are checked before the first version is written. After an interruption, call this
    once more. Raises as `check_backup`, and HandsimError when the target is an index already.
    """
    if target.root is not None:
        refuse_inside(target.root, folder)
    with _lock(folder, exclusive=False):
        manifest = _read_whole(folder)
        _refuse_living(target, manifest, folder)
        for saved in manifest.versions:
            _check_files(folder, saved)
            _report(saved, progress)
        for saved in manifest.versions:
            copies = EdgeCatalog(folder / saved.folder)
            with copies.open(saved.name) as version:
                copy_version(version, target, placement, progress)
            copy_verification(saved.name, copies, target)
    if manifest.publications:
        target.set_publications(manifest.publications)
    return manifest


def _save(source: Catalog, info: VersionInfo, folder: Path, progress: Progress | None) -> SavedVersion | None:
    """Copy one version into a folder of its own, and compare it; None when it was pruned meanwhile."""
    version = open_unless_pruned(source, info.name)
    if version is None:
        return None
    with version:
        info = version.info
        built_at = re.sub(r"[-:]", "", info.built_at[:19])
        directory = folder / f"{info.name}-{built_at}-{info.checksum.partition('-')[2]}"
        copies = EdgeCatalog(directory)
        copy_version(version, copies, AS_ORIGINAL, progress)
        fingerprint = version.embedding.fingerprint
    copy_verification(info.name, source, copies)
    copies.set_publications([info.name])  # so that a person can look into a backup: --index FOLDER
    return SavedVersion(
        name=info.name,
        built_at=info.built_at,
        checksum=info.checksum,
        points=info.points,
        embedding_kind=info.embedding_kind,
        embedding_fingerprint=fingerprint,
        folder=directory.name,
        files=_list_files(directory),
    )


def _list_files(directory: Path) -> dict[str, list[Any]]:
    """`SavedVersion.files` of a folder."""
    files = sorted(file for file in directory.rglob("*") if file.is_file() and file.name[0] != ".")
    return {
        file.relative_to(directory).as_posix(): [file.stat().st_size, _hash(file)]
        for file in files
        if file.name not in _CHANGES
    }


def _hash(file: Path) -> str:
    """The SHA-256 of a file; empty for the one that the engine writes anew when it opens a version."""
    if file.name == layout.REWRITTEN_ON_OPENING:
        return ""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check_files(folder: Path, saved: SavedVersion) -> None:
    """Raise HandsimError, which names the file, unless all files of a version are as they were written."""
    for name, (size, digest) in saved.files.items():
        file = folder / saved.folder / name
        try:
            size_now = file.stat().st_size
            if digest and (size_now != size or _hash(file) != digest):
                raise _damaged_error(folder, f"{saved.folder}/{name} was cut or changed")
        except FileNotFoundError as error:
            raise _damaged_error(folder, f"{saved.folder}/{name} is missing") from error
        except OSError as error:
            raise layout.unreadable_error(file, error.strerror) from error


def _is_whole(folder: Path, saved: SavedVersion, progress: Progress | None) -> bool:
    """Whether a version of the backup before is as it was written; a damaged one is removed.

    The index has it still, so that it is copied again.
    """
    try:
        _check_files(folder, saved)
    except _DamagedError:
        layout.remove_tree(folder / saved.folder)
        return False
    _report(saved, progress)
    return True


def _report(saved: SavedVersion, progress: Progress | None) -> None:
    if progress is not None:
        progress(saved.points, saved.points)


def _refuse_living(target: Catalog, manifest: Manifest, folder: Path) -> None:
    """Raise HandsimError for an index with a current version, or with one that the backup does not hold."""
    saved = {version.name: version.checksum for version in manifest.versions}
    infos = target.versions()
    strange = [info.name for info in infos if saved.get(info.name) != info.checksum]
    if strange or target.current_name() is not None:
        names = ", ".join(info.name for info in infos)
        raise HandsimError(
            f"{target.address} is an index already ({names}); restore {folder} to another place "
            f"(`--index PATH|URL`), or `handsim index drop --all` this one first"
        )


def _check_same_index(before: Manifest, source: Catalog, infos: Sequence[VersionInfo], folder: Path) -> None:
    """Raise HandsimError unless a backup is of this index: the same address, or a version in common."""
    # Not by their dates: an index that was restored from this backup was built anew.
    hands = {(info.name, info.checksum) for info in infos}
    shared = hands & {(saved.name, saved.checksum) for saved in before.versions}
    if before.address != _full_address(source) and not shared:
        raise HandsimError(
            f"{folder} is the backup of another index, {before.address}; name another directory for "
            f"{source.address}"
        )


def _remove_others(folder: Path, manifest: Manifest) -> None:
    """Remove the versions that a backup does not name any more, and what killed backups left."""
    names = {saved.folder for saved in manifest.versions}
    for path in folder.iterdir():
        if _FOLDER.fullmatch(path.name) and path.name not in names:
            layout.remove_tree(path)
        elif path.name.startswith(f".{_MANIFEST_FILE}."):
            path.unlink()


def _write_manifest(
    folder: Path, source: Catalog, publications: list[str], versions: list[SavedVersion]
) -> Manifest:
    names = {saved.name for saved in versions}
    manifest = Manifest(
        handsim=installed_version("handsim"),
        engine="server" if source.root is None else "edge",
        address=_full_address(source),
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        publications=[name for name in publications if name in names],
        versions=versions,
    )
    record = {"format": _FORMAT, "version": _FORMAT_VERSION, **asdict(manifest)}
    write_text_atomically(folder / _MANIFEST_FILE, json.dumps(record, indent=1) + "\n")
    sync(folder)
    return manifest


def _read_whole(folder: Path) -> Manifest:
    """The manifest; raises NotThereError where there is none, HandsimError for an unfinished backup."""
    manifest = _read_or_none(folder)
    if manifest is None:
        hint = "; it is an index: `handsim index copy` copies one" if layout.version_names(folder) else ""
        raise NotThereError(f"there is no backup at {folder} ({_MANIFEST_FILE} is missing){hint}")
    if not manifest.versions:
        raise HandsimError(
            f"the first backup to {folder} was interrupted; `handsim index backup {folder}` goes on with it"
        )
    return manifest


def _read_or_none(folder: Path) -> Manifest | None:
    file = folder / _MANIFEST_FILE
    try:
        record = json.loads(file.read_text())
        if record.pop("format") != _FORMAT:
            raise ValueError("another format")
        check_format(record.pop("version"), _FORMAT_VERSION, folder)
        manifest = Manifest(**{**record, "versions": [SavedVersion(**one) for one in record["versions"]]})
        names = {saved.name for saved in manifest.versions}
        # A path that leads out of the backup must not be followed.
        is_sound = all(_FOLDER.fullmatch(saved.folder) for saved in manifest.versions)
        if not is_sound or not names.issuperset(manifest.publications):
            raise ValueError("folders or publications of other versions")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise layout.unreadable_error(file, error.strerror) from error
    except HandsimError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _damaged_error(folder, f"{_MANIFEST_FILE} is garbled") from error
    return manifest


@contextmanager
def _lock(folder: Path, *, exclusive: bool) -> Iterator[None]:
    """Be the only process that writes a backup, or one of those that read it."""
    try:
        lock = FileLock(folder / _LOCK_FILE, create=exclusive)
    except (FileNotFoundError, NotADirectoryError):
        yield  # there is no backup, or a copy of one to which nobody writes
        return
    with lock:
        if not lock.acquire(shared=not exclusive):
            raise HandsimError(f"another process writes or restores {folder}; wait for it to end, or stop it")
        yield


def _full_address(catalog: Catalog) -> str:
    return catalog.address if catalog.root is None else str(catalog.root.resolve())


def _is_empty(folder: Path) -> bool:
    """Whether nothing is in a directory but what a backup leaves that was killed at once."""
    return folder.is_dir() and all(path.name.startswith(".") for path in folder.iterdir())


class _DamagedError(HandsimError):
    """A file of a backup is not as it was written."""


def _damaged_error(folder: Path, why: str) -> _DamagedError:
    return _DamagedError(
        f"the backup {folder} is damaged: {why}; take another one, or `handsim index backup` again while the "
        f"index is there"
    )

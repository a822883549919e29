"""Every file below the folders that a user names, once, under a name that can be stored and printed."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from handsim.ingest.origins import IngestOptions, Place, readable
from handsim.ingest.report import Findings
from handsim.tars import is_tar_file

_OWN_NAMES: Final = frozenset(
    ("pool", "index", "runs", "jobs", "lists", "maps", "random-pairs", "trays", "uploads")
) | frozenset(("embedding.json", "ingest-report.json", "handsim.toml", "views.json"))
"""What handsim writes into a home."""
_MET_AGAIN: Final = "folder met again"
_WALKED_ONCE: Final = "nothing"


@dataclass(frozen=True)
class _Folder:
    path: Path
    """Absolute; links on the way to it are followed."""
    root: Place
    """The folder that was given; ``below`` of this one is its path from there."""


def walk(paths: Sequence[Path], options: IngestOptions, findings: Findings) -> Iterator[tuple[Path, Place]]:
    """Each file with its absolute path and its place: files first, then folders, linked ones last of all.

    A folder is walked once, however many links lead to it; a link may lead into a circle. What is not walked
    goes to ``findings``.
    """
    met: set[tuple[int, int]] = set()
    folders: list[_Folder] = []
    for path, root in zip(paths, _roots(paths), strict=True):
        if path.is_dir():
            folders.append(_Folder(path.resolve(), root))
        else:
            yield path.resolve(), Place(root.root, PurePosixPath(readable(path.resolve().name)))
    folders.reverse()
    links: list[_Folder] = []  # they wait until all real folders are walked, so that names are the real ones
    while folders or links:
        folder = folders.pop() if folders else links.pop()
        yield from _walk_folder(folder, options, findings, met, folders, links)


def _roots(paths: Sequence[Path]) -> list[Place]:
    """Names of the folders, with as many parents as tell equal ones apart (``take1/rgb``, ``take2/rgb``)."""
    folders = [path.resolve() if path.is_dir() else path.resolve().parent for path in paths]
    roots = []
    for folder in folders:
        parts = folder.parts[1:] or ("/",)
        others = {other.parts[1:] for other in folders if other.name == folder.name and other != folder}
        length = 1
        while length < len(parts) and any(other[-length:] == parts[-length:] for other in others):
            length += 1
        root = readable("/".join(parts[-length:]))
        roots.append(Place(root, PurePosixPath(), is_root_shared=bool(others)))
    return roots


def _walk_folder(
    folder: _Folder,
    options: IngestOptions,
    findings: Findings,
    met: set[tuple[int, int]],
    folders: list[_Folder],
    links: list[_Folder],
) -> Iterator[tuple[Path, Place]]:
    """The files of one folder; its folders are put on the stacks."""
    name = str(folder.root.file)
    try:
        status = folder.path.stat()
        if (status.st_dev, status.st_ino) in met:
            findings.note(_MET_AGAIN, name, _WALKED_ONCE)
            return
        met.add((status.st_dev, status.st_ino))
        with os.scandir(folder.path) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
    except OSError as error:
        findings.skip_unreadable(name, error)
        return
    is_home = _is_home(folder.path, options.home)
    if is_home and folder.root.below.parts:
        findings.note("handsim's own folder", name, "nothing: no pictures of yours")
        return
    found: list[_Folder] = []
    for entry in entries:
        place = Place(
            folder.root.root,
            folder.root.below / readable(entry.name),
            is_root_shared=folder.root.is_root_shared,
        )
        is_link = entry.is_symlink()
        is_folder = (
            os.path.isdir(entry.path) if is_link else entry.is_dir()
        )  # the first knows links in a ring
        if is_home and entry.name in _OWN_NAMES:
            continue
        if entry.name.startswith("."):
            findings.note("hidden", str(place.file), "rename it to use it")
        elif any(glob.matches(place.below) for glob in options.exclude):
            findings.note("left out by --exclude", str(place.file), "nothing")
        elif is_folder and is_link:
            target = Path(os.path.realpath(entry.path))
            if target == folder.path or target in folder.path.parents:
                findings.note(_MET_AGAIN, str(place.file), _WALKED_ONCE)
            else:
                links.insert(0, _Folder(target, place))
        elif is_folder:
            found.append(_Folder(Path(entry.path), place))
        elif (
            options.include
            and not any(glob.matches(place.below) for glob in options.include)
            and not (entry.name.endswith(".tar") and is_tar_file(entry.path))  # its members are asked
        ):
            findings.note("left out by --include", str(place.file), "nothing")
        else:
            yield Path(os.path.realpath(entry.path) if is_link else entry.path), place
    folders.extend(reversed(found))


def _is_home(folder: Path, home: Path | None) -> bool:
    return (home is not None and folder == home.resolve()) or (folder / "pool" / "pool.json").exists()

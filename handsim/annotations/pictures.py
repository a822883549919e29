"""Finding the pictures that annotations name: by name, by the tail of a name from elsewhere, or by stem."""

import os
import re
from functools import cached_property
from pathlib import Path, PurePosixPath

from handsim.errors import UnusableError


class PictureFinder:
    """Pictures below one folder. What it lists of the folder is as of the first search that needs it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, name: str, beside: PurePosixPath) -> PurePosixPath | None:
        """The picture's path below the folder; None if it is not there.

        It is looked for as it is named, then by the longest tail of the name, each first in ``beside``, the
        annotations' own folder below this one; then anywhere around that, as ``images/1.jpg`` lies around
        ``annotations``, if only one has that name, or that stem or number where the name has no suffix.
        Raises UnusableError for a name that leads out of the folder, or that several pictures may have.
        """
        parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", ".")]
        ways_out = [number for number, part in enumerate(parts, 1) if part == ".."]
        inside = parts[ways_out[-1] :] if ways_out else parts
        if "\0" not in name:
            for start in range(len(inside)):
                tail = PurePosixPath(*inside[start:])
                for place in dict.fromkeys((beside / tail, tail)):
                    if self._is_there(place):
                        return place
        if not parts or ways_out or "\0" in name:
            raise UnusableError("bad image", f"{name!r:.99} is no path below {self.folder}; rename it")
        return self._find_below(beside.parent, PurePosixPath(*parts))

    def _is_there(self, place: PurePosixPath) -> bool:
        try:
            return os.path.isfile(self.folder / place)
        except (OSError, ValueError):
            return False

    def _find_below(self, around: PurePosixPath, file: PurePosixPath) -> PurePosixPath | None:
        if re.fullmatch(r"\.\w{2,5}", file.suffix) and not file.suffix[1:].isdecimal():
            # A whole name is one with its folders: a/1.jpg is not b/1.jpg.
            same = self._by_stem.get(file.stem, [])
            found = [picture for picture in same if picture.parts[-len(file.parts) :] == file.parts]
        else:
            number = _number_of(file.name)
            found = self._by_stem.get(file.name) or (
                [] if number is None else self._by_number.get(number, [])
            )
            found = [picture for picture in found if picture.parent.name == file.parent.name] or found
        found = [picture for picture in found if picture.is_relative_to(around)]
        if len(found) > 1:
            raise UnusableError(
                "bad image", f"{file} may be {found[0]} or {found[1]}; name its folder by --images"
            )
        return found[0] if found else None

    @cached_property
    def _by_stem(self) -> dict[str, list[PurePosixPath]]:
        by_stem: dict[str, list[PurePosixPath]] = {}
        for folder, _, names in os.walk(self.folder):
            below = PurePosixPath(Path(folder).relative_to(self.folder).as_posix())
            for name in names:
                file = below / name
                if file.suffix.lower() in (".json", ".jsonl", ".npz", ".txt"):
                    continue
                by_stem.setdefault(file.stem, []).append(file)
        return by_stem

    @cached_property
    def _by_number(self) -> dict[int, list[PurePosixPath]]:
        by_number: dict[int, list[PurePosixPath]] = {}
        for stem, files in self._by_stem.items():
            number = _number_of(stem)
            if number is not None:
                by_number.setdefault(number, []).extend(files)
        return by_number


def _number_of(stem: str) -> int | None:
    numbers = re.findall(r"\d+", stem)
    return int(numbers[-1][-18:]) if numbers else None

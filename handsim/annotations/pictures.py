"""Finding the pictures that annotations name: by name, by the tail of a name from elsewhere, or by stem."""

import os
import re
from pathlib import Path, PurePosixPath

from handsim.errors import UnusableError


class PictureFinder:
    """Pictures below one folder. What it remembers of the folder is as of the first search by stem."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._by_stem: dict[str, list[PurePosixPath]] | None = None
        self._by_number: dict[int, list[PurePosixPath]] = {}

    def find(self, name: str) -> PurePosixPath | None:
        """The picture's path below the folder: as named, or its longest tail that is there; else None.

        Raises UnusableError for a name that leads out of the
        folder, or that several pictures may have.
        """
        parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", ".")]
        if not parts or ".." in parts or "\0" in name:
            raise UnusableError("bad image", f"{name!r:.99} is no path below {self.folder}; rename it")
        for start in range(len(parts)):
            if self._is_there(parts[start:]):
                return PurePosixPath(*parts[start:])
        return self._find_stem(PurePosixPath(*parts))

    def _is_there(self, parts: list[str]) -> bool:
        try:
            return os.path.isfile(self.folder.joinpath(*parts))
        except (OSError, ValueError):
            return False

    def _find_stem(self, file: PurePosixPath) -> PurePosixPath | None:
        """The picture of that stem, or else the only one with the number that the stem ends in."""
        if re.fullmatch(r"\.\w{2,5}", file.suffix) and not file.suffix[1:].isdecimal():
            return None  # a picture's full name, which was looked for already
        if self._by_stem is None:
            self._by_stem = self._list_stems()
        found = self._by_stem.get(file.name, [])
        if not found and (number := _number_of(file.name)) is not None:
            found = self._by_number.get(number, [])
        beside = [picture for picture in found if picture.parent.name == file.parent.name]
        found = beside or found
        if len(found) > 1:
            raise UnusableError(
                "bad image", f"{file} may be {found[0]} or {found[1]}; name the folder closer"
            )
        return found[0] if found else None

    def _list_stems(self) -> dict[str, list[PurePosixPath]]:
        by_stem: dict[str, list[PurePosixPath]] = {}
        for folder, _, names in os.walk(self.folder):
            below = PurePosixPath(Path(folder).relative_to(self.folder).as_posix())
            for name in names:
                file = below / name
                if file.suffix.lower() in (".json", ".jsonl", ".npz", ".txt"):
                    continue
                by_stem.setdefault(file.stem, []).append(file)
                if (number := _number_of(file.stem)) is not None:
                    self._by_number.setdefault(number, []).append(file)
        return by_stem


def _number_of(stem: str) -> int | None:
    numbers = re.findall(r"\d+", stem)
    return int(numbers[-1][-18:]) if numbers else None

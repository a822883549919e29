"""Are the files of all samples there, and can they be read?"""

from collections.abc import Iterable
from pathlib import Path

from training.datasets.check.finding import Finding


def check_files(paths: Iterable[Path]) -> Finding:
    """Whether all files are there; each folder is listed once, so that millions of files take seconds."""
    folders: dict[Path, frozenset[str]] = {}
    count, missing, first = 0, 0, ""
    for path in paths:
        if path.parent not in folders:
            folders[path.parent] = _names(path.parent)
        count += 1
        if path.name not in folders[path.parent]:
            missing += 1
            first = first or str(path)
    numbers = {"files": float(count), "missing": float(missing)}
    if not missing:
        return Finding("files", "passed", f"all {count:,} files are there", numbers)
    return Finding("files", "failed", f"{missing:,} of {count:,} files are missing, such as {first}", numbers)


def _names(folder: Path) -> frozenset[str]:
    try:
        return frozenset(path.name for path in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()

"""The pictures that a run drew of what it trains on."""

import re
from pathlib import Path
from typing import Final

_NAME: Final = re.compile(r"(?:pairs|hands)-([0-9]{1,15})\.png")


def run_figures(path: Path) -> dict[int, Path]:
    """Step -> picture, of a run's folder, by step."""
    found = {}
    for file in (path / "figures").glob("*.png"):
        if named := _NAME.fullmatch(file.name):
            found[int(named[1])] = file
    return dict(sorted(found.items()))

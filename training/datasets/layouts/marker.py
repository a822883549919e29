"""How a dataset that handsim made is told from a real one of the same layout."""

import json
from pathlib import Path
from typing import Final

from handsim.atomic_file import write_text_atomically
from handsim.errors import HandsimError

MARKER: Final = "made-by-handsim.json"


def begin_layout(root: Path, layout: str, seed: int) -> None:
    """Make the folder of a synthetic dataset and mark it; raises HandsimError where it is not empty."""
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise HandsimError(f"{root} is not empty; a dataset is written into a folder of its own")
    root.mkdir(parents=True, exist_ok=True)
    write_text_atomically(root / MARKER, json.dumps({"layout": layout, "seed": seed}) + "\n")


def is_synthetic(root: Path) -> bool:
    """Whether handsim made the dataset."""
    return (root / MARKER).is_file()

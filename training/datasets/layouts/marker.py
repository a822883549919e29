"""How a dataset that handsim made is told from a real one of the same layout."""

import json
from pathlib import Path
from typing import Final

from handsim.atomic_file import write_text_atomically
from handsim.errors import HandsimError
from handsim.synthetic import SyntheticConfig

MARKER: Final = "made-by-handsim.json"


def begin_layout(root: Path, layout: str, config: SyntheticConfig, *, least_videos: int) -> None:
    """Make the folder of a synthetic dataset and mark it.

    Raises HandsimError where it is not empty, and for fewer videos than give every split a hand.
    """
    if config.videos < least_videos:
        raise HandsimError(
            f"videos is {config.videos}; the layout of {layout} needs {least_videos}, or a split is empty"
        )
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise HandsimError(f"{root} is not empty; a dataset is written into a folder of its own")
    root.mkdir(parents=True, exist_ok=True)
    write_text_atomically(root / MARKER, json.dumps({"layout": layout, "seed": config.seed}) + "\n")


def is_synthetic(root: Path) -> bool:
    """Whether handsim made the dataset."""
    return (root / MARKER).is_file()

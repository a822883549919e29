"""Dying at a chosen step: Python tells of each change to the file system just before it is made.

Some windows, as between a version's number and its rename, are too short for any delay to meet. The engine's
own steps are not told of; those are met by delays.
"""

import os
import re
import signal
import sys
from typing import Any, Final

# In the words of `die_at`: what is about to happen to which file, its numbers as #.
STEPS: Final = (
    "mkdir .building",
    "open .embedding.json.#",
    "open .version.json.#",
    "rename .version.json.#",
    "open .catalog.json.#",
    "rename .catalog.json.#",
    "rename .building",
    "open .verification.json.#",
    "rename .verification.json.#",
    "open .current.#",
    "rename .current.#",
    "rename v#",
    "rmtree .removed-v#",
    "remove in .removed-v#",
    "rmdir in .removed-v#",
)
SWEEPING_STEPS: Final = ("rmtree .building", "remove in .building", "rmdir in .building")
"""Those that come when the last builder was killed before its version was complete."""

_CHANGES: Final = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree", "open"}


def die_at(step: str, nth: int) -> None:
    """Have this process die of SIGKILL just before a step is taken for the nth time."""
    tree = ""
    left = nth

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal tree, left
        if event not in _CHANGES or not isinstance(arguments[0], str | os.PathLike):
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & os.O_CREAT):
            return
        name = re.sub(r"\d+", "#", os.path.basename(os.fspath(arguments[0])))
        if event == "shutil.rmtree":
            tree = name
        # Inside a tree that is removed files are named relative to their directories.
        inside = event in {"os.remove", "os.rmdir"}
        if f"{event.rpartition('.')[2]} {f'in {tree}' if inside else name}" == step:
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)

"""A process that changes an index: `python -m tests.index.chaos.rebuilder INDEX POOLS SEED [STEP NTH]`.

It runs until it is killed, or kills itself just before one of `STEPS`: some moments, as between a version's
number and its rename, are too short for a random delay. Each line it prints says what it is about to do, or
has done, as `expected` reads it.
"""

import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from index import Catalog, IndexSettings, open_catalog
from tests.index.chaos.contents import GROWN, KINDS, KnownContents

SETTINGS: Final = IndexSettings(index_above_kb=1, full_scan_below_kb=10, threads=1)
"""Builds a graph even of so few hands."""

# Each is a change of the file system and a file, with # for its numbers. Python's audit events report those
# of Python; the engine's own changes are not reported, and are met by random delays.
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
    """Make this process die of SIGKILL just before a step is taken for the nth time."""
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
        # Inside a tree that is removed, files are named relative to their directories.
        inside = event in {"os.remove", "os.rmdir"}
        if f"{event.rpartition('.')[2]} {f'in {tree}' if inside else name}" == step:
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def report(*words: str) -> None:
    """Print a line at once: the process may end at any moment."""
    print(*words, flush=True)


class Rebuilder:
    """The commands that people give, in random order."""

    def __init__(self, catalog: Catalog, known: KnownContents, random: np.random.Generator) -> None:
        self._catalog = catalog
        self._known = known
        self._random = random

    def run_one(self) -> None:
        """Give one command."""
        commands: list[tuple[Callable[[], None], int]] = [
            (self._build, 4),
            (self._add, 2),
            (self._publish, 2),
            (self._roll_back, 2),
            (self._prune, 3),
            (self._list, 1),
        ]
        shares = np.array([share for _, share in commands], dtype=np.float64)
        commands[self._random.choice(len(commands), p=shares / shares.sum())][0]()

    def _build(self) -> None:
        contents = self._known.contents[KINDS[self._random.integers(len(KINDS))]]
        publish = bool(self._random.integers(3))
        report("building", "published" if publish else "aside")
        info = self._catalog.build(
            contents.pool,
            contents.embedding,
            SETTINGS,
            publish=publish,
            progress=lambda *_: report("linking"),
        )
        report("built", info.name, *(["current"] if publish else []))

    def _add(self) -> None:
        current = next(info for info in self._catalog.versions() if info.is_current)
        name = self._known.name_of(current)
        if name.endswith(GROWN):
            return
        report("adding", "published")
        grown = self._known.contents[name + GROWN].pool
        info = self._catalog.add(grown, progress=lambda *_: report("linking"))
        report("built", info.name, "current")

    def _publish(self) -> None:
        names = [info.name for info in self._catalog.versions()]
        name = names[self._random.integers(len(names))]
        report("publishing", name)
        self._catalog.publish(name)
        report("published", name)

    def _roll_back(self) -> None:
        known = {info.name for info in self._catalog.versions()}
        earlier = [name for name in self._catalog.publications()[1:] if name in known]
        if earlier:
            report("publishing", earlier[0])
            report("published", self._catalog.rollback())

    def _prune(self) -> None:
        keep = int(self._random.integers(1, 3))
        report("pruning", str(keep))
        removed, in_use = self._catalog.prune(keep)
        report("pruned", *removed)
        report("in-use", *in_use)

    def _list(self) -> None:
        report("listing")
        assert any(info.is_current for info in self._catalog.versions())
        self._catalog.active_builder()


def main() -> None:
    """Give commands without end."""
    known = KnownContents(Path(sys.argv[2]))
    rebuilder = Rebuilder(open_catalog(sys.argv[1]), known, np.random.default_rng(int(sys.argv[3])))
    if len(sys.argv) > 4:
        die_at(sys.argv[4], int(sys.argv[5]))
    report("ready")
    while True:
        rebuilder.run_one()


if __name__ == "__main__":
    main()

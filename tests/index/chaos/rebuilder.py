"""One who changes the index on and on: `python -m tests.index.chaos.rebuilder INDEX WORLD SEED [STEP NTH]`.

It runs until it is killed, or kills itself at a step of `steps`. Each line it prints says what it is about to
do, or has done, as `ledger` reads it.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from index import Catalog, IndexSettings, open_catalog
from tests.index.chaos.steps import die_at
from tests.index.chaos.world import GROWN, KINDS, World

SETTINGS: Final = IndexSettings(index_above_kb=1, full_scan_below_kb=10, threads=1)
"""A graph even over so few hands."""


def say(*words: str) -> None:
    """Print a line at once: the next thing that happens may be the end."""
    print(*words, flush=True)


class Rebuilder:
    """The commands people give, in any order."""

    def __init__(self, catalog: Catalog, world: World, random: np.random.Generator) -> None:
        self._catalog = catalog
        self._world = world
        self._random = random

    def go_on(self) -> None:
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
        contents = self._world.contents[KINDS[self._random.integers(len(KINDS))]]
        publish = bool(self._random.integers(3))
        say("building", "published" if publish else "aside")
        info = self._catalog.build(
            contents.pool,
            contents.embedding,
            SETTINGS,
            publish=publish,
            progress=lambda *_: say("linking"),
        )
        say("built", info.name, *(["current"] if publish else []))

    def _add(self) -> None:
        current = next(info for info in self._catalog.versions() if info.is_current)
        name = self._world.name_of(current)
        if name.endswith(GROWN):
            return
        say("adding", "published")
        info = self._catalog.add(self._world.contents[name + GROWN].pool, progress=lambda *_: say("linking"))
        say("built", info.name, "current")

    def _publish(self) -> None:
        names = [info.name for info in self._catalog.versions()]
        name = names[self._random.integers(len(names))]
        say("publishing", name)
        self._catalog.publish(name)
        say("published", name)

    def _roll_back(self) -> None:
        known = {info.name for info in self._catalog.versions()}
        earlier = [name for name in self._catalog.publications()[1:] if name in known]
        if earlier:
            say("publishing", earlier[0])
            say("published", self._catalog.rollback())

    def _prune(self) -> None:
        keep = int(self._random.integers(1, 3))
        say("pruning", str(keep))
        removed, in_use = self._catalog.prune(keep)
        say("pruned", *removed)
        say("in-use", *in_use)

    def _list(self) -> None:
        say("listing")
        assert any(info.is_current for info in self._catalog.versions())
        self._catalog.active_builder()


def main() -> None:
    """Give commands for ever."""
    world = World(Path(sys.argv[2]))
    rebuilder = Rebuilder(open_catalog(sys.argv[1]), world, np.random.default_rng(int(sys.argv[3])))
    if len(sys.argv) > 4:
        die_at(sys.argv[4], int(sys.argv[5]))
    say("ready")
    while True:
        rebuilder.go_on()


if __name__ == "__main__":
    main()

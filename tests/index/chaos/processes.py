"""The processes at one embedded index, and what both know of the right answers.

    python -m tests.index.chaos.processes reader INDEX POOLS SEED PAUSE_S
    python -m tests.index.chaos.processes rebuilder INDEX POOLS SEED [STEP NTH]

A reader searches until its input is closed, then prints a report as JSON. A rebuilder changes
the index until it is killed, or kills itself just before one of `STEPS`: some moments, as between a version's
number and its rename, are too short for a random delay. Each line it prints says what it is about to do, or
has done, as `stress.ExpectedState` reads it.
"""

import json
import os
import re
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from handsim import Pool, PoseEmbedding
from index import Catalog, IndexSettings, IndexVersion, LiveIndex, SearchOptions, VersionInfo, open_catalog
from index.query import Neighbors

KINDS: Final = ("plain", "other")
"""Two embeddings of different dimension over pools of different hands."""
GROWN: Final = "-grown"
"""Of either kind there is a second pool: the same hands and some more, to be added."""


class WrongAnswerError(Exception):
    """An answer that no single version gives."""


class Contents:
    """The hands of a version, and where its embedding places them."""

    def __init__(self, directory: Path, kind: str, suffix: str) -> None:
        """Read what `stress.write_pools` wrote."""
        self.pool = Pool.open(directory / f"{kind}{suffix}")
        self.embedding = PoseEmbedding.load(directory / f"{kind}.json")
        self.vectors = self.embedding.embed(keypoints=self.pool.keypoints)
        self.videos = np.array([video or "" for video in self.pool.videos.values()])

    def check(self, rows: NDArray[np.intp], neighbors: Neighbors, *, exactly: bool) -> None:
        """Raise WrongAnswerError unless the neighbours [Q, K] of rows [Q] are of other videos, so far away.

        With ``exactly`` the first must be the nearest of all.
        """
        if not neighbors.is_found.all():
            raise WrongAnswerError(
                f"{int((~neighbors.is_found).sum())} places of {neighbors.is_found.size} are empty"
            )
        others = self.pool.rows(neighbors.hand_ids.ravel()).reshape(neighbors.hand_ids.shape)
        if (self.videos[others] == self.videos[rows, None]).any():
            raise WrongAnswerError("a hand of the query's own video is among the neighbours")
        distances = np.linalg.norm(self.vectors[others] - self.vectors[rows, None], axis=2)
        if not np.allclose(distances, neighbors.distances, rtol=1e-4, atol=1e-4):
            raise WrongAnswerError(
                f"distances are off by up to {np.abs(distances - neighbors.distances).max():.4g}"
            )
        if exactly:
            apart = np.linalg.norm(self.vectors - self.vectors[rows, None], axis=2)
            apart[self.videos == self.videos[rows, None]] = np.inf
            if not np.allclose(apart.min(axis=1), neighbors.distances[:, 0], rtol=1e-4, atol=1e-4):
                raise WrongAnswerError("exact search passed over the nearest hand")


class KnownContents:
    """Everything that a version may hold."""

    def __init__(self, directory: Path) -> None:
        self.contents = {
            kind + suffix: Contents(directory, kind, suffix) for kind in KINDS for suffix in ("", GROWN)
        }

    def name_of(self, info: VersionInfo) -> str:
        """Which contents a version has; raises WrongAnswerError for others."""
        for name, each in self.contents.items():
            if (info.embedding_fingerprint, info.points) == (each.embedding.fingerprint, len(each.pool)):
                return name
        raise WrongAnswerError(f"nobody built {info.name} with {info.points} hands")


_ROUNDS_PER_OPENING: Final = 100
"""Then it closes the index and opens it anew, as a single query does."""
_FEW: Final = 16
_LONG: Final = 30
"""Searches in one version now and then, as a trainer makes for a batch."""
_MANY: Final = 300
"""More queries than the engine gets in one call."""
_K: Final = 4


class Reader:
    """Searches, checks the answers, and counts."""

    def __init__(self, root: Path, known: KnownContents, random: np.random.Generator) -> None:
        self._root = root
        self._known = known
        self._random = random
        self._versions: list[str] = []
        self._contents: set[str] = set()
        self._failures: list[str] = []
        self._seconds: list[float] = []

    def run_one(self, live: LiveIndex) -> None:
        """Search the current version, once or for a while; record what goes wrong."""
        started = time.perf_counter()
        try:
            published = self._pointer()
            with live.version() as version:
                name = version.info.name
                if self._pointer() == published and name != published[1]:
                    raise WrongAnswerError(f"{published[1]} is current and {name} answers")
                if self._versions[-1:] != [name]:
                    self._versions.append(name)
                self._contents.add(self._known.name_of(version.info))
                for _ in range(_LONG if self._random.random() < 0.1 else 1):
                    self._search(version)
                    ended = time.perf_counter()
                    self._seconds.append(ended - started)
                    started = ended
        except Exception:
            self._failures.append(traceback.format_exc())

    def report(self) -> dict[str, Any]:
        """Counts and times; a time is of one search, with the opening of a version where that came first."""
        seconds = np.array(self._seconds or [np.nan])  # a reader that always failed reports its failures
        p50, p99, longest = (round(1000 * float(np.quantile(seconds, share)), 1) for share in (0.5, 0.99, 1))
        return {
            "searches": len(self._seconds),
            "failed": len(self._failures),
            "failures": self._failures[:3],
            "moves": len(self._versions) - 1,
            "versions": len(set(self._versions)),
            "contents": sorted(self._contents),
            "milliseconds": {"p50": p50, "p99": p99, "longest": longest},
        }

    def _pointer(self) -> tuple[int, str]:
        """When the current version was published, and its name."""
        file = self._root / "current"
        return file.stat().st_mtime_ns, file.read_text().split()[0]

    def _search(self, version: IndexVersion) -> None:
        """Make several requests; raises WrongAnswerError unless all answers come from one version."""
        contents, random = self._known.contents[self._known.name_of(version.info)], self._random
        exactly = bool(random.integers(2))
        rows = random.integers(len(contents.pool), size=_FEW if random.random() < 0.9 else _MANY)
        options = SearchOptions(
            exact=exactly, one_per_video=bool(random.integers(2)), with_payload=bool(random.integers(2))
        )
        neighbors = version.search_hands(contents.pool.hand_ids[rows], _K, other_video=True, options=options)
        contents.check(rows, neighbors, exactly=exactly and len(rows) == _FEW)
        others = np.unique(neighbors.hand_ids)
        other_rows = contents.pool.rows(others)
        if not np.allclose(version.vectors(others), contents.vectors[other_rows], rtol=1e-4, atol=1e-4):
            raise WrongAnswerError("vectors are not those of this version")
        if [payload["video"] for payload in version.payloads(others)] != contents.videos[other_rows].tolist():
            raise WrongAnswerError("payloads are not those of this version")
        if not (self._root / version.info.name / "version.json").exists():
            raise WrongAnswerError(f"{version.info.name} was removed while it was open")


def search_until_stopped(root: Path, known: KnownContents, seed: int, pause_s: str) -> None:
    """Search until the input is closed, then print the report."""
    reader = Reader(root, known, np.random.default_rng(seed))
    stop = False
    while not stop:
        with LiveIndex(open_catalog(root)) as live:
            for _ in range(_ROUNDS_PER_OPENING):
                # Readable: the process that started this one has closed its input, or died.
                stop = bool(select.select([sys.stdin], [], [], 0)[0])
                if stop:
                    break
                reader.run_one(live)
                time.sleep(float(pause_s))
    print(json.dumps(reader.report()))


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

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal tree, nth
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
            nth -= 1
            if not nth:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


report = partial(print, flush=True)
"""Prints a line at once: the process may end at any moment."""


class Rebuilder:
    """The commands that people give, in random order."""

    def __init__(self, catalog: Catalog, known: KnownContents, random: np.random.Generator) -> None:
        self._catalog = catalog
        self._known = known
        self._random = random

    def run_one(self) -> None:
        """Give one command."""
        commands = [self._build] * 4 + [self._prune] * 3 + [self._list]
        commands += [self._add, self._publish, self._roll_back] * 2
        commands[self._random.integers(len(commands))]()

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
        name = self._known.name_of(self._catalog.current_info())
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


def rebuild_until_killed(root: Path, known: KnownContents, seed: int, step: str = "", nth: str = "0") -> None:
    """Give commands without end; with a step, die before it is taken for the nth time."""
    rebuilder = Rebuilder(open_catalog(root), known, np.random.default_rng(seed))
    if step:
        die_at(step, int(nth))
    report("ready")
    while True:
        rebuilder.run_one()


if __name__ == "__main__":
    role, index, pools, number, *rest = sys.argv[1:]
    run: Callable[..., None] = search_until_stopped if role == "reader" else rebuild_until_killed
    run(Path(index), KnownContents(Path(pools)), int(number), *rest)

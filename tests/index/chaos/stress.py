"""Readers, a rebuilder that is killed again and again, and a check of the index after each kill."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import numpy as np

from handsim import PoseEmbedding
from index import open_catalog, verify
from index.edge import layout
from tests.index.builders import write_pool
from tests.index.chaos.processes import GROWN, KINDS, SETTINGS, STEPS, SWEEPING_STEPS, KnownContents

_REPOSITORY: Final = Path(__file__).resolve().parents[3]
_COMPONENTS: Final = {"plain": 14, "other": 8}
_LONGEST_DELAY_SECONDS: Final = 2.5
_STEP_COMES_WITHIN_SECONDS: Final = 30.0
_OF_EVERY_INDEX: Final = {"catalog.json", "current", ".lock", ".pointer-lock"}
_OF_EVERY_VERSION: Final = {
    *("version.json", "embedding.json", "shard", "hands.arrow", "origin", "verification.json")
}


def write_pools(directory: Path, scale: int) -> None:
    """Pools and embeddings of every kind, as `KnownContents` reads them; 15 hands make a video."""
    videos = {"plain": 10 * scale, "other": 7 * scale}
    for seed, kind in enumerate(KINDS):
        pool = write_pool(directory / kind, videos[kind], seed)
        write_pool(directory / f"{kind}{GROWN}", videos[kind] + scale, seed)
        PoseEmbedding.fit(pool, components=_COMPONENTS[kind]).save(directory / f"{kind}.json")


class ExpectedState:
    """The versions that must exist, and which may be current.

    What the rebuilder reported as done must survive a kill; what it had only begun may be done or not.
    """

    def __init__(self, versions: list[str], current: str) -> None:
        self.done: Counter[str] = Counter()
        self._reset(versions, current)

    def _reset(self, versions: list[str], current: str) -> None:
        self._versions = set(versions)
        self._current = {current}
        self._may_disappear: set[str] = set()
        self._may_be_published = False

    def update(self, line: str) -> None:
        """Process a line of the rebuilder."""
        action, *names = line.split()
        match action:
            case "building" | "adding":
                self._may_be_published = names == ["published"]
            case "publishing":
                self._current.add(names[0])
            case "published":
                self._current = set(names)
            case "pruning":
                self._may_disappear = set(sorted(self._versions)[: -int(names[0])])
            case "pruned":
                self._versions -= set(names)
                self._may_disappear = set()
            case "built":
                self._versions.add(names[0])
                self._may_be_published = False
                if names[1:]:
                    self._current = {names[0]}
        if action in {"built", "published"}:
            self.done[action] += 1
        elif action in {"pruned", "in-use"}:
            self.done[action] += len(names)

    def check(self, versions: list[str], current: str | None) -> list[str]:
        """Compare with the actual state and continue from that; returns the problems."""
        problems = []
        lost = self._versions - set(versions) - self._may_disappear
        if lost:
            problems.append(f"lost: {sorted(lost)}")
        # A build publishes its own version, or one of the same hands that was complete and not published.
        new = set(versions) if self._may_be_published else set()
        if current not in (self._current | new) & set(versions):
            problems.append(f"current is {current}, not one of {sorted(self._current | new)}")
        self._reset(versions, current or "")
        return problems


class StressTest:
    """One index, its readers, and the problems of both."""

    def __init__(self, directory: Path, scale: int, seed: int, readers: int, pause_s: float) -> None:
        """Build the first version in an empty directory and start the readers."""
        self._pools_path = directory / "pools"
        self._root = directory / "index"
        self._random = np.random.default_rng(seed)
        write_pools(self._pools_path, scale)
        self._known = KnownContents(self._pools_path)
        self._catalog = open_catalog(self._root)
        first = self._known.contents[KINDS[0]]
        info = self._catalog.build(first.pool, first.embedding, SETTINGS)
        self._expected = ExpectedState([info.name], info.name)
        self._steps: list[str] = []
        self.kills = 0
        self.where: Counter[str] = Counter()
        self.problems: list[str] = []
        self.readers = [self._start("reader", str(each), str(pause_s), stdin=True) for each in range(readers)]

    def kill_one(self) -> None:
        """Let a rebuilder work, kill it, check the index, give the next command and check again."""
        where, lines = self._run_rebuilder()
        self.kills += 1
        self.where[where] += 1
        for line in lines:
            self._expected.update(line)
        self._check(where)
        choice = self._random.integers(3)
        if choice == 0:
            return  # the next rebuilder gives the next command
        if choice == 1:
            command = "prune"
            removed, _ = self._catalog.prune(keep=3)
            self._expected.update(f"pruned {' '.join(removed)}")
        else:
            command = "build"
            contents = self._known.contents[KINDS[self._random.integers(len(KINDS))]]
            info = self._catalog.build(contents.pool, contents.embedding, SETTINGS)
            self._expected.update(f"built {info.name} current")
        self._check(f"{where}, then {command}")
        self._check_no_leftovers(f"{where}, then {command}")

    def finish(self) -> dict[str, Any]:
        """Stop the readers, check a last time, and report."""
        reports = []
        for reader in self.readers:
            output, _ = reader.communicate(timeout=300)
            if reader.returncode:
                self.problems.append(f"a reader ended with {reader.returncode}")
            else:
                reports.append(json.loads(output))
        newest = self._catalog.versions()[-1].name
        self._catalog.publish(newest)
        self._catalog.prune(keep=1)
        self._check_no_leftovers("and the readers gone")
        if layout.version_names(self._root) != [newest]:
            self.problems.append(f"not only {newest} was left when nobody read any more")
        if layout.engine_leftovers(self._root / newest):
            self.problems.append(f"the engine's temporary files were left in {newest}")
        return {
            "kills": self.kills,
            "where": dict(sorted(self.where.items())),
            "done": dict(self._expected.done),
            "problems": self.problems,
            "readers": reports,
        }

    def _start(self, role: str, *arguments: str, stdin: bool = False) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "tests.index.chaos.processes", role, str(self._root)]
        return subprocess.Popen(
            [*command, str(self._pools_path), *arguments],
            cwd=_REPOSITORY,
            bufsize=0,
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )

    def _run_rebuilder(self) -> tuple[str, list[str]]:
        """Where a rebuilder was killed, and what it printed before: by turns after a delay and at a step."""
        step = self._next_step() if self.kills % 2 else ""
        arguments = [str(self._random.integers(2**31))]
        if step:
            # A version has 64 files in 29 directories.
            most = {"remove in": 60, "rmdir in": 28}.get(step.rpartition(" ")[0], 2)
            arguments += [step, str(self._random.integers(1, most + 1))]
        process = self._start("rebuilder", *arguments)
        assert process.stdout is not None
        process.stdout.readline()
        delay = _STEP_COMES_WITHIN_SECONDS if step else self._random.uniform(0, _LONGEST_DELAY_SECONDS)
        try:
            output, _ = process.communicate(timeout=delay)
        except subprocess.TimeoutExpired:
            step = ""
            process.kill()
            output, _ = process.communicate()
        lines = output.decode().splitlines()
        if process.returncode != -signal.SIGKILL:
            self.problems.append(f"the rebuilder ended with {process.returncode} after {lines[-3:]}")
        last = lines[-1].split()[0] if lines else "ready"
        return f"at {step}" if step else f"after {last}", lines

    def _next_step(self) -> str:
        """Every step in turn, in random order."""
        if (self._root / layout.BUILDING).exists():
            return str(self._random.choice(SWEEPING_STEPS))
        if not self._steps:
            self._steps = self._random.permutation(STEPS).tolist()
        return self._steps.pop()

    def _check(self, when: str) -> None:
        """Compare the index with its expected state, and read all of it."""
        names = [info.name for info in self._catalog.versions()]
        problems = self._expected.check(names, self._catalog.current_name())
        self._catalog.current().close()
        for name in names:
            with self._catalog.open(name) as version:
                self._known.name_of(version.info)
                measured = verify(version, sample=100, read_all=True)
            problems += [f"{name}: {problem}" for problem in measured.problems()]
        self.problems += [f"{problem} (killed {when})" for problem in problems]

    def _check_no_leftovers(self, when: str) -> None:
        versions = set(layout.version_names(self._root))
        extra = {path.name for path in self._root.iterdir()} ^ (_OF_EVERY_INDEX | versions)
        for name in versions:
            extra |= {path.name for path in (self._root / name).iterdir()} - _OF_EVERY_VERSION
        if extra:
            self.problems.append(f"left over or missing: {sorted(extra)} (killed {when})")


def run_stress_test(
    directory: Path,
    *,
    kills: int,
    seconds: float = 0,
    scale: int = 3,
    seed: int = 0,
    readers: int = 4,
    pause_s: float = 0,
) -> dict[str, Any]:
    """Kill at least so often, and for so many seconds, in an empty directory; returns counts and problems.

    ``scale`` is the size of the pools, in about 150 hands; the readers pause between their searches.
    """
    started = time.perf_counter()
    stress = StressTest(directory, scale, seed, readers, pause_s)
    try:
        while stress.kills < kills or time.perf_counter() - started < seconds:
            stress.kill_one()
        return {"seconds": round(time.perf_counter() - started, 1), **stress.finish()}
    finally:
        for reader in stress.readers:
            reader.kill()
            reader.wait()

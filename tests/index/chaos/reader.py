"""One who asks without pause: `python -m tests.index.chaos.reader INDEX WORLD SEED`.

It goes on until its input is closed, then prints what it saw as JSON.
"""

import json
import select
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Final

import numpy as np

from index import IndexVersion, LiveIndex, SearchOptions, open_catalog
from tests.index.chaos.world import World, WrongAnswerError

_QUESTIONS_PER_OPENING: Final = 100
"""Then it closes the index and opens it anew, as those do who ask once."""
_FEW: Final = 16
_LONG: Final = 30
"""Questions that are asked of one version now and then, as a trainer asks for a batch."""
_MANY: Final = 300
"""More than the engine is handed at once."""
_K: Final = 4


class Reader:
    """Asks, checks the answers, and keeps count."""

    def __init__(self, root: Path, world: World, random: np.random.Generator) -> None:
        self._root = root
        self._world = world
        self._random = random
        self._versions: list[str] = []
        self._contents: set[str] = set()
        self._failures: list[str] = []
        self._seconds: list[float] = []

    def go_on(self, live: LiveIndex) -> None:
        """Ask the version that is current, once or for a while; keep what goes wrong."""
        started = time.perf_counter()
        try:
            published = self._pointer()
            with live.version() as version:
                name = version.info.name
                if self._pointer() == published and name != published[1]:
                    raise WrongAnswerError(f"{published[1]} is current and {name} answers")
                if self._versions[-1:] != [name]:
                    self._versions.append(name)
                self._contents.add(self._world.name_of(version.info))
                for _ in range(_LONG if self._random.random() < 0.1 else 1):
                    self._ask(version)
                    ended = time.perf_counter()
                    self._seconds.append(ended - started)
                    started = ended
        except Exception:
            self._failures.append(traceback.format_exc())

    def report(self) -> dict[str, Any]:
        """What it saw; the times are of one question, with the opening of a version where that came first."""
        milliseconds = np.array(self._seconds) * 1000
        p50, p99, longest = (round(float(np.quantile(milliseconds, share)), 1) for share in (0.5, 0.99, 1))
        return {
            "questions": len(self._seconds),
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

    def _ask(self, version: IndexVersion) -> None:
        """One question of several requests; raises WrongAnswerError unless all answers are one version's."""
        contents, random = self._world.of(version), self._random
        exactly = bool(random.integers(2))
        asked = random.integers(len(contents.pool), size=_FEW if random.random() < 0.9 else _MANY)
        options = SearchOptions(
            exact=exactly, one_per_video=bool(random.integers(2)), with_payload=bool(random.integers(2))
        )
        found = version.search_hands(contents.pool.hand_ids[asked], _K, other_video=True, options=options)
        contents.check(asked, found, exactly=exactly and len(asked) == _FEW)
        answered = np.unique(found.hand_ids)
        rows = contents.rows(answered)
        if not np.allclose(version.vectors(answered), contents.vectors[rows], rtol=1e-4, atol=1e-4):
            raise WrongAnswerError("vectors are not those of this version")
        if [payload["video"] for payload in version.payloads(answered)] != contents.videos[rows].tolist():
            raise WrongAnswerError("payloads are not those of this version")
        if not (self._root / version.info.name / "version.json").exists():
            raise WrongAnswerError(f"{version.info.name} was removed while it was open")


def told_to_stop() -> bool:
    """Whether whoever started this process has closed its input, or died."""
    return bool(select.select([sys.stdin], [], [], 0)[0])


def main() -> None:
    """Ask until told to stop, then print what was seen."""
    root, seed = Path(sys.argv[1]), int(sys.argv[3])
    reader = Reader(root, World(Path(sys.argv[2])), np.random.default_rng(seed))
    stop = False
    while not stop:
        with LiveIndex(open_catalog(root)) as live:
            for _ in range(_QUESTIONS_PER_OPENING):
                stop = told_to_stop()
                if stop:
                    break
                reader.go_on(live)
    print(json.dumps(reader.report()))


if __name__ == "__main__":
    main()

"""A process that searches without pause: `python -m tests.index.chaos.reader INDEX POOLS SEED`.

It goes on until its input is closed, then prints a report as JSON.
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
from tests.index.chaos.contents import KnownContents, WrongAnswerError

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
        milliseconds = (
            np.array(self._seconds or [np.nan]) * 1000
        )  # a reader that always failed reports its failures
        p50, p99, longest = (round(float(np.quantile(milliseconds, share)), 1) for share in (0.5, 0.99, 1))
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
        contents, random = self._known.of(version), self._random
        exactly = bool(random.integers(2))
        rows = random.integers(len(contents.pool), size=_FEW if random.random() < 0.9 else _MANY)
        options = SearchOptions(
            exact=exactly, one_per_video=bool(random.integers(2)), with_payload=bool(random.integers(2))
        )
        neighbors = version.search_hands(contents.pool.hand_ids[rows], _K, other_video=True, options=options)
        contents.check(rows, neighbors, exactly=exactly and len(rows) == _FEW)
        others = np.unique(neighbors.hand_ids)
        other_rows = contents.rows(others)
        if not np.allclose(version.vectors(others), contents.vectors[other_rows], rtol=1e-4, atol=1e-4):
            raise WrongAnswerError("vectors are not those of this version")
        if [payload["video"] for payload in version.payloads(others)] != contents.videos[other_rows].tolist():
            raise WrongAnswerError("payloads are not those of this version")
        if not (self._root / version.info.name / "version.json").exists():
            raise WrongAnswerError(f"{version.info.name} was removed while it was open")


def must_stop() -> bool:
    """Whether the process that started this one has closed its input, or died."""
    return bool(select.select([sys.stdin], [], [], 0)[0])


def main() -> None:
    """Search until the input is closed, then print the report."""
    root, seed = Path(sys.argv[1]), int(sys.argv[3])
    reader = Reader(root, KnownContents(Path(sys.argv[2])), np.random.default_rng(seed))
    stop = False
    while not stop:
        with LiveIndex(open_catalog(root)) as live:
            for _ in range(_ROUNDS_PER_OPENING):
                stop = must_stop()
                if stop:
                    break
                reader.run_one(live)
    print(json.dumps(reader.report()))


if __name__ == "__main__":
    main()

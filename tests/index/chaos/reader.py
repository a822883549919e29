"""One who asks without pause: `python -m tests.index.chaos.reader INDEX WORLD SEED`.

It goes on until its input is closed, then prints what it saw as JSON.
"""

import json
import select
import sys
import time
import traceback
from pathlib import Path
from typing import Final

import numpy as np

from index import IndexVersion, LiveIndex, SearchOptions, open_catalog
from tests.index.chaos.world import World, WrongAnswerError

_QUESTIONS_PER_OPENING: Final = 100
"""Then it closes the index and opens it anew, as those do who ask once."""
_FEW: Final = 16
_MANY: Final = 300
"""More than the engine is handed at once."""
_K: Final = 4


def ask(version: IndexVersion, world: World, root: Path, random: np.random.Generator) -> None:
    """One question of several requests; raises WrongAnswerError unless one version gives all the answers."""
    contents = world.of(version)
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
    if not (root / version.info.name / "version.json").exists():
        raise WrongAnswerError(f"{version.info.name} was removed while it was open")


def told_to_stop() -> bool:
    """Whether whoever started this process has closed its input, or died."""
    return bool(select.select([sys.stdin], [], [], 0)[0])


def main() -> None:
    """Ask until told to stop; a failure is kept and the next question asked."""
    root, world, seed = Path(sys.argv[1]), World(Path(sys.argv[2])), int(sys.argv[3])
    random = np.random.default_rng(seed)
    versions: list[str] = []
    contents: set[str] = set()
    failures: list[str] = []
    seconds: list[float] = []
    while not told_to_stop():
        with LiveIndex(open_catalog(root)) as live:
            for _ in range(_QUESTIONS_PER_OPENING):
                if told_to_stop():
                    break
                started = time.perf_counter()
                try:
                    with live.version() as version:
                        ask(version, world, root, random)
                        if versions[-1:] != [version.info.name]:
                            versions.append(version.info.name)
                        contents.add(world.name_of(version.info))
                except Exception:
                    failures.append(traceback.format_exc())
                seconds.append(time.perf_counter() - started)
    milliseconds = np.array(seconds) * 1000
    p50, p99, longest = (float(np.quantile(milliseconds, share)) for share in (0.5, 0.99, 1.0))
    print(
        json.dumps(
            {
                "questions": len(seconds),
                "failed": len(failures),
                "failures": failures[:3],
                "moves": len(versions) - 1,
                "versions": len(set(versions)),
                "contents": sorted(contents),
                "milliseconds": {"p50": round(p50, 1), "p99": round(p99, 1), "longest": round(longest, 1)},
            }
        )
    )


if __name__ == "__main__":
    main()

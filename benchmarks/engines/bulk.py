"""Mining in bulk: no index is built, and every hand of the pool is asked for at once."""

from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.clock import Clock
from benchmarks.measure import Questions
from benchmarks.memory import MemoryWatch
from benchmarks.video_poses import VideoPoses
from handsim.metrics.retrieval import recall_at_k
from index import MinedPairs
from index.bulk import BulkSearch, Device, mine_in_bulk

_FEW: Final = 1000
_ENOUGH_RECALL: Final = 0.995


def mine_vectors(pool: VideoPoses, hands: int, device: Device = "cpu") -> MinedPairs:
    """The positive of each of the first hands among these, as `handsim mine --bulk` finds it."""
    few = slice(hands)
    search = BulkSearch(pool.hand_ids[few], np.asarray(pool.vectors[few]), pool.video[few], device=device)
    return MinedPairs.concatenate(mine_in_bulk(search, pool.hand_ids[few]))


def mine_pool(folder: Path, questions: Questions) -> dict[str, Any]:
    """Time, memory and recall of a saved pool. Compiling the loops, once for each machine, comes first."""
    pool = VideoPoses.open(folder)
    with Clock() as loading:
        mine_vectors(pool, _FEW)
    with MemoryWatch() as watch, Clock() as clock:
        pairs = mine_vectors(pool, len(pool))
    return {
        "load_or_compile_seconds": round(loading.seconds, 1),
        "seconds": round(clock.seconds, 2),
        "processor_seconds": round(clock.processor_seconds, 2),
        "hands_per_second": round(len(pool) / clock.seconds),
        "recall_at_1": recall_at_k(pairs.distances[questions.sample], questions.truth, 1),
        "memory": watch.figures(),
    }


def whole_job(engine: dict[str, Any], hands: int) -> dict[str, float] | None:
    """Seconds to build an index and ask it for every hand, at the best effort that recalls enough."""
    enough = [level for level in engine["levels"] if level["recall_at_1"] >= _ENOUGH_RECALL]
    if not enough:
        return None
    best = max(enough, key=lambda level: level["per_second"])
    return {
        "effort": best["effort"],
        "seconds": round(engine["build_seconds"] + hands / best["per_second"], 1),
        "processor_seconds": round(
            engine["build_processor_seconds"] + hands / best["per_processor_second"], 1
        ),
    }


def ratios(bulk: dict[str, Any], engines: list[dict[str, Any]]) -> dict[str, float]:
    """Ours over the best whole job of the others, by the wall's clock and by that of the cores."""
    jobs = [engine["whole_job"] for engine in engines if engine["whole_job"]]
    units = ("seconds", "processor_seconds") if jobs else ()
    return {unit: round(bulk[unit] / min(job[unit] for job in jobs), 3) for unit in units}

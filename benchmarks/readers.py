"""Many processes that read one version at once: `python -m benchmarks.readers --index DIR --readers 10`.

Prints JSON: the memory of each while all have it open, and how much they answer together. Without ``--index``
a pool of ``--points`` synthetic poses is indexed first. Resident memory counts mapped files in full in every
process; proportional memory shares them out, so that its sum is what all processes take up together.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

from benchmarks.clock import Clock, say
from benchmarks.engines.catalog import CatalogEngine
from benchmarks.index import make_pool
from benchmarks.measure import build, in_fresh_process
from index import IndexSettings, SearchOptions, open_catalog

_BATCH = 256
_ASKED_HANDS = 16_384
_PATIENCE_S = 600
"""A reader that died keeps the others waiting no longer."""
_MEMORY = {"resident_gb": "Rss", "proportional_gb": "Pss", "anonymous_gb": "Anonymous"}


def read(address: Path, seconds: float, ef: int | None, together: Barrier) -> dict[str, float]:
    """Open the current version; ask it for some seconds while the others do the same."""
    with Clock() as opening:
        version = open_catalog(address).current()
        hand_ids = version.sample(_ASKED_HANDS)
    options = SearchOptions(ef=ef)
    done = 0
    together.wait()
    with Clock() as clock:
        latest = time.perf_counter() + seconds
        while time.perf_counter() < latest:
            batch = hand_ids[done % len(hand_ids) :][:_BATCH]
            done += len(version.search_hands(batch, 1, other_video=True, options=options))
    together.wait()
    figures = {
        "opening_seconds": opening.seconds,
        "hands_per_second": done / clock.seconds,
        "processor_share": clock.processor_seconds / clock.seconds,
        **memory(),
    }
    together.wait()  # nobody closes before everybody has looked
    version.close()
    return {name: round(value, 3) for name, value in figures.items()}


def memory() -> dict[str, float]:
    """This process's memory now, in 10^9 bytes."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    kilobytes = {name: int(value.split()[0]) for name, value in (line.split(":") for line in lines)}
    return {name: kilobytes[field] * 1024 / 1e9 for name, field in _MEMORY.items()}


def measure(address: Path, readers: int, seconds: float, ef: int | None) -> dict[str, Any]:
    """What so many readers take up and answer."""
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(readers, context) as processes:
        together = manager.Barrier(readers, timeout=_PATIENCE_S)
        futures = [processes.submit(read, address, seconds, ef, together) for _ in range(readers)]
        figures = [future.result() for future in futures]
    with open_catalog(address).current() as version:
        info = version.info
    return {
        "points": info.points,
        "megabytes_on_disk": None if info.bytes_on_disk is None else round(info.bytes_on_disk / 1e6),
        "ef": ef or info.settings.ef,
        "readers": readers,
        "hands_per_second_together": round(sum(figure["hands_per_second"] for figure in figures)),
        "most_resident_gb": max(figure["resident_gb"] for figure in figures),
        "proportional_gb_together": round(sum(figure["proportional_gb"] for figure in figures), 3),
        "each": figures,
    }


def main() -> None:
    """Build if need be, read, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--index", type=Path, metavar="DIR", help="an index that is there already")
    parser.add_argument("--points", type=int, default=500_000)
    parser.add_argument("--still", type=int, default=10, choices=[1, 2, 5, 10, 20])
    parser.add_argument("--readers", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--ef", type=int, help="default: what the index was built for")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        address = options.index
        if address is None:
            folder, address = Path(work) / "pool", Path(work) / "index"
            say(f"building an index of {options.points:,} poses")
            in_fresh_process(make_pool, folder, options.points, 0, options.still)
            in_fresh_process(build, CatalogEngine(IndexSettings()), folder, address)
        say(f"{options.readers} readers for {options.seconds:g} s")
        print(json.dumps(measure(address, options.readers, options.seconds, options.ef), indent=1))


if __name__ == "__main__":
    main()

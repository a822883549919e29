"""Exact search: every hand compared with every other one."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.engines.engine import Answer, Ask, Engine
from benchmarks.video_poses import VideoPoses
from handsim.processes import available_cores

_BLOCK_DISTANCES = 2**23
"""Held at once by each thread: 64 MB."""


@dataclass(frozen=True)
class ExactEngine(Engine):
    """Brute force with numpy in double precision, on all cores; there is no index to build."""

    name: str = "exact"
    effort: str = "none"
    efforts: tuple[int, ...] = (0,)

    def build(self, pool: VideoPoses, directory: Path) -> dict[str, float]:
        """Nothing to do."""
        return {}

    @contextmanager
    def open(self, pool: VideoPoses, directory: Path) -> Iterator[Ask]:
        """Read all vectors."""
        held = pool.vectors.astype(np.float64).T
        norms = (held**2).sum(axis=0)

        def nearest(rows: NDArray[np.int64], k: int) -> NDArray[np.float64]:
            wanted = pool.vectors[rows].astype(np.float64)
            # |a - b|^2 = |b|^2 - 2 a.b + |a|^2: one matrix product; double precision keeps what cancels.
            squared = (-2 * wanted) @ held
            squared += norms
            own = pool.video[rows]
            firsts, lasts = np.searchsorted(pool.video, own), np.searchsorted(pool.video, own, side="right")
            for row, (first, last) in enumerate(zip(firsts, lasts, strict=True)):
                squared[row, first:last] = np.inf
            squared.partition(k - 1, axis=1)
            best = np.sort(squared[:, :k], axis=1) + (wanted**2).sum(axis=1)[:, None]
            distances: NDArray[np.float64] = np.sqrt(np.maximum(best, 0.0))
            return distances

        with ThreadPoolExecutor(available_cores()) as threads:

            def ask(rows: NDArray[np.int64], k: int, effort: int) -> Answer:
                block = max(1, _BLOCK_DISTANCES // len(pool))
                parts = [rows[start : start + block] for start in range(0, len(rows), block)]
                found = list(threads.map(lambda part: nearest(part, k), parts))
                return Answer(np.concatenate(found).astype(np.float32), np.full(len(rows), len(pool)))

            yield ask

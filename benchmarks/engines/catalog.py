"""handsim's own index, embedded or on a server, by what it offers everybody."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.engines.engine import Answer, Ask, Engine
from benchmarks.video_poses import VideoPoses
from handsim.errors import HandsimError
from handsim.processes import available_cores
from index import IndexSettings, MinedPairs, SearchOptions, mine, open_catalog


@dataclass(frozen=True)
class CatalogEngine(Engine):
    """Qdrant behind `index.open_catalog`."""

    settings: IndexSettings
    """Of the graph."""
    name: str = "edge"
    url: str | None = None
    """The address of a server's index; None embeds it."""
    effort: str = "ef"
    efforts: tuple[int, ...] = (16, 32, 48, 64, 96, 128)

    def address(self, directory: Path) -> str:
        """What `open_catalog` takes."""
        return self.url or str(directory)

    def build(self, pool: VideoPoses, directory: Path) -> dict[str, float]:
        """Build and publish; raises HandsimError for a server's index that is there already."""
        started = time.perf_counter()
        written = 0.0

        def note(done: int, total: int) -> None:
            nonlocal written
            if done == total and not written:
                written = time.perf_counter() - started

        with open_catalog(self.address(directory)) as catalog:
            if catalog.versions():
                raise HandsimError(
                    f"there is an index at {catalog.address} already; name one that is not there"
                )
            # By hand: what recalls too little is not published by itself, and is measured all the same.
            info = catalog.build(pool, pool.embedding, self.settings, publish=False, progress=note)
            catalog.publish(info.name)
        total = time.perf_counter() - started
        return {
            "embed_and_write": written,
            "link": info.build_seconds - written,
            "verify_and_publish": total - info.build_seconds,
        }

    @contextmanager
    def open(self, pool: VideoPoses, directory: Path) -> Iterator[Ask]:
        """Open the current version."""
        with open_catalog(self.address(directory)) as catalog, catalog.current() as version:

            def ask(rows: NDArray[np.int64], k: int, effort: int) -> Answer:
                found = version.search(
                    pool.vectors[rows],
                    k,
                    not_videos=pool.videos.values(rows),
                    options=SearchOptions(ef=effort),
                )
                return Answer(found.distances, np.full(len(rows), k))

            yield ask

    def mine(self, pool: VideoPoses, directory: Path, ef: int) -> MinedPairs:
        """The positive of every hand, as `handsim mine` finds it."""
        with open_catalog(self.address(directory)) as catalog, catalog.current() as version:
            workers = available_cores()
            return MinedPairs.concatenate(mine(version, pool.hand_ids, ef=ef, workers=workers))

    def drop(self) -> None:
        """Remove a server's index."""
        if self.url:
            with open_catalog(self.url) as catalog:
                catalog.drop()

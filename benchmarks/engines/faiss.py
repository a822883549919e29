"""FAISS on the same vectors: HNSW and inverted lists, which know nothing of videos and so fetch more."""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks.clock import Clock
from benchmarks.engines.engine import Answer, Ask, Engine
from benchmarks.video_poses import VideoPoses
from handsim.processes import available_cores

if TYPE_CHECKING:
    import faiss

_FILE = "vectors.faiss"


class FaissEngine(Engine):
    """An index of FAISS, asked for ever more neighbours until enough are of another video.

    Every core is used: FAISS deals the queries of a batch out to threads.
    """

    def build(self, pool: VideoPoses, directory: Path) -> dict[str, float]:
        """Train, link and write to a file."""
        import faiss

        faiss.omp_set_num_threads(available_cores())
        vectors = np.ascontiguousarray(pool.vectors)
        index = self._empty(*vectors.shape)
        with Clock() as training:
            index.train(vectors)
        with Clock() as linking:
            index.add(vectors)
        with Clock() as writing:
            faiss.write_index(index, str(directory / _FILE))
        return {"train": training.seconds, "link": linking.seconds, "write": writing.seconds}

    @contextmanager
    def open(self, pool: VideoPoses, directory: Path) -> Iterator[Ask]:
        """Read the whole file into memory."""
        import faiss

        faiss.omp_set_num_threads(available_cores())
        index = faiss.read_index(str(directory / _FILE))

        def ask(rows: NDArray[np.int64], k: int, effort: int) -> Answer:
            return self._over_fetch(index, pool, rows, k, effort)

        yield ask

    def _over_fetch(
        self, index: "faiss.Index", pool: VideoPoses, rows: NDArray[np.int64], k: int, effort: int
    ) -> Answer:
        """Ask again, for twice as many, whose answer has fewer than k hands of other videos."""
        vectors, own = pool.vectors[rows], pool.video[rows]
        distances = np.full((len(rows), k), np.inf, dtype=np.float32)
        fetched = np.zeros(len(rows), dtype=np.int64)
        fetch = self._set_effort(index, effort)
        pending = np.arange(len(rows))
        while len(pending):
            squared, hits = index.search(vectors[pending], fetch)
            foreign = (hits >= 0) & (pool.video[hits] != own[pending, None])
            squared[~foreign] = np.inf
            distances[pending] = np.sqrt(np.sort(squared, axis=1)[:, :k])
            fetched[pending] = fetch
            # A place left over says that there is no more to be had with this effort.
            exhausted = (hits < 0).any(axis=1) | (fetch >= len(pool))
            pending = pending[~exhausted & (foreign.sum(axis=1) < k)]
            fetch = min(2 * fetch, len(pool))
        return Answer(distances, fetched)

    @abstractmethod
    def _empty(self, points: int, dimension: int) -> "faiss.Index":
        """A new index for that many vectors."""

    @abstractmethod
    def _set_effort(self, index: "faiss.Index", effort: int) -> int:
        """Have the index search with an effort; returns how many neighbours to fetch at first."""


@dataclass(frozen=True)
class FaissHnsw(FaissEngine):
    """IndexHNSWFlat: the same graph as Qdrant's."""

    m: int
    """Edges per point."""
    ef_construct: int
    """Candidates looked at when a point is linked in."""
    name: str = "faiss-hnsw"
    effort: str = "ef"
    efforts: tuple[int, ...] = (16, 32, 64, 96, 128, 256)

    def _empty(self, points: int, dimension: int) -> "faiss.Index":
        import faiss

        index = faiss.IndexHNSWFlat(dimension, self.m)
        index.hnsw.efConstruction = self.ef_construct
        return index

    def _set_effort(self, index: "faiss.Index", effort: int) -> int:
        import faiss

        faiss.ParameterSpace().set_index_parameter(index, "efSearch", effort)
        return effort  # that many candidates are kept anyway


@dataclass(frozen=True)
class FaissIvf(FaissEngine):
    """IndexIVFFlat: lists around 4 sqrt(N) centroids, of which the nearest few are read whole."""

    name: str = "faiss-ivf"
    effort: str = "nprobe"
    efforts: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    first_fetch: int = 64
    """Neighbours fetched at first: reading the lists costs more than keeping these."""

    def _empty(self, points: int, dimension: int) -> "faiss.Index":
        import faiss

        return faiss.IndexIVFFlat(faiss.IndexFlatL2(dimension), dimension, int(4 * points**0.5))

    def _set_effort(self, index: "faiss.Index", effort: int) -> int:
        import faiss

        faiss.ParameterSpace().set_index_parameter(index, "nprobe", effort)
        return self.first_fetch

"""What a search finds through filters that admit few hands: `python -m benchmarks.filters --points 200000`.

Prints a Markdown table. Two kinds of filter, by a random score and by a list of random videos, and for each
share of the hands: the graph alone, as Qdrant searches it at the given ef, and what a version answers.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.video_poses import VideoPoses
from handsim.metrics.retrieval import recall_at_k
from index import Filter, IndexVersion, SearchOptions, open_catalog
from index.edge.version import EdgeVersion
from index.query import Neighbors

_TOP = 10


class GraphAlone(EdgeVersion):
    """A version that leaves it to the engine how to search through a filter."""

    def _widen(self, options: SearchOptions) -> SearchOptions:
        return options


def make_filters(pool: VideoPoses, share: float, seed: int) -> Iterator[tuple[str, Filter]]:
    """By the score and by the videos, each of which admits about that share of the hands."""
    yield "score", Filter(min_score=float(np.quantile(pool.scores, 1 - share)))
    names = np.random.default_rng(seed).permutation(pool.videos.names)
    yield "videos", Filter(videos=tuple(names[: max(1, round(share * len(names)))].tolist()))


def search(
    version: IndexVersion, pool: VideoPoses, rows: NDArray[np.int64], options: SearchOptions
) -> tuple[Neighbors, float]:
    """The nearest hands of other videos, and milliseconds a query."""
    videos = pool.videos.values(rows)
    version.search(pool.vectors[rows[:1]], _TOP, not_videos=videos[:1], options=options)  # counts what passes
    started = time.perf_counter()
    found = version.search(pool.vectors[rows], _TOP, not_videos=videos, options=options)
    return found, (time.perf_counter() - started) / len(rows) * 1e3


def measure(options: argparse.Namespace, directory: Path) -> Iterator[list[str]]:
    """A row for each share and kind of filter."""
    pool = VideoPoses.make(options.points, options.seed)
    with open_catalog(directory) as catalog:
        name = catalog.build(pool, pool.embedding).name
    rows = np.sort(np.random.default_rng(options.seed).choice(len(pool), options.questions, replace=False))
    with (
        EdgeVersion(directory / name, is_current=True) as version,
        GraphAlone(directory / name, is_current=True) as graph,
    ):
        for share in options.share:
            for kind, filter in make_filters(pool, share, options.seed):
                exact, _ = search(version, pool, rows, SearchOptions(filter, exact=True))
                row = [f"{share:.1%}", kind]
                for asked in (graph, version):
                    found, ms = search(asked, pool, rows, SearchOptions(filter))
                    recalls = (recall_at_k(found.distances, exact.distances, k) for k in (1, _TOP))
                    row += [*(f"{recall:.3f}" for recall in recalls), f"{ms:.2f}"]
                yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--points", type=int, default=200_000)
    parser.add_argument("--questions", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, nargs="+", default=[0.001, 0.01, 0.05, 0.2, 0.3, 0.5])
    options = parser.parse_args()
    header = ["admits", "by", "graph: recall@1", "@10", "ms", "version: recall@1", "@10", "ms"]
    print("|" + " | ".join(header) + "|")
    print("|" + "---|" * len(header))
    with tempfile.TemporaryDirectory() as folder:
        for row in measure(options, Path(folder) / "index"):
            print("|" + " | ".join(row) + "|", flush=True)


if __name__ == "__main__":
    main()

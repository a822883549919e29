"""Settings of the graph, and what each gives: `python -m benchmarks.sweep --points 200000 --json sweep.json`.

Prints a Markdown table. Every pair of m and ef_construct is tried with all cores and one segment; then, with
the defaults of both, other numbers of segments and of threads. Each build runs in a process of its own. Every
shard holds a hand's video twice, as a keyword and as an integer, and is asked by turns through either, and
through the keyword without ACORN.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as edge
from numpy.typing import NDArray

from benchmarks.bare_engine import other_video_requests
from benchmarks.clock import Clock, say
from benchmarks.index import make_pool
from benchmarks.measure import Questions, in_fresh_process
from benchmarks.memory import MemoryWatch
from benchmarks.video_poses import VideoPoses
from handsim.metrics.retrieval import recall_at_k
from index import IndexSettings

_FIELDS = ("video", "video_number")
_WAYS = ("video", "video_number", "plain")
"""By the video's name, by its number, and by its name without ACORN."""
_BATCH_POINTS = 5_000
_NO_BOUND_KB = 2**40
_ROUNDS = 3


@dataclass(frozen=True)
class Graph:
    """How a shard is linked."""

    m: int
    """Edges per point."""
    ef_construct: int
    """Candidates looked at when a point is linked in."""
    segments: int
    """Parts that are linked and searched apart."""
    threads: int
    """Threads that link a part; 0 takes every core."""


def graphs(options: argparse.Namespace) -> Iterator[Graph]:
    """Those to try, each once."""
    defaults = IndexSettings()
    for m, ef_construct in product(options.m, options.ef_construct):
        yield Graph(m, ef_construct, segments=1, threads=0)
    for segments in options.segments:
        yield Graph(defaults.m, defaults.ef_construct, segments, threads=0)
    for threads in options.threads:
        yield Graph(defaults.m, defaults.ef_construct, segments=1, threads=threads)


def build(graph: Graph, folder: Path, directory: Path) -> dict[str, Any]:
    """Link a pool into a shard; time, memory and disk."""
    pool = VideoPoses.open(folder)
    directory.mkdir()
    shard = edge.EdgeShard.create(str(directory), _config(graph, pool))
    linking: list[Clock] = []
    with MemoryWatch() as watch:
        # The engine splits nothing by itself: a segment is what is linked before the next hands are written.
        for rows in np.array_split(np.arange(len(pool)), graph.segments):
            _write(shard, pool, rows)
            with Clock() as clock:
                shard.optimize()
            linking.append(clock)
    shard.update(edge.UpdateOperation.create_field_index("video", edge.KeywordIndexParams(enable_hnsw=False)))
    number = edge.IntegerIndexParams(lookup=True, range=False, enable_hnsw=False)
    shard.update(edge.UpdateOperation.create_field_index("video_number", number))
    shard.flush()
    segments = shard.info().segments_count - 1  # the last one is empty, for what would come next
    shard.close()
    return {
        "segments_made": segments,
        "link_seconds": round(sum(clock.seconds for clock in linking), 1),
        "link_processor_seconds": round(sum(clock.processor_seconds for clock in linking), 1),
        "build_memory_gb": round(watch.together_gb, 3),
        "megabytes_on_disk": _megabytes(directory, "*"),
        # The engine names the directories of a field's index by the first eight letters.
        **{f"megabytes_of_{field}": _megabytes(directory, f"*-{field[:8]}-*/**/*") for field in _FIELDS},
    }


def ask(folder: Path, directory: Path, questions: Questions, efs: list[int]) -> list[dict[str, Any]]:
    """For every ef the recall, and hands for each second of a core in every way of asking, by turns."""
    pool = VideoPoses.open(folder)
    shard = edge.EdgeShard.load(str(directory))
    levels = []
    for ef in efs:
        batches = {way: _requests(pool, questions.walk, ef, way) for way in _WAYS}
        clocks: dict[str, list[Clock]] = {way: [] for way in _WAYS}
        for way in _WAYS * _ROUNDS:
            with Clock() as clock:
                for batch in batches[way]:
                    shard.query_batch(batch)
            clocks[way].append(clock)
        hands = len(questions.walk)
        levels.append(
            {
                "ef": ef,
                **{
                    f"{way}_recall_at_1": _recall(shard, pool, questions, ef, way)
                    for way in ("video", "plain")
                },
                **{
                    f"{way}_{kind}": round(hands / min(getattr(clock, seconds) for clock in tried))
                    for way, tried in clocks.items()
                    for kind, seconds in (
                        ("per_second", "seconds"),
                        ("per_processor_second", "processor_seconds"),
                    )
                },
            }
        )
    shard.close()
    return levels


def table(rows: list[dict[str, Any]]) -> str:
    """A line of Markdown for each shard and ef."""
    columns = {
        "m": "m",
        "ef_construct": "ef_construct",
        "segments_made": "segments",
        "threads": "threads",
        "link_seconds": "link, s",
        "link_processor_seconds": "of a core, s",
        "megabytes_on_disk": "MB",
        "ef": "ef",
        "video_recall_at_1": "recall@1",
        "video_per_processor_second": "hands/s of a core",
        "video_number_per_processor_second": "by integer",
        "plain_recall_at_1": "without ACORN",
        "plain_per_processor_second": "hands/s of a core",
    }
    cells = [list(columns.values()), ["---"] * len(columns)]
    cells += [[str((row | level)[column]) for column in columns] for row in rows for level in row["levels"]]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _config(graph: Graph, pool: VideoPoses) -> edge.EdgeConfig:
    kilobytes = pool.vectors.nbytes / 1024
    return edge.EdgeConfig(
        vectors=edge.EdgeVectorParams(pool.vectors.shape[1], edge.Distance.Euclid),
        hnsw_config=edge.HnswIndexConfig(
            m=graph.m,
            ef_construct=graph.ef_construct,
            full_scan_threshold=IndexSettings().full_scan_below_kb,
            max_indexing_threads=graph.threads,
        ),
        optimizers=edge.EdgeOptimizersConfig(
            default_segment_number=graph.segments,
            max_segment_size=_NO_BOUND_KB if graph.segments == 1 else int(kilobytes / graph.segments),
            indexing_threshold=IndexSettings().index_above_kb,
        ),
        wal_enabled=False,
    )


def _write(shard: edge.EdgeShard, pool: VideoPoses, rows: NDArray[np.int64]) -> None:
    for start in range(0, len(rows), _BATCH_POINTS):
        some = rows[start : start + _BATCH_POINTS]
        columns = (
            pool.hand_ids[some].tolist(),
            pool.vectors[some].tolist(),
            pool.videos.values(some),
            pool.video[some].tolist(),
        )
        points = [
            edge.Point(hand_id, vector, {"video": video, "video_number": number})
            for hand_id, vector, video, number in zip(*columns, strict=True)
        ]
        shard.update(edge.UpdateOperation.upsert_points(points))


def _requests(pool: VideoPoses, rows: NDArray[np.int64], ef: int, way: str) -> list[edge.QueryBatchRequest]:
    vectors = pool.vectors[rows]
    if way == "video_number":
        return other_video_requests(vectors, pool.video[rows].tolist(), ef, way)
    return other_video_requests(vectors, pool.videos.values(rows), ef, acorn=way != "plain")


def _recall(shard: edge.EdgeShard, pool: VideoPoses, questions: Questions, ef: int, way: str) -> float:
    found = [
        [hits[0].score if hits else np.inf]
        for batch in _requests(pool, questions.sample, ef, way)
        for hits in shard.query_batch(batch)
    ]
    return round(recall_at_k(np.array(found), questions.truth, 1), 4)


def _megabytes(directory: Path, pattern: str) -> float:
    """What some of a directory's files take up."""
    return round(sum(file.stat().st_blocks for file in directory.rglob(pattern)) * 512 / 1e6, 2)


def main() -> None:
    """Build, ask, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--points", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--still", type=int, default=10, choices=[1, 2, 5, 10, 20])
    parser.add_argument("--m", type=int, nargs="+", default=[8, 16, 24, 32])
    parser.add_argument("--ef-construct", type=int, nargs="+", default=[64, 100, 200])
    parser.add_argument("--ef", type=int, nargs="+", default=[32, 48, 64, 96, 128])
    parser.add_argument("--segments", type=int, nargs="*", default=[2, 4])
    parser.add_argument("--threads", type=int, nargs="*", default=[1])
    parser.add_argument("--json", type=Path, help="write all figures to a file, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        folder, directory = Path(work) / "pool", Path(work) / "shard"
        in_fresh_process(make_pool, folder, options.points, options.seed, options.still)
        questions = in_fresh_process(Questions.draw, folder, options.seed)
        rows = []
        for graph in graphs(options):
            say(str(graph))
            figures = asdict(graph) | in_fresh_process(build, graph, folder, directory)
            figures["levels"] = in_fresh_process(ask, folder, directory, questions, options.ef)
            rows.append(figures)
            shutil.rmtree(directory)
    if options.json:
        facts = {"points": options.points, "frames_held_still": options.still, "graphs": rows}
        options.json.write_text(json.dumps(facts, indent=1) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()

"""Build, mine and query an embedded index of synthetic poses: `python -m benchmarks.index --points 500000`.

Prints JSON. Poses look like video: runs of nearly the same frame, poses shared between videos.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as edge
from numpy.typing import NDArray

from handsim.embedding import PoseEmbedding
from handsim.metrics.retrieval import recall_at_k
from handsim.pool import Categorical
from handsim.synthetic.poses import synthesise_poses
from index import IndexSettings, IndexVersion, MinedPairs, SearchOptions, mine, open_catalog
from index.edge.layout import SHARD

HANDS_PER_VIDEO = 100
ROUNDS = 5


@dataclass(frozen=True, eq=False)
class PosePool:
    """Poses without pictures or a directory: what `index.columns.HandColumns` asks for."""

    hand_ids: NDArray[np.uint64]
    keypoints: NDArray[np.float32]
    videos: Categorical
    sources: Categorical
    labels: Categorical
    is_left: NDArray[np.bool_]
    scores: NDArray[np.float32]
    frames: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.hand_ids)


def make_pool(points: int, seed: int) -> PosePool:
    """Synthetic poses with every column filled as in life."""
    videos = -(-points // HANDS_PER_VIDEO)
    poses = synthesise_poses(videos, HANDS_PER_VIDEO, seed)
    random = np.random.default_rng(seed)
    return PosePool(
        hand_ids=random.choice(2**63 - 1, points, replace=False).astype(np.uint64),
        keypoints=poses.keypoints[:points],
        videos=Categorical(poses.video[:points], tuple(f"video_{number:06d}" for number in range(videos))),
        sources=Categorical(poses.video[:points] % 2, ("ego4d", "100doh")),
        labels=Categorical(np.full(points, -1, dtype=np.int32), ()),
        is_left=poses.video[:points] % 3 == 0,
        scores=random.random(points, dtype=np.float32),
        frames=poses.frame[:points],
    )


def peak_memory_gb() -> float:
    """Largest resident memory of this process so far, in 10^9 bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024 / 1e9


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that some work took, and what it returned."""
    started = time.perf_counter()
    answer = work()
    return time.perf_counter() - started, answer


def bare_requests(
    vectors: NDArray[np.float32], videos: list[str], ef: int, batch: int
) -> list[edge.QueryBatchRequest]:
    """The engine's own requests for Top-1 in another video."""
    requests = [
        edge.QueryRequest(
            1,
            query=edge.Query.Nearest(vector),
            filter=edge.Filter(must_not=[edge.FieldCondition("video", match=edge.MatchValue(video))]),
            params=edge.SearchParams(hnsw_ef=ef),
            with_payload=False,
        )
        for vector, video in zip(vectors.tolist(), videos, strict=True)
    ]
    return [
        edge.QueryBatchRequest(requests[start : start + batch]) for start in range(0, len(requests), batch)
    ]


def against_bare_engine(version: IndexVersion, directory: Path, hand_ids: NDArray[np.uint64], ef: int) -> Any:
    """Queries a second through our calls and through the bare engine, by turns.

    The engine's requests are made beforehand and its answers are thrown away: the least it can take.
    """
    vectors = version.vectors(hand_ids)
    videos = [payload["video"] for payload in version.payloads(hand_ids)]
    shard = edge.EdgeShard.load(str(directory / SHARD))
    batches = bare_requests(vectors, videos, ef, batch=256)
    seconds: dict[str, list[float]] = {"search": [], "search_hands": [], "bare": []}
    for _ in range(ROUNDS):
        seconds["bare"].append(timed(lambda: [shard.query_batch(batch) for batch in batches])[0])
        seconds["search"].append(timed(lambda: version.search(vectors, 1, not_videos=videos))[0])
        seconds["search_hands"].append(timed(lambda: version.search_hands(hand_ids, 1, other_video=True))[0])
    shard.close()
    rates = {name: len(hand_ids) / float(np.median(times)) for name, times in seconds.items()}
    return {
        **{f"{name}_per_second": round(rate) for name, rate in rates.items()},
        "search_ratio": round(rates["search"] / rates["bare"], 3),
        "search_hands_ratio": round(rates["search_hands"] / rates["bare"], 3),
    }


FIRST_ANSWER = """
import sys, time
from index import open_catalog
with open_catalog(sys.argv[1]).current() as version:
    version.search_hands([int(sys.argv[2])], 10, other_video=True, with_payload=True)
print(time.process_time(), "torch" in sys.modules)
"""


def first_answer(root: Path, hand_id: int) -> dict[str, Any]:
    """Wall and process time of a fresh process that opens the index and asks for one hand."""
    command = [sys.executable, "-c", FIRST_ANSWER, str(root), str(hand_id)]
    wall, run = timed(lambda: subprocess.run(command, check=True, capture_output=True, text=True))
    process, torch = run.stdout.split()
    return {
        "wall_seconds": round(wall, 3),
        "process_seconds": round(float(process), 3),
        "torch_imported": torch == "True",
    }


def measure(points: int, seed: int, settings: IndexSettings, root: Path) -> dict[str, Any]:
    """Every figure, in the order in which a user would meet them."""
    pool = make_pool(points, seed)
    embedding = PoseEmbedding.fit(pool.keypoints)
    before = peak_memory_gb()
    catalog = open_catalog(root)
    cpu_before = time.process_time()
    build_seconds, info = timed(lambda: catalog.build(pool, embedding, settings))
    build_cpu_seconds = time.process_time() - cpu_before
    version = catalog.current()
    mining_seconds, pairs = timed(lambda: MinedPairs.concatenate(mine(version, pool.hand_ids)))
    peak = peak_memory_gb()
    sample = np.sort(np.random.default_rng(seed).choice(points, min(1000, points), replace=False))
    exactly = SearchOptions(exact=True)
    exact = version.search_hands(pool.hand_ids[sample], 10, other_video=True, options=exactly)
    found = version.search_hands(pool.hand_ids[sample], 10, other_video=True)
    queries = pool.hand_ids[:: max(1, points // 16_384)]
    return {
        "points": points,
        "settings": asdict(settings),
        "build_seconds": round(build_seconds, 1),
        "build_cpu_seconds": round(build_cpu_seconds, 1),
        "megabytes_on_disk": round(info.bytes_on_disk / 1e6),
        "mining_hands_per_second": round(points / mining_seconds),
        "mining_recall_at_1": recall_at_k(pairs.distances[sample], exact.distances, 1),
        "recall_at_10": round(recall_at_k(found.distances, exact.distances, 10), 4),
        "peak_memory_gb": round(peak, 2),
        "peak_memory_before_gb": round(before, 2),
        "our_calls": against_bare_engine(version, root / info.name, queries, settings.ef),
        "first_answer": first_answer(root, int(pool.hand_ids[0])),
    }


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=500_000)
    parser.add_argument("--seed", type=int, default=0)
    defaults = IndexSettings()
    parser.add_argument("--m", type=int, default=defaults.m)
    parser.add_argument("--ef-construct", type=int, default=defaults.ef_construct)
    parser.add_argument("--ef", type=int, default=defaults.ef)
    options = parser.parse_args()
    settings = IndexSettings(m=options.m, ef_construct=options.ef_construct, ef=options.ef)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(options.points, options.seed, settings, Path(folder) / "index"), indent=1))


if __name__ == "__main__":
    main()

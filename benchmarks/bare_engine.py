"""Qdrant Edge without handsim around it: how much of its rate is left when asked through our calls."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as edge
from numpy.typing import NDArray

from benchmarks.clock import timed
from benchmarks.video_poses import VideoPoses
from index import open_catalog
from index.edge.layout import SHARD

BATCH = 256
_ROUNDS = 5


def other_video_requests(
    vectors: NDArray[np.float32],
    videos: Sequence[str | int | None],
    ef: int,
    field: str = "video",
    *,
    acorn: bool = True,
) -> list[edge.QueryBatchRequest]:
    """The engine's own requests for the nearest hand of another video, in batches."""
    params = edge.SearchParams(hnsw_ef=ef, acorn=edge.AcornSearchParams(enable=acorn, max_selectivity=1.0))
    requests = [
        edge.QueryRequest(
            1,
            query=edge.Query.Nearest(vector),
            filter=edge.Filter(must_not=[edge.FieldCondition(field, match=edge.MatchValue(video))]),
            params=params,
            with_payload=False,
        )
        for vector, video in zip(vectors.tolist(), videos, strict=True)
        if video is not None
    ]
    return [
        edge.QueryBatchRequest(requests[start : start + BATCH]) for start in range(0, len(requests), BATCH)
    ]


def overhead(folder: Path, directory: Path, rows: NDArray[np.int64]) -> dict[str, Any]:
    """Hands a second through our calls and through the bare engine, by turns, and their ratios.

    The engine's requests are made beforehand and its answers are thrown away: the least it can take.
    """
    pool = VideoPoses.open(folder)
    vectors, videos, hand_ids = pool.vectors[rows], pool.videos.values(rows), pool.hand_ids[rows]
    with open_catalog(directory).current() as version:
        shard = edge.EdgeShard.load(str(directory / version.info.name / SHARD))
        batches = other_video_requests(vectors, videos, version.info.settings.ef)
        seconds: dict[str, list[float]] = {"search": [], "search_hands": [], "bare": []}
        for _ in range(_ROUNDS):
            seconds["bare"].append(timed(lambda: [shard.query_batch(batch) for batch in batches])[0])
            seconds["search"].append(timed(lambda: version.search(vectors, 1, not_videos=videos))[0])
            seconds["search_hands"].append(
                timed(lambda: version.search_hands(hand_ids, 1, other_video=True))[0]
            )
        shard.close()
    rates = {name: len(rows) / float(np.median(times)) for name, times in seconds.items()}
    return {
        **{f"{name}_per_second": round(rate) for name, rate in rates.items()},
        "search_ratio": round(rates["search"] / rates["bare"], 3),
        "search_hands_ratio": round(rates["search_hands"] / rates["bare"], 3),
    }

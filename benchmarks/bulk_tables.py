"""Tables of `handsim mine --bulk` against those of an exact index, hand by hand, as JSON.

    python -m benchmarks.bulk_tables [--points 20000]

The poses look like video: some 28 hands of its own video lie before the first one of another.
"""

import argparse
import json
from typing import Final

import numpy as np

from benchmarks.video_poses import VideoPoses
from index import ExactIndex, MinedPairs, MiningPolicy, mine
from index.bulk import BulkSearch, mine_in_bulk

_POLICIES: Final = {
    "nearest": MiningPolicy(),
    "ranks 2 to 5, one per video, within 1": MiningPolicy(
        top_k=5, first_rank=2, one_per_video=True, max_distance=1.0
    ),
    "band of 0.5 to 1": MiningPolicy(top_k=3, min_distance=0.5, max_distance=1.0),
    "same video": MiningPolicy(top_k=3, other_video=False),
}


def compare(bulk: MinedPairs, exact: MinedPairs) -> dict[str, float]:
    """Shares of places with the same hand, and with one at all; the largest difference of two distances."""
    both = bulk.is_found & exact.is_found
    return {
        "same_hand": float((bulk.positives == exact.positives).mean()),
        "both_or_none": float((bulk.is_found == exact.is_found).mean()),
        "largest_difference": float(np.abs(bulk.distances[both] - exact.distances[both]).max(initial=0)),
    }


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=20_000)
    options = parser.parse_args()
    pool = VideoPoses.make(options.points, seed=0)
    search, index = BulkSearch.of_pool(pool, pool.embedding), ExactIndex(pool, pool.embedding)
    tables = {
        name: compare(
            MinedPairs.concatenate(mine_in_bulk(search, pool.hand_ids, policy)),
            MinedPairs.concatenate(mine(index, pool.hand_ids, policy)),
        )
        for name, policy in _POLICIES.items()
    }
    print(json.dumps({"hands": len(pool), "tables": tables}, indent=1))


if __name__ == "__main__":
    main()

"""How long one GPU takes to find the nearest hand of another video for every hand, exactly, as JSON.

    python -m benchmarks.gpu_mining [--hands 2000000]

The tables of 20,000 hands under several rules are compared with those of the k-d tree, and the kernels are
compiled meanwhile. Then all hands are mined, from vectors in the machine's memory to a table in it.
"""

import argparse
import json
import time
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from index import MinedPairs, MiningPolicy
from index.bulk import BulkSearch, Device, mine_in_bulk

_HANDS_A_VIDEO: Final = 50
_CHECKED: Final = 20_000
_POLICIES: Final = {
    "nearest": MiningPolicy(),
    "top_k 3, one per video": MiningPolicy(top_k=3, one_per_video=True),
    "band": MiningPolicy(top_k=2, min_distance=0.5, max_distance=1.0),
}


def make_hands(hands: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Embeddings [N, 14] with falling variances, alike within a video, and the number [N] of the video."""
    random = np.random.default_rng(0)
    scale = np.float32(0.82) ** np.arange(14, dtype=np.float32)
    videos = np.arange(hands, dtype=np.int32) // _HANDS_A_VIDEO
    poses = random.standard_normal((hands // _HANDS_A_VIDEO + 1, 14), dtype=np.float32)[videos]
    return (poses + 0.3 * random.standard_normal((hands, 14), dtype=np.float32)) * scale, videos


def mine_hands(
    vectors: NDArray[np.float32], videos: NDArray[np.int32], policy: MiningPolicy, device: Device
) -> MinedPairs:
    """The positives of all hands."""
    ids = np.arange(len(vectors), dtype=np.uint64)
    search = BulkSearch(ids, vectors, videos, device=device)
    return MinedPairs.concatenate(mine_in_bulk(search, ids, policy))


def compare(gpu: MinedPairs, tree: MinedPairs) -> dict[str, float]:
    """The share of equal positives, and the largest difference of two distances."""
    both = gpu.is_found & tree.is_found
    return {
        "equal_positives": float((gpu.positives == tree.positives).mean()),
        "equally_many": float((gpu.is_found == tree.is_found).mean()),
        "largest_difference": float(np.abs(gpu.distances[both] - tree.distances[both]).max()),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hands", type=int, default=2_000_000)
    options = parser.parse_args()
    vectors, videos = make_hands(options.hands)
    small = vectors[:_CHECKED], videos[:_CHECKED]
    report: dict[str, Any] = {"device": torch.cuda.get_device_name(), "hands": options.hands}
    report["checks"] = {
        name: compare(mine_hands(*small, policy, "cuda"), mine_hands(*small, policy, "cpu"))
        for name, policy in _POLICIES.items()
    }
    report["seconds"] = {}
    for name, policy in _POLICIES.items():
        started = time.perf_counter()
        mine_hands(vectors, videos, policy, "cuda")
        report["seconds"][name] = round(time.perf_counter() - started, 3)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()

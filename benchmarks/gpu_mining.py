"""How long one GPU takes to find the nearest hand of another video for every hand, exactly, as JSON.

    python -m benchmarks.gpu_mining [--hands 2000000]
    TRITON_INTERPRET=1 python -m benchmarks.gpu_mining --hands 300 --device cpu

Every hand is compared with every other. A block of queries meets all hands, tile after tile: a matrix product
gives the distances of a tile, and each of its places keeps the nearest that it has met, so nothing of size
N x N leaves the registers. 2M x 2M are 4e12 pairs and 1.3e14 floating-point operations; on an H100-class GPU
the comparisons (some six operations a pair in fp32) bound it at about a second, not the memory.

Answers for a sample are checked against distances in float64. ``tf32x3`` is three products of rounded parts,
as exact as fp32 here; ``tf32`` alone is not.
"""

import argparse
import json
import time
from typing import Any, Final

import torch
import triton
import triton.language as tl
from torch import Tensor

_DIMENSIONS: Final = 16
"""A power of two that holds the 14 components; the others are 0."""
_HANDS_A_VIDEO: Final = 50
_CHECKED: Final = 2_000
_TILES: Final = ((64, 64), (128, 64), (64, 128))
"""Queries and hands of a tile."""


@triton.jit  # type: ignore[untyped-decorator]
def _nearest(  # type: ignore[no-untyped-def]
    vectors,
    norms,
    videos,
    distances,
    places,
    hands,
    queries,
    dimensions: tl.constexpr,
    block_queries: tl.constexpr,
    block_hands: tl.constexpr,
    precision: tl.constexpr,
):
    """Squared distances, less the query's own norm, and places [queries] of the nearest of other videos."""
    rows = tl.program_id(0) * block_queries + tl.arange(0, block_queries)
    dims = tl.arange(0, dimensions)
    lanes = tl.arange(0, block_hands)
    own = tl.load(
        vectors + rows[:, None] * dimensions + dims[None, :], mask=rows[:, None] < queries, other=0.0
    )
    own_video = tl.load(videos + rows, mask=rows < queries, other=-1)
    best = tl.full((block_queries, block_hands), float("inf"), tl.float32)
    tile_of_best = tl.zeros((block_queries, block_hands), tl.int32)
    for start in range(0, hands, block_hands):
        columns = start + lanes
        other = tl.load(
            vectors + columns[None, :] * dimensions + dims[:, None], mask=columns[None, :] < hands, other=0.0
        )
        norm = tl.load(norms + columns, mask=columns < hands, other=float("inf"))
        video = tl.load(videos + columns, mask=columns < hands, other=-2)
        distance = norm[None, :] - 2.0 * tl.dot(own, other, input_precision=precision)
        is_nearer = (distance < best) & (own_video[:, None] != video[None, :])
        best = tl.where(is_nearer, distance, best)
        tile_of_best = tl.where(is_nearer, start, tile_of_best)
    lane = tl.argmin(best, axis=1)
    place = tl.sum(tl.where(lanes[None, :] == lane[:, None], tile_of_best + lanes[None, :], 0), axis=1)
    tl.store(distances + rows, tl.min(best, axis=1), mask=rows < queries)
    tl.store(places + rows, place, mask=rows < queries)


def nearest(
    vectors: Tensor, videos: Tensor, queries: int, tile: tuple[int, int], precision: str
) -> tuple[Tensor, Tensor]:
    """Distances [queries] and rows [queries] of the nearest of another video, for the first hands.

    ``vectors`` float32 [N, 16], ``videos`` int32 [N].
    """
    norms = vectors.square().sum(1)
    distances = torch.empty(queries, device=vectors.device)
    rows = torch.empty(queries, dtype=torch.int32, device=vectors.device)
    grid = (triton.cdiv(queries, tile[0]),)
    _nearest[grid](
        *(vectors, norms, videos, distances, rows, len(vectors), queries, _DIMENSIONS, *tile, precision)
    )
    return (distances + norms[:queries]).clamp_min(0).sqrt(), rows


def make_hands(hands: int, device: str) -> tuple[Tensor, Tensor]:
    """Embeddings [N, 16] with falling variances, alike within a video, and the number [N] of the video."""
    generator = torch.Generator(device=device).manual_seed(0)
    scale = torch.tensor([0.82**dimension if dimension < 14 else 0.0 for dimension in range(_DIMENSIONS)])
    shape = (hands // _HANDS_A_VIDEO + 1, _DIMENSIONS)
    poses = torch.randn(shape, generator=generator, device=device).repeat_interleave(_HANDS_A_VIDEO, 0)
    poses = poses[:hands] + 0.3 * torch.randn((hands, _DIMENSIONS), generator=generator, device=device)
    numbers = torch.arange(hands, device=device, dtype=torch.int32) // _HANDS_A_VIDEO
    return (poses * scale.to(device)).contiguous(), numbers


def check(vectors: Tensor, videos: Tensor, precision: str) -> dict[str, float]:
    """Recall@1 and the largest error of a distance, against float64, over the first hands of a small set."""
    queries = min(_CHECKED, len(vectors))
    exact = torch.cdist(
        vectors[:queries].double(), vectors.double(), compute_mode="donot_use_mm_for_euclid_dist"
    )
    exact[videos[:queries, None] == videos[None]] = float("inf")
    true_distances, true_rows = exact.min(1)
    distances, rows = nearest(vectors, videos, queries, _TILES[0], precision)
    return {
        "recall_at_1": float((rows.long() == true_rows).double().mean()),
        "largest_error": float((distances - true_distances).abs().max()),
    }


def measure(vectors: Tensor, videos: Tensor, tile: tuple[int, int], precision: str) -> dict[str, Any]:
    """Seconds for all hands."""
    nearest(vectors, videos, min(len(vectors), 20_000), tile, precision)  # compiles the kernel
    torch.cuda.synchronize()
    started = time.perf_counter()
    nearest(vectors, videos, len(vectors), tile, precision)
    torch.cuda.synchronize()
    return {"tile": tile, "precision": precision, "seconds": round(time.perf_counter() - started, 3)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hands", type=int, default=2_000_000)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: only the check")
    options = parser.parse_args()
    report: dict[str, Any] = {"device": options.device, "hands": options.hands}
    small = make_hands(min(options.hands, 20_000), options.device)
    report["checks"] = {precision: check(*small, precision) for precision in ("ieee", "tf32x3", "tf32")}
    if options.device == "cuda":
        report["device"] = torch.cuda.get_device_name()
        hands = make_hands(options.hands, options.device)
        report["runs"] = [measure(*hands, tile, "tf32x3") for tile in _TILES]
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()

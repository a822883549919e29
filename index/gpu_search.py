"""Exact search on a GPU: every hand is compared with every other, in one kernel.

A block of queries meets all hands, tile after tile: a matrix product gives the distances of a tile, and each
of its places keeps the nearest that it has met, so nothing of size N x N leaves the registers. Two million by
two million hands are 4e12 pairs and 1.3e14 floating-point operations; some six comparisons a pair bound it,
not the memory.

The kernel finds one neighbour of each query: the nearest one behind those found before. Further ranks are
further calls, for the queries that still want one.
"""

from typing import Any, Final

import numpy as np
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray
from torch import Tensor

from handsim.errors import HandsimError

_TILE: Final = (128, 64)
"""Queries and hands of a tile: the fastest of (64, 64), (128, 64) and (64, 128) on an H200."""
_LEAST_DIMENSIONS: Final = 16
_MOST_DIMENSIONS: Final = 256
"""Components that the registers hold beside a tile."""
_ROUNDING: Final = 1e-5
"""Of a squared distance from a matrix product, relative to the squared lengths of the two vectors."""


class GpuSearch:
    """N points on a GPU."""

    def __init__(self, vectors: NDArray[np.float32], device: str = "cuda") -> None:
        """Of float32 [N, D]; raises HandsimError without a GPU, and for more components than it takes."""
        if device == "cuda" and not torch.cuda.is_available():
            raise HandsimError("there is no GPU that PyTorch can use; leave out --device cuda")
        points, dimension = vectors.shape
        if dimension > _MOST_DIMENSIONS:
            raise HandsimError(
                f"the embedding has {dimension} components, the search on a GPU takes {_MOST_DIMENSIONS}; "
                f"leave out --device cuda"
            )
        padded = max(_LEAST_DIMENSIONS, triton.next_power_of_2(dimension))
        self._vectors = torch.zeros((points, padded), device=device)
        self._vectors[:, :dimension] = torch.from_numpy(vectors)
        self._norms = self._vectors.square().sum(1)

    def nearest(
        self,
        queries: NDArray[np.int64],
        k: int,
        *,
        differ: NDArray[np.int32],
        one_of: NDArray[np.int32] | None,
        min_distance: float,
        max_distance: float,
    ) -> NDArray[np.int64]:
        """See `index.bulk.AllNearest`. Equal distances are those that differ by less than 1e-5."""
        device = self._vectors.device
        rules = torch.from_numpy(differ).to(device)
        groups = None if one_of is None else torch.from_numpy(one_of).to(device)
        asked = torch.from_numpy(queries).to(device)
        found = torch.full((len(queries), k), -1, dtype=torch.int64, device=device)
        count = torch.zeros(len(queries), dtype=torch.int64, device=device)
        # The matrix product cannot tell apart what is very near: what it may leave out is left to `_apart`.
        rounding = _ROUNDING * (self._norms[asked] + self._norms.max())
        after = min_distance**2 - rounding - self._norms[asked]
        if min_distance == 0:
            after.fill_(-torch.inf)
        after_row = torch.full_like(count, -1)
        pending = torch.arange(len(queries), device=device)
        while len(pending):
            taken = None if groups is None else _numbers_of(groups, found[pending])
            value, row = self._next(asked[pending], after[pending], after_row[pending], rules, groups, taken)
            after[pending], after_row[pending] = value, row
            apart = self._apart(asked[pending], row)
            is_further = (row >= 0) & (apart <= max_distance)
            is_taken = is_further & (apart >= min_distance)
            found[pending[is_taken], count[pending[is_taken]]] = row[is_taken]
            count[pending[is_taken]] += 1
            pending = pending[is_further & (count[pending] < k)]
        return found.cpu().numpy()

    def _next(
        self,
        queries: Tensor,
        after: Tensor,
        after_row: Tensor,
        differ: Tensor,
        groups: Tensor | None,
        taken: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """The nearest hand of each query [q] behind the one at ``after_row`` [q].

        Returns values [q], squared distances less the query's own, and rows [q], -1 where there is none.
        """
        values = torch.empty_like(after)
        rows = torch.empty_like(after_row)
        nothing: Any = differ  # a pointer that is not read
        _next_nearest[(triton.cdiv(len(queries), _TILE[0]),)](
            *(self._vectors, self._norms, differ, nothing if groups is None else groups),
            *(nothing if taken is None else taken, queries, after, after_row, values, rows),
            *(len(self._vectors), len(queries), len(differ), 0 if taken is None else len(taken)),
            *(self._vectors.shape[1], *_TILE),
        )
        return values, rows

    def _apart(self, queries: Tensor, rows: Tensor) -> Tensor:
        """Distances [q] of two hands each, in double precision."""
        return (self._vectors[rows].double() - self._vectors[queries].double()).square().sum(1).sqrt()


def _numbers_of(groups: Tensor, found: Tensor) -> Tensor | None:
    """[taken, q] numbers of the groups that were found; -2, which is none, in places without a hand."""
    is_used = (found >= 0).any(0)
    taken = torch.where(found >= 0, groups[found], -2)[:, is_used]
    return taken.T.contiguous() if taken.shape[1] else None


@triton.jit  # type: ignore[untyped-decorator]
def _next_nearest(  # type: ignore[no-untyped-def]
    vectors,
    norms,
    differ,
    groups,
    taken,
    queries,
    after,
    after_row,
    values,
    rows,
    hands,
    asked,
    rules: tl.constexpr,
    takens: tl.constexpr,
    dimensions: tl.constexpr,
    block_queries: tl.constexpr,
    block_hands: tl.constexpr,
):
    """``tf32x3`` is three products of rounded parts, as exact as fp32 here; ``tf32`` alone is not."""
    place = tl.program_id(0) * block_queries + tl.arange(0, block_queries)
    is_asked = place < asked
    query = tl.load(queries + place, mask=is_asked, other=0)
    dims = tl.arange(0, dimensions)
    lanes = tl.arange(0, block_hands)
    own = tl.load(vectors + query[:, None] * dimensions + dims[None, :])
    behind = tl.load(after + place, mask=is_asked, other=float("inf"))
    behind_row = tl.load(after_row + place, mask=is_asked, other=0)
    best = tl.full((block_queries, block_hands), float("inf"), tl.float32)
    tile_of_best = tl.full((block_queries, block_hands), -1, tl.int32)
    for start in range(0, hands, block_hands):
        column = start + lanes
        is_hand = column < hands
        other = tl.load(
            vectors + column[None, :].to(tl.int64) * dimensions + dims[:, None],
            mask=is_hand[None, :],
            other=0.0,
        )
        norm = tl.load(norms + column, mask=is_hand, other=float("inf"))
        value = norm[None, :] - 2.0 * tl.dot(own, other, input_precision="tf32x3")
        is_next = (value > behind[:, None]) | (
            (value == behind[:, None]) & (column[None, :] > behind_row[:, None])
        )
        for rule in tl.static_range(rules):
            own_number = tl.load(differ + rule * hands + query)
            number = tl.load(differ + rule * hands + column, mask=is_hand, other=0)
            is_next &= own_number[:, None] != number[None, :]
        for rank in tl.static_range(takens):
            own_number = tl.load(taken + rank * asked + place, mask=is_asked, other=0)
            number = tl.load(groups + column, mask=is_hand, other=0)
            is_next &= own_number[:, None] != number[None, :]
        is_nearer = is_next & (value < best)
        best = tl.where(is_nearer, value, best)
        tile_of_best = tl.where(is_nearer, start, tile_of_best)
    least = tl.min(best, axis=1)
    is_least = (best == least[:, None]) & (tile_of_best >= 0)
    row = tl.min(tl.where(is_least, tile_of_best + lanes[None, :], hands), axis=1)
    tl.store(values + place, least, mask=is_asked)
    tl.store(rows + place, tl.where(row < hands, row, -1).to(tl.int64), mask=is_asked)

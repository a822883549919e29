"""Mining a whole pool without an index: exact search in memory, for all of its hands at once.

A graph pays where hands are asked for now and then. Where each is asked for once, building the graph costs
more than all answers: `mine_in_bulk` gives the table that `index.mining.mine` gives of an exact index, from a
k-d tree on the cores of this machine, or by comparing every hand with every other on a GPU.
"""

from collections.abc import Iterator
from typing import Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from handsim.embedding import Embedding
from handsim.english import pluralize
from handsim.errors import HandsimError, NotThereError
from handsim.hand import format_hand_id
from handsim.pool.duplicates import DuplicateGroups
from handsim.processes import available_cores
from index.mining import DEFAULT_POLICY, HandSearch, MinedPairs, Miner, MiningPolicy, resolve_quantile
from index.points import HandColumns, PoolPoints, Progress
from index.query import DEFAULT_OPTIONS, NO_HAND, Neighbors, SearchOptions

Device = Literal["cpu", "cuda"]

_HANDS_AT_ONCE: Final = 2**19
"""Hands asked for together. The more, the more of them lie in the same leaf: with a quarter as many, two
million take a fifth longer. Progress is counted in these."""
_ANSWERS_AT_ONCE: Final = 2**22
"""Neighbours in memory at once: where many of each hand are wanted, fewer hands are asked for together."""
_PAIRS_AT_ONCE: Final = 2**18
"""Differences of vectors in memory at once."""


class AllNearest(Protocol):
    """Exact search among N points in memory, for many of them at once."""

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
        """The k nearest points [Q, k] of the points ``queries`` [Q], nearest first; -1 where there is none.

        A neighbour and its query differ in every row of ``differ`` [C, N]: numbers of videos, say. No two
        neighbours of a query have the same number in ``one_of`` [N]. Both bounds of the distance, infinity
        included, belong to the band.
        """
        ...


class BulkSearch:
    """N hands in memory, asked millions at a time; exact."""

    def __init__(
        self,
        hand_ids: NDArray[np.uint64],
        vectors: NDArray[np.float32],
        videos: NDArray[np.int32],
        *,
        device: Device = "cpu",
        threads: int | None = None,
    ) -> None:
        """Of hands [N] with vectors [N, D] and the numbers [N] of their videos.

        ``threads`` (None: a thread for each core) are of the CPU. Raises HandsimError when there are no
        hands, for less than one thread, and for ``cuda`` without a GPU that PyTorch can use.
        """
        if not len(hand_ids):
            raise HandsimError("there are no hands to search; `handsim ingest PATH` first")
        if threads is not None and threads < 1:
            raise HandsimError(f"{threads} workers cannot mine; take at least 1")
        order = np.argsort(hand_ids)  # by rising id, so that a binary search finds a hand
        self._ids, self._vectors, self._videos = hand_ids[order], vectors[order], videos[order]
        self._points = _open_device(device, self._vectors, threads or available_cores())

    @classmethod
    def of_pool(
        cls,
        hands: HandColumns,
        embedding: Embedding,
        *,
        rows: NDArray[np.int64] | None = None,
        device: Device = "cpu",
        threads: int | None = None,
        progress: Progress | None = None,
    ) -> "BulkSearch":
        """Of the hands of a pool (or of those at ``rows``) that the embedding takes.

        ``progress`` counts them as they are embedded.
        """
        points = PoolPoints(hands, embedding, rows)
        vectors = points.vectors(progress)
        rows = points.rows
        return cls(hands.hand_ids[rows], vectors, hands.videos.codes[rows], device=device, threads=threads)

    def __len__(self) -> int:
        return len(self._ids)

    def search_hands(
        self,
        hand_ids: NDArray[np.uint64],
        k: int = 10,
        *,
        other_video: bool = False,
        options: SearchOptions = DEFAULT_OPTIONS,
        duplicates: DuplicateGroups | None = None,
    ) -> Neighbors:
        """As `index.version.IndexVersion.search_hands`, for a band of distances and one per video.

        Of the options, a search for all hands knows no others: it has no filter and no payload.
        """
        if not 1 <= k <= len(self):
            raise HandsimError(f"k is {k}; these {pluralize(len(self), 'hand')} answer 1 to {len(self):,}")
        queries = self._rows(hand_ids)
        hands = np.arange(len(self), dtype=np.int32)
        differ = [self._videos if other_video else hands]
        if duplicates is not None:
            groups = duplicates.group_of(self._ids)
            differ.append(np.where(groups < 0, -1 - hands, groups))  # who has none is in a group of their own
        found = self._points.nearest(
            queries,
            k,
            differ=np.stack(differ),
            one_of=self._videos if options.one_per_video else None,
            min_distance=options.min_distance,
            max_distance=np.inf if options.padded_max_distance is None else options.padded_max_distance,
        )
        neighbors = Neighbors(
            np.where(found < 0, np.uint64(NO_HAND), self._ids[found]), self._distances(queries, found)
        ).sort_by_distance()
        if options.max_distance is None:
            return neighbors
        return neighbors.keep(neighbors.distances <= options.max_distance)

    def _rows(self, hand_ids: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Rows [Q] of hands [Q]; raises NotThereError for an unknown one."""
        rows = np.minimum(np.searchsorted(self._ids, hand_ids), len(self) - 1)
        is_unknown = self._ids[rows] != hand_ids
        if is_unknown.any():
            unknown = format_hand_id(int(hand_ids[is_unknown][0]))
            raise NotThereError(
                f"no hand {unknown} among these {pluralize(len(self), 'hand')}; mine hands of their pool"
            )
        return rows

    def _distances(self, queries: NDArray[np.int64], found: NDArray[np.int64]) -> NDArray[np.float32]:
        """[Q, k] of what was found, in double precision before they are rounded; infinity for none."""
        distances = np.empty(found.shape, dtype=np.float32)
        step = max(1, _PAIRS_AT_ONCE // found.shape[1])
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            apart = self._vectors[found[part]] - self._vectors[queries[part], None].astype(np.float64)
            distances[part] = np.sqrt(np.square(apart, out=apart).sum(axis=2))
        distances[found < 0] = np.inf
        return distances


def mine_in_bulk(
    search: HandSearch,
    hand_ids: NDArray[np.uint64],
    policy: MiningPolicy = DEFAULT_POLICY,
    *,
    duplicates: DuplicateGroups | None = None,
    progress: Progress | None = None,
) -> Iterator[MinedPairs]:
    """As `index.mining.mine`, of hands [N] in memory: exact, in threads of this process or on its GPU."""
    policy = resolve_quantile(search, policy, hand_ids)
    miner = Miner(policy, None if policy.keep_duplicates else duplicates)
    block = max(1, min(_HANDS_AT_ONCE, _ANSWERS_AT_ONCE // policy.top_k))
    for start in range(0, len(hand_ids), block):
        pairs = miner.mine(search, hand_ids[start : start + block])
        yield pairs
        if progress is not None:
            progress(start + len(pairs), len(hand_ids))


def _open_device(device: Device, vectors: NDArray[np.float32], threads: int) -> AllNearest:
    if device == "cuda":
        from index.gpu_search import GpuSearch

        return GpuSearch(vectors)
    from index.kd_tree import KdTree

    return KdTree(vectors, threads)

"""A k-d tree that answers for all of its points at once, exactly.

The points of a leaf are near each other, so they are asked together: the tree is walked once for a leaf,
nearest boxes first, and boxes further away than the worst neighbour found so far are left out (dual-tree
search: Gray and Moore, "N-Body Problems in Statistical Learning", NIPS 2000). The rules of mining hold within
the leaves, so nothing is fetched in vain: of two million hands, one is compared with some 1,400.

numba compiles the loops once for each machine (some seconds, kept on disk); they release Python's lock.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numba
import numpy as np
from numpy.typing import NDArray

_LEAF: Final = 64
"""At most so many points in a leaf, and more than half. Smaller ones save comparisons, and cost visits."""
_LEAVES_A_TASK: Final = 128
_TASKS_A_THREAD: Final = 8
_SPREAD_SAMPLE: Final = 256
"""Points of a node that tell along which axis it is split."""
_SLACK: Final = np.float32(1 - 1e-5)
"""A bound is rounded like the distances it is compared with; it must not leave out an equal one."""


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` as machine code. All of fastmath but "ninf": infinity must stay what it is."""
    options: dict[str, Any] = {"nogil": True, "fastmath": {"nnan", "nsz", "arcp", "contract", "reassoc"}}
    compile: Callable[..., Callable[[Callable[..., Any]], Callable[..., Any]]] = numba.njit
    try:
        return compile(cache=True, **options)(function)
    except RuntimeError:  # no directory to keep it in: compiled anew in each process
        return compile(**options)(function)


class KdTree:
    """N points in leaves of equal size.

    Left over places hold copies of points, spread evenly, while the tree is made, and infinity afterwards.
    """

    def __init__(self, vectors: NDArray[np.float32], threads: int) -> None:
        """Of float32 [N, D], N at least 1, built and asked by so many threads."""
        points, dimension = vectors.shape
        levels = max(0, int(np.ceil(np.log2(points / _LEAF))))
        leaves = 2**levels
        self._leaf = -(-points // leaves)
        self._threads = threads
        places = leaves * self._leaf
        # [P] the point at each place.
        self._points = np.arange(places) * points // places  # all of them, some again
        _split(vectors, self._points, self._leaf, threads)
        is_first = np.zeros(places, dtype=np.bool_)
        is_first[np.unique(self._points, return_index=True)[1]] = True
        self._place_of_point = np.empty(points, dtype=np.int64)
        self._place_of_point[self._points[is_first]] = np.flatnonzero(is_first)
        by_leaf = vectors[self._points].reshape(leaves, self._leaf, dimension)
        self._low, self._high = _boxes(by_leaf)
        by_leaf.reshape(places, dimension)[~is_first] = np.inf
        # [leaves, D, points of a leaf]: one component of all points of a leaf lies in a row.
        self._leaves = np.ascontiguousarray(by_leaf.transpose(0, 2, 1))

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
        """See `index.bulk.AllNearest`."""
        places = self._place_of_point[queries]
        order = np.argsort(places)
        places = places[order]
        starts = np.flatnonzero(np.diff(places // self._leaf, prepend=-1))
        bounds = np.append(starts, len(places))
        found = np.empty((len(queries), k), dtype=np.int64)
        differ = np.ascontiguousarray(differ[:, self._points])
        groups = np.empty(0, dtype=np.int32) if one_of is None else one_of[self._points]
        band = np.array([min_distance, max_distance], dtype=np.float32) ** 2
        band[1] = np.nextafter(band[1], np.float32(np.inf))  # what is found is below it

        def answer(first: int) -> None:
            part = bounds[first : first + _LEAVES_A_TASK + 1]
            _answer(self._leaves, self._low, self._high, differ, groups, band, places, part, found)

        with ThreadPoolExecutor(self._threads) as threads:
            for _ in threads.map(answer, range(0, len(starts), _LEAVES_A_TASK)):
                pass  # stopped here, it cancels what has not begun
        answers = np.empty_like(found)
        answers[order] = np.where(found < 0, -1, self._points[found])
        return answers


def _split(vectors: NDArray[np.float32], points: NDArray[np.int64], leaf: int, threads: int) -> None:
    """Order points [P] so that each run of ``leaf`` of them is a leaf."""
    parts = 1
    while parts < threads * _TASKS_A_THREAD and len(points) // parts > leaf:
        parts *= 2
    _split_nodes(vectors, points, len(points) // parts)
    with ThreadPoolExecutor(threads) as executor:
        list(executor.map(lambda part: _split_nodes(vectors, part, leaf), np.split(points, parts)))


def _boxes(by_leaf: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Lowest and highest components [2 * leaves - 1, D] of all nodes: the root, its children, ..., leaves."""
    low, high = [by_leaf.min(axis=1)], [by_leaf.max(axis=1)]
    while len(low[-1]) > 1:
        low.append(np.minimum(low[-1][::2], low[-1][1::2]))
        high.append(np.maximum(high[-1][::2], high[-1][1::2]))
    return np.concatenate(low[::-1]), np.concatenate(high[::-1])


@_compiled
def _split_nodes(vectors, points, least):  # type: ignore[no-untyped-def]
    """Halve points [P] at the median of the widest axis, and the halves, down to ``least`` points."""
    stack = [(0, len(points))]
    while stack:
        first, last = stack.pop()
        if last - first <= least:
            continue
        middle = (first + last) // 2
        _select(vectors[:, _widest_axis(vectors, points[first:last])], points[first:last], middle - first)
        stack.append((first, middle))
        stack.append((middle, last))


@_compiled
def _widest_axis(vectors, points):  # type: ignore[no-untyped-def]
    """The axis along which a sample of the points varies most."""
    step = max(1, len(points) // _SPREAD_SAMPLE)
    widest, most = 0, -1.0
    for axis in range(vectors.shape[1]):
        total, squares, count = 0.0, 0.0, 0
        for place in range(0, len(points), step):
            value = np.float64(vectors[points[place], axis])
            total += value
            squares += value * value
            count += 1
        spread = squares - total * total / count
        if spread > most:
            widest, most = axis, spread
    return widest


@_compiled
def _select(values, points, middle):  # type: ignore[no-untyped-def]
    """Order points [n] so that those from ``middle`` on have no smaller value than those before (Hoare's)."""
    low, high = 0, len(points) - 1
    while low < high:
        pivot = values[points[(low + high) // 2]]
        left, right = low, high
        while left <= right:
            while values[points[left]] < pivot:
                left += 1
            while values[points[right]] > pivot:
                right -= 1
            if left <= right:
                points[left], points[right] = points[right], points[left]
                left += 1
                right -= 1
        if middle <= right:
            high = right
        elif middle >= left:
            low = left
        else:
            return


@_compiled
def _answer(leaves, low, high, differ, groups, band, places, bounds, found):  # type: ignore[no-untyped-def]
    """Neighbours ``found`` [Q, k], as places, of the points at ``places`` [Q].

    Those from one of ``bounds`` to before the next are of one leaf.
    """
    count, dimension, size = leaves.shape
    squared = np.empty((size, found.shape[1]), dtype=np.float32)
    queries = np.empty((dimension, size), dtype=np.float32)
    gaps_of, distances = np.empty(size, dtype=np.float32), np.empty(size, dtype=np.float32)
    nodes = np.empty(64, dtype=np.int64)  # a stack; the last node put there is the first one looked at
    gaps = np.empty(64, dtype=np.float32)
    for group in range(len(bounds) - 1):
        asked = places[bounds[group] : bounds[group + 1]]
        answers = found[bounds[group] : bounds[group + 1]]
        own = asked[0] // size
        for query in range(len(asked)):
            queries[:, query] = leaves[own, :, asked[query] - own * size]
        squared[:] = band[1]
        answers[:] = -1
        rules = (differ, groups, band[0])
        worst = _visit(own, leaves, low, high, rules, asked, queries, gaps_of, distances, squared, answers)
        nodes[0], gaps[0], top = 0, 0.0, 1
        while top:
            top -= 1
            node, leaf = nodes[top], nodes[top] - (count - 1)
            if gaps[top] * _SLACK > worst or leaf == own:
                continue
            if leaf >= 0:
                worst = _visit(
                    leaf, leaves, low, high, rules, asked, queries, gaps_of, distances, squared, answers
                )
                continue
            near, far = 2 * node + 1, 2 * node + 2
            to_near = _gap(low, high, near, count - 1 + own)
            to_far = _gap(low, high, far, count - 1 + own)
            if to_near > to_far:
                near, far, to_near, to_far = far, near, to_far, to_near
            nodes[top], gaps[top] = far, to_far
            nodes[top + 1], gaps[top + 1] = near, to_near
            top += 2


@_compiled
def _gap(low, high, one, two):  # type: ignore[no-untyped-def]
    """The least squared distance of a point in one box from a point in the other."""
    total = np.float32(0)
    for axis in range(low.shape[1]):
        gap = max(low[one, axis] - high[two, axis], low[two, axis] - high[one, axis], np.float32(0))
        total += gap * gap
    return total


@_compiled
def _visit(leaf, leaves, low, high, rules, asked, queries, gaps, distances, squared, found):  # type: ignore[no-untyped-def]
    """Compare the queries with the points of a leaf; returns the worst of their squared bounds."""
    _, dimension, size = leaves.shape
    differ, groups, least = rules
    box, last = len(leaves) - 1 + leaf, squared.shape[1] - 1

    gaps[:] = 0
    for axis in range(dimension):
        for query in range(size):
            value = queries[axis, query]
            gap = max(low[box, axis] - value, value - high[box, axis], np.float32(0))
            gaps[query] += gap * gap
    worst = np.float32(0)
    for query in range(len(asked)):
        if gaps[query] * _SLACK <= squared[query, last]:
            distances[:] = 0
            for axis in range(dimension):
                value = queries[axis, query]
                for point in range(size):
                    gap = leaves[leaf, axis, point] - value
                    distances[point] += gap * gap
            for point in range(size):
                distance, place = distances[point], leaf * size + point
                if least <= distance < squared[query, last] and _all_differ(differ, asked[query], place):
                    _insert(squared[query], found[query], distance, place, groups)
        worst = max(worst, squared[query, last])
    return worst


@_compiled
def _all_differ(differ, one, two):  # type: ignore[no-untyped-def]
    """Whether two places have different numbers in each row of ``differ`` [C, P]."""
    equal = 0
    for row in range(len(differ)):
        equal += differ[row, one] == differ[row, two]
    return equal == 0


@_compiled
def _insert(squared, found, distance, place, groups):  # type: ignore[no-untyped-def]
    """Put a place among the k found: in place of the last, or of a further one of its own group."""
    slot = len(squared) - 1
    if len(groups):
        for other in range(len(found)):
            if found[other] >= 0 and groups[found[other]] == groups[place]:
                if squared[other] <= distance:
                    return
                slot = other
                break
    while slot > 0 and squared[slot - 1] > distance:
        squared[slot], found[slot] = squared[slot - 1], found[slot - 1]
        slot -= 1
    squared[slot], found[slot] = distance, place

"""The slow, obvious answer to every search: all distances, one by one."""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim import Pool, PoseEmbedding
from index import NO_HAND, Filter, Neighbors

EF: Final = 400
"""Large: the tests are about the conditions of a search, not about the graph."""

Admits = Callable[[int, int], bool]
"""(row of the query, row of a candidate) -> whether the answer may hold it."""

FILTERS: Final[dict[str, tuple[Filter | None, Callable[[Pool, int], bool]]]] = {
    "none": (None, lambda pool, row: True),
    "source": (Filter(sources=("100doh",)), lambda pool, row: pool.sources[row] == "100doh"),
    "sides": (Filter(sides=("left",)), lambda pool, row: bool(pool.is_left[row])),
    "videos": (
        Filter(videos=("video 3", "video 8", "unknown")),
        lambda pool, row: pool.videos[row] in ("video 3", "video 8"),
    ),
    "labels": (
        Filter(labels=("pose 1", "pose 5")),
        lambda pool, row: pool.labels[row] in ("pose 1", "pose 5"),
    ),
    "score": (Filter(min_score=0.7), lambda pool, row: bool(pool.scores[row] >= np.float32(0.7))),
    "all at once": (
        Filter(sources=("ego4d",), sides=("right",), min_score=0.5),
        lambda pool, row: bool(
            pool.sources[row] == "ego4d" and not pool.is_left[row] and pool.scores[row] >= np.float32(0.5)
        ),
    ),
    "nothing passes": (Filter(videos=("unknown",)), lambda pool, row: False),
    "no side": (Filter(sides=()), lambda pool, row: False),
}
"""A filter, and (pool, row) -> whether that hand passes it."""


def admits_for(pool: Pool, name: str, *, other_video: bool) -> Admits:
    """What a search for hands of the pool through one of `FILTERS` admits: never the query's own hand."""
    passes = FILTERS[name][1]

    def admits(query: int, row: int) -> bool:
        is_own = query == row or (other_video and pool.videos[query] == pool.videos[row])
        return not is_own and passes(pool, row)

    return admits


def true_distances(
    pool: Pool,
    embedding: PoseEmbedding,
    rows: NDArray[np.intp],
    k: int,
    admits: Admits,
    *,
    per_video: bool = False,
    band: tuple[float, float] = (0.0, np.inf),
) -> NDArray[np.float64]:
    """[Q, k] distances of the hands nearest to those at rows [Q], of those admitted and within a band."""
    vectors = embedding.transform(pool.keypoints).astype(np.float64)
    answers = []
    for row in rows.tolist():
        distances = np.linalg.norm(vectors - vectors[row], axis=1)
        in_band = np.flatnonzero((band[0] <= distances) & (distances <= band[1])).tolist()
        candidates = [other for other in in_band if admits(row, other)]
        answers.append(nearest(pool, distances, candidates, k, per_video=per_video))
    return np.array(answers).reshape(len(rows), k)


def nearest(
    pool: Pool, distances: NDArray[np.floating], candidates: list[int], k: int, *, per_video: bool
) -> list[float]:
    """The k smallest of distances [N] among candidates, one per video where asked for; then infinity."""
    smallest: list[float] = []
    videos: set[str | None] = set()
    for row in sorted(candidates, key=lambda row: float(distances[row])):
        if not (per_video and pool.videos[row] in videos):
            smallest.append(float(distances[row]))
            videos.add(pool.videos[row])
    return [*smallest, *[np.inf] * k][:k]


def assert_sound(
    pool: Pool, embedding: PoseEmbedding, rows: NDArray[np.intp], neighbors: Neighbors, admits: Admits
) -> None:
    """Each hand once, admitted, with its own distance; the nearest first, then empty places."""
    assert (neighbors.hand_ids[~neighbors.is_found] == NO_HAND).all()
    vectors = embedding.transform(pool.keypoints)
    for place, row in enumerate(rows.tolist()):
        others = pool.rows(neighbors.hand_ids[place, neighbors.is_found[place]])
        assert len(set(others.tolist())) == len(others)
        assert all(admits(row, other) for other in others.tolist())
        distances = neighbors.distances[place, : len(others)]
        expected = np.linalg.norm(vectors[others] - vectors[row], axis=1)
        np.testing.assert_allclose(distances, expected, rtol=1e-4, atol=1e-5)
        assert (np.diff(distances) >= 0).all()


def assert_a_hand_a_video(pool: Pool, neighbors: Neighbors) -> None:
    """No two neighbours of one query are of the same video."""
    videos = pool.videos.codes[pool.rows(neighbors.hand_ids[neighbors.is_found])]
    queries = np.nonzero(neighbors.is_found)[0]
    assert len(set(zip(queries.tolist(), videos.tolist(), strict=True))) == len(videos)

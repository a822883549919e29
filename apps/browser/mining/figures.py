"""What a tried policy comes to, as numbers, a histogram, and hands to look at."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from apps.browser.mining.measuring import TriedSample

Order = Literal["worst", "best", "random"]
BINS: Final = 40


@dataclass(frozen=True)
class Figures:
    """One policy's numbers; None where there is no pair, or no label, to measure."""

    with_positive: float
    """Share of the anchors that have a positive; the others are their own, in a second view."""
    cross_video: float | None
    """Share of the pairs that lie in different videos."""
    pose_distance: float | None
    """Mean over pairs, in crop widths."""
    random_pose_distance: float | None
    """The same between random hands of different videos."""
    distance: float | None
    """Mean over pairs, in the index's embedding."""
    different: float | None
    """Different hands for each time that one is a positive: 1 where nobody is chosen twice."""
    most_chosen: int | None
    """Anchors that have the most-chosen hand among their positives."""
    same_label: float | None
    """Share of the labelled pairs with equal labels."""


def figures(tried: TriedSample) -> Figures:
    """The numbers of a tried policy."""
    paired = tried.paired
    some = bool(paired.any())
    apart = tried.random_distances
    return Figures(
        with_positive=float(paired.mean()),
        cross_video=float(tried.crosses[paired].mean()) if some else None,
        pose_distance=float(tried.pose_distances[paired].mean()) if some else None,
        random_pose_distance=float(apart.mean()) if len(apart) else None,
        distance=float(tried.distances[paired].mean(dtype=np.float64)) if some else None,
        different=tried.different_positives / tried.all_positives if some else None,
        most_chosen=int(tried.hub_counts[0]) if some else None,
        same_label=tried.same_label,
    )


@dataclass(frozen=True, eq=False)
class Histogram:
    """Shares of several sets of distances over the same bins."""

    edges: NDArray[np.float64]
    """[B + 1], rising from 0."""
    shares: dict[str, NDArray[np.float64]]
    """By name: [B], adding up to 1; sets without any are left out."""


def histogram(named: dict[str, NDArray[np.float64]], bins: int = BINS) -> Histogram:
    """Count distances, the finite ones, in bins from 0 to the largest of all."""
    finite = {name: distances[np.isfinite(distances)] for name, distances in named.items()}
    finite = {name: distances for name, distances in finite.items() if len(distances)}
    furthest = max((float(distances.max()) for distances in finite.values()), default=0.0)
    edges = np.linspace(0, furthest or 1.0, bins + 1)
    return Histogram(
        edges,
        {name: np.histogram(distances, edges)[0] / len(distances) for name, distances in finite.items()},
    )


def pairs_in_order(tried: TriedSample, order: Order, count: int, seed: int = 0) -> NDArray[np.intp]:
    """Places [at most count] of anchors with a positive, by pose distance, among equal ones by the id."""
    paired = np.flatnonzero(tried.paired)
    if order == "random":
        return np.random.default_rng(seed).permutation(paired)[:count]
    distances = tried.pose_distances[paired]
    return paired[np.lexsort((tried.anchors[paired], -distances if order == "worst" else distances))][:count]


def lonely_hands(tried: TriedSample, count: int) -> NDArray[np.uint64]:
    """Hands [at most count] without a positive, evenly spread over the sample."""
    alone = tried.anchors[~tried.paired]
    return alone[np.unique(np.linspace(0, len(alone) - 1, min(count, len(alone))).astype(np.intp))]


def distance_quantiles(tried: TriedSample) -> tuple[float, float] | None:
    """Embedding distances within which half of the pairs lie, and 95 of 100; None without pairs."""
    known = tried.distances[tried.paired].astype(np.float64)
    if not len(known):
        return None
    half, most = np.quantile(known, (0.5, 0.95))
    return float(half), float(most)

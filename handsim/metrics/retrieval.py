"""How good the results of a search are."""

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError


def precision_at_k(query_labels: NDArray[np.integer], neighbour_labels: NDArray[np.integer], k: int) -> float:
    """Mean share of the first k neighbours that have the query's label.

    Labels are codes, queries [Q] and neighbours [Q, at least k]. A negative code (no label, no
    neighbour) never counts as a match. Raises HandsimError without queries, for a query without a label
    and for k out of bounds.
    """
    _check_k(k, neighbour_labels)
    if (query_labels < 0).any():
        raise HandsimError("a query has no label; precision is measured on labelled queries only")
    return float((neighbour_labels[:, :k] == query_labels[:, None]).mean())


def recall_at_k(distances: NDArray[np.floating], true_distances: NDArray[np.floating], k: int) -> float:
    """Mean share of the k true nearest neighbours in the results of a search.

    Judged by distances, so that ties count as hits: ``distances`` of the results and ``true_distances`` are
    [Q, at least k], nearest first, infinite where there is no neighbour. A result is a hit when it is no
    further than the k-th true neighbour, but for rounding. Queries without any true neighbour are left out;
    1 when none has one. Raises HandsimError for k out of bounds.
    """
    _check_k(k, distances)
    _check_k(k, true_distances)
    exists = np.isfinite(true_distances[:, :k])
    expected = exists.sum(axis=1)
    limit = np.where(exists, true_distances[:, :k], -np.inf).max(axis=1)
    hits = (distances[:, :k] <= (limit * (1 + 1e-4) + 1e-6)[:, None]).sum(axis=1)
    counted = expected > 0
    return float((hits[counted] / expected[counted]).mean()) if counted.any() else 1.0


def pose_distance(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean over joints of the 2D distance between keypoints [N, 21, 2 or 3] and [N, 21, 2 or 3]: [N].

    In the unit of the keypoints; the distance that SiMHand weighs its pairs by (REFERENCE: "mpjpe"). Joints
    that are not labelled in both, of which there must be some, play no part.
    """
    difference = first[..., :2].astype(np.float64) - second[..., :2]
    distances: NDArray[np.float64] = np.nanmean(np.linalg.norm(difference, axis=-1), axis=-1)
    return distances


def _check_k(k: int, places: NDArray[np.generic]) -> None:
    if len(places) == 0:
        raise HandsimError("there are no queries to measure")
    if not 1 <= k <= places.shape[1]:
        raise HandsimError(f"k is {k}, but each query has {places.shape[1]} neighbours")

"""Poses with unlabelled joints, completed by what the labelled ones say of the others: conditional PCA.

The fitted PCA is read as a Gaussian, as probabilistic PCA does (Tipping and Bishop, Probabilistic Principal
Component Analysis, JRSS B 61(3), 1999). Normalised poses have mean m and covariance (their section 3.2)

    C = W (L - s I) W^T + s I,

where the columns of W are the D components, L holds their variances, and s is the mean variance of the
42 - D directions that the PCA leaves out. Of a pose whose coordinates o are labelled and u are not, u is
taken as its conditional mean:

    E[u | o] = m_u + C_uo C_oo^-1 (o - m_o).

Centring and scaling go by all 21 joints, so that centre and scale of a partly labelled pose are not known.
They begin as those that lay the labelled joints best over the mean pose; then pose and frame are estimated in
turn, until the completed pose has its centre at 0 and the scale 1, as every normalised pose has.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

_LEAST_NOISE: Final = 1e-6
"""In mean variances of a coordinate: the least s, so that C_oo can be inverted."""
_ROUNDS: Final = 200
_TOLERANCE: Final = 1e-6
"""In scales of a hand."""
_NO_EXTENT: Final = 1e-9
_CHUNK_HANDS: Final = 1024
"""Each takes a matrix of 42 x 42."""


class PoseCompletion:
    """The Gaussian of a fitted PCA, which completes poses."""

    covariance: NDArray[np.float64]
    """[F, F], C above."""

    def __init__(
        self,
        mean: NDArray[np.float64],
        components: NDArray[np.float64],
        variances: NDArray[np.float64],
        total_variance: float,
    ) -> None:
        """Of mean [F], components [D, F], their variances [D], and the variance over all F numbers."""
        size, left_out = len(mean), len(mean) - len(components)
        noise = (total_variance - float(variances.sum())) / left_out if left_out else 0.0
        noise = max(noise, _LEAST_NOISE * (total_variance or 1.0) / size)
        self._mean = mean
        self.covariance = (components.T * np.maximum(variances - noise, 0)) @ components
        self.covariance += noise * np.eye(size)

    def complete(
        self, points: NDArray[np.float64], labelled: NDArray[np.bool_], *, centre: bool, scale: bool
    ) -> NDArray[np.float64]:
        """Points [n, 21, 2], unchanged where ``labelled`` [n, 21], and finite everywhere.

        ``centre`` and ``scale`` say whether normalisation takes out the centre and the scale of a pose.
        """
        completed = points.copy()
        rows = np.flatnonzero(~labelled.all(axis=1))
        for start in range(0, len(rows), _CHUNK_HANDS):
            part = rows[start : start + _CHUNK_HANDS]
            completed[part] = self._complete(points[part], labelled[part], centre=centre, scale=scale)
        return completed

    def _complete(
        self, points: NDArray[np.float64], labelled: NDArray[np.bool_], *, centre: bool, scale: bool
    ) -> NDArray[np.float64]:
        is_known, known = labelled[:, :, None], np.repeat(labelled, 2, axis=1)
        # C_oo^-1 C_ou of every hand, in one shape: for unknown coordinates C_oo has rows of the identity.
        both_known = known[:, :, None] & known[:, None, :]
        within = np.where(both_known, self.covariance, np.eye(len(self._mean)))
        weights = np.linalg.solve(within, self.covariance * known[:, :, None])
        places = np.where(is_known, points, 0.0)
        mean = self._mean.reshape(-1, 2)
        origin, size = _lay_over(np.broadcast_to(mean, places.shape), places, is_known, scale=scale)
        if not centre:
            origin = np.zeros_like(origin)
        for _ in range(_ROUNDS):
            normalised = (places - origin) / size
            deviation = np.where(known, normalised.reshape(len(points), -1) - self._mean, 0.0)
            expected = mean + np.einsum("nij,ni->nj", weights, deviation).reshape(places.shape)
            completed = np.where(is_known, normalised, expected)
            shift = completed.mean(axis=1, keepdims=True) if centre else np.zeros_like(origin)
            growth = _extent(completed - shift, np.ones_like(is_known)) if scale else np.ones_like(size)
            change = np.maximum(np.abs(shift).max(axis=2, keepdims=True), np.abs(growth - 1))
            is_moving = change >= _TOLERANCE  # each hand by itself: what it becomes depends on no other one
            if not is_moving.any():
                break
            origin = np.where(is_moving, origin + size * shift, origin)
            size = np.where(is_moving, size * growth, size)
        return np.where(is_known, points, completed * size + origin)


def _lay_over(
    pose: NDArray[np.float64], points: NDArray[np.float64], is_known: NDArray[np.bool_], *, scale: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Origin [n, 1, 2] and size [n, 1, 1] that lay poses [n, 21, 2] over the known points."""
    centres = [np.where(is_known, each, 0).sum(axis=1, keepdims=True) for each in (pose, points)]
    pose_centre, centre = (each / is_known.sum(axis=1, keepdims=True) for each in centres)
    size = np.ones((len(points), 1, 1))
    if scale:
        size = _extent(points - centre, is_known) / _extent(pose - pose_centre, is_known)
    return centre - size * pose_centre, size


def _extent(centred: NDArray[np.float64], is_known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Root mean square distance [n, 1, 1] of known points [n, 21, 2] from the origin; never 0."""
    squares = np.where(is_known, np.square(centred), 0).sum(axis=(1, 2), keepdims=True)
    extents: NDArray[np.float64] = np.sqrt(squares / is_known.sum(axis=1, keepdims=True))
    return np.maximum(extents, _NO_EXTENT)

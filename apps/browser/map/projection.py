"""Vectors projected to the plane such that neighbours stay neighbours: UMAP (McInnes et al. 2018)."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_NEIGHBORS: Final = 15
_SEED: Final = 0
_FEWEST: Final = 32
"""A graph of neighbours says little about fewer vectors; they are projected to their principal axes."""


class PlaneProjection:
    """A projection fitted to some vectors; it can place others among them."""

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        """Fit to vectors [n, D]."""
        self._umap: Any = None
        self.places: NDArray[np.float32]
        """[n, 2], of the vectors that it is fitted to."""
        if len(vectors) < _FEWEST:
            self._mean = vectors.mean(axis=0)
            self._axes = _principal_axes(vectors - self._mean)
            self.places = (vectors - self._mean) @ self._axes
        else:
            from umap import UMAP  # seconds to import

            self._umap = UMAP(n_neighbors=_NEIGHBORS, random_state=_SEED, n_jobs=1)
            self.places = np.asarray(self._umap.fit_transform(vectors), dtype=np.float32)

    def transform(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Places [n, 2] of other vectors [n, D]. UMAP places those of one call together, so n matters."""
        if self._umap is None:
            places: NDArray[np.float32] = (vectors - self._mean) @ self._axes
            return places
        if len(vectors) == len(self.places):
            # UMAP takes just as many for the vectors that it is fitted to, and moves those. So not at once.
            half = len(vectors) // 2
            return np.concatenate([self.transform(vectors[:half]), self.transform(vectors[half:])])
        return np.asarray(self._umap.transform(vectors), dtype=np.float32)


def fit_unit_square(places: NDArray[np.float32]) -> NDArray[np.float32]:
    """Places [N, 2] rotated until they spread most from left to right, then moved and scaled (alike in x and
    y) to fill the unit square."""
    centred = places.astype(np.float64) - places.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    rotated = centred @ axes[:, ::-1]
    low, high = rotated.min(axis=0), rotated.max(axis=0)
    side = float((high - low).max()) or 1.0
    unit: NDArray[np.float64] = (rotated - (low + high) / 2) / side + 0.5
    return np.clip(unit, 0, 1).astype(np.float32)


def _principal_axes(centred: NDArray[np.float32]) -> NDArray[np.float32]:
    """[D, 2]; an axis that the vectors [n, D] do not have is zero."""
    _, _, rows = np.linalg.svd(centred, full_matrices=False)
    axes = np.zeros((centred.shape[1], 2), dtype=np.float32)
    axes[:, : min(2, len(rows))] = rows[:2].T
    return axes

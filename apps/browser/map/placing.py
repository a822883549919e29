"""Vectors laid flat: UMAP fitted to some of them, and asked for the places of the others."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_NEIGHBORS: Final = 15
_SEED: Final = 0
_FEWEST: Final = 32
"""Of fewer hands no graph of neighbours is worth a name; they are laid along their principal axes."""


class Placer:
    """Places in the plane such that neighbours stay neighbours (UMAP, McInnes et al. 2018)."""

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        """Fit to vectors [n, D]."""
        self._umap: Any = None
        self.fitted: NDArray[np.float32]
        """[n, 2], of the vectors it was fitted to."""
        if len(vectors) < _FEWEST:
            self._mean = vectors.mean(axis=0)
            self._axes = _principal_axes(vectors - self._mean)
            self.fitted = self._along_axes(vectors)
        else:
            from umap import UMAP  # seconds to import

            self._umap = UMAP(n_neighbors=_NEIGHBORS, random_state=_SEED, n_jobs=1)
            self.fitted = np.asarray(self._umap.fit_transform(vectors), dtype=np.float32)

    def place(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """[n, 2] of further vectors [n, D]; the same whenever asked for the same n together."""
        if self._umap is None:
            return self._along_axes(vectors)
        if len(vectors) == len(self.fitted):
            # UMAP takes so many for the hands that it was fitted to and moves those along: so not at once.
            half = len(vectors) // 2
            return np.concatenate([self.place(vectors[:half]), self.place(vectors[half:])])
        return np.asarray(self._umap.transform(vectors), dtype=np.float32)

    def _along_axes(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        places: NDArray[np.float32] = (vectors - self._mean) @ self._axes
        return places


def into_unit_square(places: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same places [N, 2] turned so that they spread most from left to right, moved, and scaled alike in
    x and y, to fill the unit square from its middle."""
    centred = places.astype(np.float64) - places.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    turned = centred @ axes[:, ::-1]
    low, high = turned.min(axis=0), turned.max(axis=0)
    side = float((high - low).max()) or 1.0
    unit: NDArray[np.float64] = (turned - (low + high) / 2) / side + 0.5
    return np.clip(unit, 0, 1).astype(np.float32)


def _principal_axes(centred: NDArray[np.float32]) -> NDArray[np.float32]:
    """[D, 2]; axes that the vectors [n, D] do not have are zero."""
    _, _, rows = np.linalg.svd(centred, full_matrices=False)
    axes = np.zeros((centred.shape[1], 2), dtype=np.float32)
    axes[:, : min(2, len(rows))] = rows[:2].T
    return axes

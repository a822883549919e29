"""Principal components in one pass over more rows than fit in memory."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class PrincipalComponents:
    """The directions in which rows of F numbers vary most."""

    mean: NDArray[np.float64]
    """[F] mean of the rows."""
    components: NDArray[np.float64]
    """[D, F] orthonormal rows, by falling variance; the largest entry of each is positive."""
    explained_variance: NDArray[np.float64]
    """[D] variance along each component."""
    total_variance: float
    """Variance over all F numbers."""

    @classmethod
    def fit(cls, chunks: Iterable[NDArray[np.floating]], components: int) -> "PrincipalComponents":
        """The first components of all rows of chunks [n, F]: exact, holding one chunk and two [F, F].

        Needs two rows or more, and at most F components.
        """
        mean, covariance = _moments(chunks)
        variances, vectors = np.linalg.eigh(covariance)
        rows = vectors.T[::-1][:components]
        # An eigenvector's sign is arbitrary: fixed, so that the same rows always give the same numbers.
        largest = np.take_along_axis(rows, np.abs(rows).argmax(axis=1, keepdims=True), axis=1)
        return cls(
            mean=mean,
            components=rows * np.where(largest < 0, -1.0, 1.0),
            explained_variance=np.maximum(variances[::-1][:components], 0.0),
            total_variance=float(np.trace(covariance)),
        )


def _moments(chunks: Iterable[NDArray[np.floating]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean [F] and covariance [F, F] (n - 1) over all chunks [n, F], merged as by Chan et al. (1979).

    Each chunk is centred by its own mean first, so that nothing cancels.
    """
    count, mean, scatter = 0, np.zeros(1), np.zeros((1, 1))
    for chunk in chunks:
        total = count + len(chunk)
        centred = chunk.astype(np.float64)
        chunk_mean = centred.mean(axis=0)
        centred -= chunk_mean
        shift = chunk_mean - mean
        scatter = scatter + centred.T @ centred
        scatter += np.outer(shift, shift) * (count * len(chunk) / total)
        mean = mean + shift * (len(chunk) / total)
        count = total
    return mean, scatter / (count - 1)

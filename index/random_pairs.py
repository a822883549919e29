"""How far apart random hands of a version lie: by its place among them, people can read a distance."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from handsim.files import replacing
from index.version import IndexVersion

_HANDS: Final = 1_500
"""Hands of which all pairs are measured: a million."""
_QUANTILES: Final = 10_001


@dataclass(frozen=True, eq=False)
class RandomPairs:
    """The distances between random hands of a version."""

    distances: NDArray[np.float32]
    """[Q] their quantiles from the least to the largest, evenly spaced; none of a version of one hand."""

    @classmethod
    def measure(cls, version: IndexVersion) -> "RandomPairs":
        """Of all pairs of 1,500 random hands, or of all hands of a smaller version."""
        vectors = version.vectors(version.sample(_HANDS)).astype(np.float64)
        squares = np.square(vectors).sum(axis=1)
        first, second = np.triu_indices(len(vectors), 1)
        apart = squares[:, None] + squares - 2 * vectors @ vectors.T
        distances = np.sqrt(np.maximum(apart[first, second], 0.0))
        if not len(distances):
            return cls(np.empty(0, dtype=np.float32))
        return cls(np.quantile(distances, np.linspace(0, 1, _QUANTILES)).astype(np.float32))

    def share_further(self, distance: float) -> float | None:
        """The share of random pairs that lie further apart than ``distance``; None where there are none."""
        if not len(self.distances):
            return None
        return 1 - int(np.searchsorted(self.distances, distance, side="right")) / len(self.distances)


def find_random_pairs(version: IndexVersion, folder: Path) -> RandomPairs:
    """The random pairs of a version, as measured once and kept in ``folder``, which may be read-only."""
    path = folder / f"{version.info.name}.npz"
    state = "-".join(version.info.state)
    with suppress(OSError, ValueError, KeyError, BadZipFile), np.load(path, allow_pickle=False) as kept:
        if str(kept["state"]) == state:
            return RandomPairs(kept["distances"])
    pairs = RandomPairs.measure(version)
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, state=np.array(state), distances=pairs.distances)
    return pairs

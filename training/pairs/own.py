"""Two views of the anchor itself, as in SimCLR (Chen et al., 2020) and PeCLR (Spurr et al., 2021)."""

import numpy as np
from numpy.typing import NDArray

from training.pairs.drawn import DrawnPairs


class OwnViews:
    """A `PairSource` that pairs every hand with itself."""

    def draw(self, anchors: NDArray[np.uint64], rng: np.random.Generator) -> DrawnPairs:
        """The anchors [B] as their own positives; no anchor counts as one without."""
        return DrawnPairs(
            anchors=anchors,
            positives=anchors.copy(),
            distances=np.full(len(anchors), np.nan, dtype=np.float32),
            negatives=np.empty((len(anchors), 0), dtype=np.uint64),
        )

    def close(self) -> None:
        """Nothing to let go of."""

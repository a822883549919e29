"""SiMHand's weights of positive pairs, told without the network's libraries.

The formulas are those of `training.losses.weights`, which the tests compare them with; a page needs a few
thousand numbers, and not the seconds and the memory that loading those libraries takes.
"""

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

WeightForm = Literal["linear", "sigmoid"]

LAMBDA: Final = 0.1 * 128
"""Steepness of the sigmoid per crop width: SiMHand's 0.1 is per pixel of a view 128 pixels wide."""
_ROUNDING: Final = 8 * float(np.finfo(np.float32).eps)
"""Distances that differ by less than this part are equal: keypoints are float32."""


def pair_weights(pose_distances: NDArray[np.float64], form: WeightForm) -> NDArray[np.float64]:
    """Weights [N] in 0..1 of pairs by their pose distances [N] in crop widths, as if they were one batch.

    linear: 1 for the nearest pair to 0 for the furthest; sigmoid: 1 / (1 + exp(lambda (d - mean d))). What is
    no finite number has no pair: NaN, and it counts in no min, max or mean.
    """
    paired = np.isfinite(pose_distances)
    weights = np.full(len(pose_distances), np.nan)
    known = pose_distances[paired]
    if not len(known):
        return weights
    if form == "sigmoid":
        weights[paired] = 1 / (1 + np.exp(LAMBDA * (known - known.mean())))
        return weights
    nearest, furthest = known.min(), known.max()
    spread = furthest - nearest
    weights[paired] = (furthest - known) / spread if spread > _ROUNDING * furthest else 1.0
    return weights

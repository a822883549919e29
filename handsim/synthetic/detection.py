"""Keypoints as a detector gives them: near the truth, and less near where it cannot see."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError
from handsim.geometry import CROP_ENLARGEMENT

HIDDEN_FACTOR: Final = 3.0
"""How much further off a detector is at joints that something hides: it guesses them."""
MOST_NOISE: Final = 0.5


def check_keypoint_noise(noise: float) -> None:
    """Raises HandsimError for what is no share of a hand's size."""
    if not (math.isfinite(noise) and 0 <= noise <= MOST_NOISE):
        raise HandsimError(
            f"keypoint_noise is {noise}; it is a share of the hand's box, from 0 (exact) to {MOST_NOISE}"
        )


def as_detected(
    rng: np.random.Generator, keypoints: NDArray[np.float32], visible: NDArray[np.bool_], noise: float
) -> NDArray[np.float32]:
    """Keypoints [N, 21, 3] in the unit square of crops (`Hand.keypoints`), each moved at random.

    ``noise`` is the standard deviation of each coordinate, as a share of the longer side of the hand's box;
    where a joint is not ``visible`` [N, 21] it is `HIDDEN_FACTOR` times that.
    """
    sigma = noise / CROP_ENLARGEMENT * np.where(visible, 1.0, HIDDEN_FACTOR)
    moved = keypoints + sigma[..., None] * rng.standard_normal(keypoints.shape)
    return moved.astype(np.float32)

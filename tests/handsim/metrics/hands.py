"""Hands to measure: true ones as FreiHAND's lie before the camera, and predictions near them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handsim.skeleton import JOINT_COUNT

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Hands:
    """Joints [N, 21, 3] in mm and which of them [N, 21] are valid; the truth is NaN where they are not."""

    predicted_mm: Floats
    true_mm: Floats
    valid: NDArray[np.bool_]


def random_hands(seed: int, count: int = 6, valid_share: float = 1.0) -> Hands:
    """Without any structure; each joint is valid with a chance of ``valid_share``."""
    random = np.random.default_rng(seed)
    true = random.normal(0, 40, (count, JOINT_COUNT, 3)) + random.normal((0, 0, 700), 50, (count, 1, 3))
    predicted = true + random.normal(0, 12, true.shape) + random.normal(0, 20, (count, 1, 3))
    valid = random.random((count, JOINT_COUNT)) < valid_share
    true[~valid] = np.nan
    return Hands(predicted, true, valid)


def random_rotation(random: np.random.Generator) -> Floats:
    """A proper rotation [3, 3], uniform, from a random quaternion."""
    return rotation_of(random.normal(size=4))


def rotation_of(quaternion: Floats) -> Floats:
    """The rotation [3, 3] of a quaternion [4] (w, x, y, z) of any length."""
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )

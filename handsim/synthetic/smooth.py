"""Smooth random signals and smooth ways from one value to the next."""

import numpy as np
from numpy.typing import NDArray


def wander(
    rng: np.random.Generator, frames: int, channels: int, period: tuple[float, float]
) -> NDArray[np.float64]:
    """Smooth noise [frames, channels] of mean 0 and standard deviation 1: three sine waves a channel.

    ``period`` is the range of the waves' periods in frames.
    """
    periods = np.exp(rng.uniform(np.log(period[0]), np.log(period[1]), (3, channels)))
    phases = rng.uniform(0, 2 * np.pi, (3, channels))
    weights = rng.standard_normal((3, channels))
    time = np.arange(frames)[:, None, None]
    waves = np.sin(2 * np.pi * time / periods + phases)
    wandering: NDArray[np.float64] = (waves * weights).sum(axis=1) * np.sqrt(2 / 3)
    return wandering


def minimum_jerk(progress: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far a reaching movement is (0 to 1) after a part ``progress`` of its time: the path of least jerk.

    Flash and Hogan (1985): 10 p^3 - 15 p^4 + 6 p^5.
    """
    return progress**3 * (10 - 15 * progress + 6 * progress**2)

"""The One Euro filter: joints that rest are steadied, joints that move are hardly delayed.

Casiez, Roussel and Vogel, "1 Euro Filter: A Simple Speed-based Low-pass Filter for Noisy Input in Interactive
Systems", CHI 2012. A low-pass filter of first order whose cutoff frequency rises with the speed. Here the
speed is that of each joint as a whole, not of each coordinate, and it is in hand sizes a second, so that one
setting fits hands of any size, in pixels and in millimetres. Times are those of the frames, so that frames
may be missing and videos be sampled at any rate.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError

RESTING_HZ: Final = 1.0
"""The cutoff frequency for a joint at rest, at strength 1: the paper's first guess."""
HZ_PER_SPEED: Final = 16.0
"""How much it rises with each hand size a second: the paper's beta."""
_SPEED_HZ: Final = 1.0
"""The cutoff frequency for the velocity: the paper's."""


class OneEuroFilter:
    """Smooths points that move together, such as the joints of a hand; it is given one moment after another.

    A point that moves steadily lags behind by less than ``strength / (2 pi HZ_PER_SPEED)`` hand sizes, at any
    speed and frame rate: 1 % of its size at strength 1. Resting joints that waver by 1 % of the hand are left
    with half of that at 30 frames a second.
    """

    def __init__(self, strength: float) -> None:
        """``strength`` 0 changes nothing; cutoff frequencies are divided by it.

        Raises HandsimError if it is negative or not finite.
        """
        check_strength(strength)
        self._strength = strength
        self._time_s: float | None = None
        self._given: NDArray[np.float64]
        self._velocity: NDArray[np.float64]
        self._smooth: NDArray[np.float64]

    def smooth(self, time_s: float, points: NDArray[np.floating], size: float) -> NDArray[np.float64]:
        """The smoothed points [N, D] at a time that is after all others.

        ``size`` is how large the hand is, in the unit of the points. Raises HandsimError for a time that is
        not after the last one.
        """
        given = np.asarray(points, np.float64)
        if self._time_s is None:
            self._smooth, self._velocity = given, np.zeros_like(given)
        else:
            elapsed_s = time_s - self._time_s
            if not elapsed_s > 0:
                raise HandsimError(f"{time_s:g} s is not after {self._time_s:g} s; give the frames in order")
            velocity = (given - self._given) / elapsed_s
            self._velocity = self._velocity + _share(_SPEED_HZ, elapsed_s) * (velocity - self._velocity)
            speed = np.linalg.norm(self._velocity, axis=1, keepdims=True) / size
            cutoff_hz = (RESTING_HZ + HZ_PER_SPEED * speed) / self._strength if self._strength else np.inf
            self._smooth = given + (1 - _share(cutoff_hz, elapsed_s)) * (self._smooth - given)
        self._time_s, self._given = time_s, given
        return self._smooth


def check_strength(strength: float) -> None:
    """Raise HandsimError for a strength of smoothing that is negative or not finite."""
    if not 0 <= strength < math.inf:
        raise HandsimError(f"the strength of smoothing is {strength:g}; it is 0 (none) or more")


def _share(cutoff_hz: "NDArray[np.float64] | float", elapsed_s: float) -> "NDArray[np.float64] | float":
    """How much of what is new passes a low-pass filter of first order, after so long a time."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff_hz * elapsed_s))

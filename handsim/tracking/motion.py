"""Where a moving point is expected: its velocity is kept, and fades.

The velocity is an Ornstein-Uhlenbeck process, as in Singer's model of a target that manoeuvres: over times
much shorter than `_FADING_S` the point glides on, over longer ones nobody knows where it turned. So one set
of numbers is right for 30 frames a second, at which hands glide, and for one, at which they jump. Variances
are in hand sizes.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

_FADING_S: Final = 0.5
"""After this time a hand has forgotten all but 37 % of its velocity."""
_SPEED: Final = 3.0
"""How fast hands move, in each direction (standard deviation), in hand sizes a second."""
_WAVER: Final = 0.08
"""How much the centre of a found box wavers, in hand sizes: it also moves as fingers open and close."""


@dataclass(frozen=True)
class Expectation:
    """Where a point will be."""

    place_px: NDArray[np.float64]
    """[2]."""
    velocity_px: NDArray[np.float64]
    """[2] a second."""
    variances: tuple[float, float, float]
    """Of the place, of place and velocity together, and of the velocity: in each direction, in hand sizes."""

    @property
    def spread(self) -> float:
        """Variance, in each direction, of the place where the point will be found, in hand sizes squared."""
        return self.variances[0] + _WAVER**2


@dataclass
class MovingPoint:
    """A point that was found at some moments: a Kalman filter of its place and velocity."""

    place_px: NDArray[np.float64]
    """[2]."""
    velocity_px: NDArray[np.float64]
    """[2] a second."""
    variances: tuple[float, float, float] = (_WAVER**2, 0.0, _SPEED**2)
    """As in `Expectation`."""

    @classmethod
    def at_rest(cls, place_px: NDArray[np.float64]) -> "MovingPoint":
        """A point that was found once: its velocity is not known."""
        return cls(place_px, np.zeros(2))

    def after(self, elapsed_s: float) -> Expectation:
        """Where it is expected to be."""
        keeps = math.exp(-elapsed_s / _FADING_S)
        reach_s = _FADING_S * (1 - keeps)
        place, both, velocity = self.variances
        wandered = _FADING_S * (2 * elapsed_s - _FADING_S * (3 - 4 * keeps + keeps**2))
        return Expectation(
            self.place_px + reach_s * self.velocity_px,
            keeps * self.velocity_px,
            (
                place + 2 * reach_s * both + reach_s**2 * velocity + _SPEED**2 * wandered,
                keeps * (both + reach_s * velocity) + _SPEED**2 * reach_s**2 / _FADING_S,
                keeps**2 * velocity + _SPEED**2 * (1 - keeps**2),
            ),
        )

    def find(self, place_px: NDArray[np.float64], elapsed_s: float) -> None:
        """It was found at a place [2], so long after the last time."""
        expected = self.after(elapsed_s)
        place, both, velocity = expected.variances
        off_px, trust = place_px - expected.place_px, 1 / expected.spread
        self.place_px = expected.place_px + place * trust * off_px
        self.velocity_px = expected.velocity_px + both * trust * off_px
        self.variances = (
            place - place * trust * place,
            both - place * trust * both,
            velocity - both * trust * both,
        )

"""One number of a run over its steps, in bounded memory."""

from array import array
from typing import Final

import numpy as np
from numpy.typing import NDArray

MOST: Final = 1000
"""More points than a chart is wide."""

Points = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Steps [N] and values [N], in the order they came."""


class Curve:
    """The points of a curve; where they are too many, equal portions of them are averaged.

    A portion doubles whenever there is no room left, so that the whole curve is always there, evenly.
    """

    def __init__(self, most: int = MOST) -> None:
        """``most`` is how many points are kept; even."""
        assert most % 2 == 0
        self._most = most
        self._steps, self._values = array("d"), array("d")
        self._portion = 1
        self._count, self._step_sum, self._value_sum = 0, 0.0, 0.0

    def __len__(self) -> int:
        return len(self._steps) + bool(self._count)

    def add(self, step: float, value: float) -> None:
        """Add the next point."""
        self._count += 1
        self._step_sum += step
        self._value_sum += value
        if self._count < self._portion:
            return
        self._steps.append(self._step_sum / self._count)
        self._values.append(self._value_sum / self._count)
        self._count, self._step_sum, self._value_sum = 0, 0.0, 0.0
        if len(self._steps) == self._most:
            self._steps, self._values = _halved(self._steps), _halved(self._values)
            self._portion *= 2

    def points(self) -> Points:
        """All of it; what is left of a portion is a point of its own."""
        steps, values = np.array(self._steps), np.array(self._values)
        if self._count:
            steps = np.append(steps, self._step_sum / self._count)
            values = np.append(values, self._value_sum / self._count)
        return steps, values


def _halved(numbers: "array[float]") -> "array[float]":
    return array("d", np.array(numbers).reshape(-1, 2).mean(axis=1).tobytes())


def smoothed(values: NDArray[np.float64], weight: float) -> NDArray[np.float64]:
    """Values [N] as exponential moving averages, of which the first ones are not drawn towards zero.

    ``weight`` in 0 to 1 (excluded) is that of what came before; 0 changes nothing.
    """
    result = np.empty_like(values)
    mean, share = 0.0, 0.0
    for place, value in enumerate(values.tolist()):
        mean = weight * mean + (1 - weight) * value
        share = weight * share + (1 - weight)
        result[place] = mean / share
    return result

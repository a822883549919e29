"""Choosing at random among what many queries found, all at once."""

import numpy as np
from numpy.typing import NDArray


def choose(
    valid: NDArray[np.bool_], count: int, rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Different places [Q, count] among those where ``valid`` [Q, K] holds, each as likely as the other.

    Also [Q, count] which of them are to be taken: the first ones, as many as are valid. K is at least count.
    """
    keys = np.where(valid, rng.random(valid.shape), np.inf)
    places = np.argsort(keys, axis=1)[:, :count]
    return places, np.take_along_axis(valid, places, axis=1)

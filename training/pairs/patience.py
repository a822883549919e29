"""Waiting for an index that is away: a server that restarts is no reason to end a run."""

import time
from collections.abc import Callable
from copy import deepcopy
from threading import Event
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.errors import UnavailableError
from training.pairs.drawn import DrawnPairs, PairSource

_FIRST_PAUSE_S: Final = 0.5
_LONGEST_PAUSE_S: Final = 30.0

OnWait = Callable[[UnavailableError | None, float], None]
"""Called with (error, 0) when the index turns out to be away, with (None, seconds waited) when it is back."""


class Patient:
    """A `PairSource` that asks another one again, ever later, while its index is away."""

    def __init__(
        self,
        source: PairSource,
        patience_s: float,
        *,
        on_wait: OnWait | None = None,
        pause: Callable[[float], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """It gives up ``patience_s`` after the index was first found away.

        ``pause`` waits seconds and tells whether to stop waiting for good; None: until `stop_waiting`.
        """
        self._source, self._patience_s = source, patience_s
        self._on_wait = on_wait or (lambda error, waited_s: None)
        self._stopped = Event()
        self._pause, self._clock = pause or self._stopped.wait, clock

    def draw(self, anchors: NDArray[np.uint64], rng: np.random.Generator) -> DrawnPairs:
        """What the other source draws; raises UnavailableError once the index was waited for too long."""
        try:
            return self._try(anchors, rng)
        except UnavailableError as error:
            since = self._clock()
            self._on_wait(error, 0.0)
            return self._draw_later(anchors, rng, error, since)

    def stop_waiting(self) -> None:
        """Give up at once on an index that is away, now or later; a signal's handler may call this."""
        self._stopped.set()

    def close(self) -> None:
        """Stop waiting, and let go of the other source."""
        self.stop_waiting()
        self._source.close()

    def _draw_later(
        self, anchors: NDArray[np.uint64], rng: np.random.Generator, error: UnavailableError, since: float
    ) -> DrawnPairs:
        pause_s = _FIRST_PAUSE_S
        while (left_s := self._patience_s - (self._clock() - since)) > 0:
            if self._pause(min(pause_s, left_s)):
                break
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            try:
                drawn = self._try(anchors, rng)
            except UnavailableError as another:
                error = another
            else:
                self._on_wait(None, self._clock() - since)
                return drawn
        waited_s = self._clock() - since
        raise UnavailableError(f"the index was waited for {waited_s:.0f} s in vain: {error}") from error

    def _try(self, anchors: NDArray[np.uint64], rng: np.random.Generator) -> DrawnPairs:
        # A try that fails may have used up some of the random numbers: the next one shall have them all.
        return self._source.draw(anchors, deepcopy(rng))

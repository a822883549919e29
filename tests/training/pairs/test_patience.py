"""Waiting, on a clock that only the waiting moves."""

import numpy as np
import pytest

from handsim.errors import UnavailableError
from tests.training.pairs.scripts import Away, Scripted
from training.pairs import RetryingPairSource

ANCHORS = np.arange(4, dtype=np.uint64)


class Clock:
    """Tells the time, and lets it pass."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.now = 100.0
        self.pauses: list[float] = []
        self._stop_after = stop_after

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> bool:
        self.pauses.append(seconds)
        self.now += seconds
        return len(self.pauses) == self._stop_after


def patient(
    source: Away, patience_s: float, clock: Clock, told: list[tuple[str | None, float]]
) -> RetryingPairSource:
    return RetryingPairSource(
        source,
        patience_s,
        on_wait=lambda error, waited_s: told.append((None if error is None else str(error), waited_s)),
        pause=clock.pause,
        clock=clock,
    )


def test_it_asks_again_ever_later_and_says_so_once() -> None:
    clock, told = Clock(), list[tuple[str | None, float]]()
    source = Away(range(1, 10))
    waiting = patient(source, 600.0, clock, told)
    waiting.draw(ANCHORS, np.random.default_rng(0))
    assert clock.pauses == []
    drawn = waiting.draw(ANCHORS, np.random.default_rng(8))
    assert clock.pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert told == [("the server does not answer, for the 2th time", 0.0), (None, 121.5)]
    # As if nothing had been: failed tries used up no random numbers.
    assert drawn.version == f"{np.random.default_rng(8).random()}"
    waiting.draw(ANCHORS, np.random.default_rng(0))
    assert len(told) == 2


def test_it_gives_up() -> None:
    clock, told = Clock(), list[tuple[str | None, float]]()
    waiting = patient(Away(range(100)), 20.0, clock, told)
    with pytest.raises(UnavailableError) as error:
        waiting.draw(ANCHORS, np.random.default_rng(0))
    assert clock.pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 4.5]
    assert str(error.value) == (
        "the index was waited for 20 s in vain: the server does not answer, for the 7th time"
    )
    assert [waited_s for _, waited_s in told] == [0.0]
    # The next batch may try again, with all patience.
    with pytest.raises(UnavailableError, match="for 20 s in vain"):
        waiting.draw(ANCHORS, np.random.default_rng(0))


def test_no_patience_at_all() -> None:
    clock = Clock()
    with pytest.raises(UnavailableError, match="for 0 s in vain"):
        patient(Away([0]), 0.0, clock, []).draw(ANCHORS, np.random.default_rng(0))
    assert clock.pauses == []


def test_it_stops_when_told() -> None:
    clock = Clock(stop_after=3)
    source = Away(range(100))
    with pytest.raises(UnavailableError, match="waited for 4 s in vain"):
        patient(source, 600.0, clock, []).draw(ANCHORS, np.random.default_rng(0))
    assert source.draws == 3
    # Without a clock of one's own: the wait ends before it began.
    waiting = RetryingPairSource(source, 600.0)
    waiting.close()
    assert source.closed
    with pytest.raises(UnavailableError, match="waited for 0 s in vain"):
        waiting.draw(ANCHORS, np.random.default_rng(0))


def test_other_errors_are_not_waited_out() -> None:
    def fail(number: int) -> None:
        raise KeyError(number)

    with pytest.raises(KeyError):
        RetryingPairSource(Scripted(fail), 600.0).draw(ANCHORS, np.random.default_rng(0))

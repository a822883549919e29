"""Sources of pairs that do what a test tells them."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from handsim.errors import UnavailableError
from training.pairs import PairDraw, SelfPairs


class Scripted(SelfPairs):
    """Own views; before every draw it calls what it was given, with the number of the draw."""

    def __init__(self, before: Callable[[int], object] = lambda number: None) -> None:
        self.before = before
        self.draws = 0
        self.closed = False

    def draw(self, anchors: NDArray[np.uint64], rng: np.random.Generator) -> PairDraw:
        number, self.draws = self.draws, self.draws + 1
        self.before(number)
        return super().draw(anchors, rng)

    def close(self) -> None:
        self.closed = True


class Away(Scripted):
    """An index that is away at the draws told; each draw tells its first random number as its version."""

    def __init__(self, draws: Iterable[int]) -> None:
        super().__init__()
        self._away = set(draws)

    def draw(self, anchors: NDArray[np.uint64], rng: np.random.Generator) -> PairDraw:
        drawn = super().draw(anchors, rng)
        random = rng.random()
        if self.draws - 1 in self._away:
            raise UnavailableError(f"the server does not answer, for the {self.draws}th time")
        return replace(drawn, version=f"{random}")

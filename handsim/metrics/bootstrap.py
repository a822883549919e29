"""How sure a mean over hands is, and the difference of two: a bootstrap over people, and over training seeds.

The hands of one person err alike, so people are drawn and not hands: each draw takes as many people as there
are, with replacement, each with all of its hands (Davison and Hinkley, Bootstrap Methods, 1997, section 3.8).
Two methods that are compared get the same draws, which cancels what is hard for both.

A method's number is a mean over training seeds, and other seeds give another mean. Three are too few to be
drawn from one another: where seeds are all that varies, such intervals of 95 % have the truth in them in
three cases of four. So each draw adds s / sqrt(S) times a number from Student's t with S - 1 degrees of
freedom, s being the standard deviation over the S seeds. The interval is then the t-interval over seeds where
people do not vary, and the percentile interval over people where seeds do not. One seed says nothing of
others: its interval is that of this one network.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from handsim.errors import HandsimError

Floats = NDArray[np.float64]

DRAWS: Final = 10_000
LEVEL: Final = 0.95
"""The share of intervals that have the true number in them."""
SEED: Final = 0
"""Of the draws; a fixed one, so that the same errors give the same interval."""
_CHUNK_NUMBERS: Final = 2_000_000
"""Draws times people in memory at once."""
_PEOPLE, _SEEDS = 0, 1
"""Streams of random numbers."""


@dataclass(frozen=True, eq=False)
class PersonSums:
    """What the mean of a number over hands is made of, person by person.

    The number may have C columns, such as the 21 joints: the mean is then the mean over columns of each
    column's own mean, as benchmarks of hand pose take it (see `handsim.metrics.pose`).
    """

    people: tuple[str, ...]
    """[P] in the order of their names."""
    sums: Floats
    """[P, C]."""
    counts: Floats
    """[P, C] how many hands of a person have the number."""

    @property
    def mean(self) -> float:
        """Over all hands; NaN where none has the number."""
        return float(self.means(np.ones((1, len(self.people))))[0])

    def means(self, weights: Floats) -> Floats:
        """The means [B] in which each person counts ``weights`` [B, P] times; NaN where no hand is left.

        A column that none of the people who count has is left out.
        """
        counts = weights @ self.counts
        columns = np.divide(weights @ self.sums, counts, out=np.zeros_like(counts), where=counts > 0)
        measured = (counts > 0).sum(axis=1)
        means: Floats = np.full(len(weights), np.nan)
        np.divide(columns.sum(axis=1), measured, out=means, where=measured > 0)
        return means


def sum_by_person(values: ArrayLike, people: Sequence[str]) -> PersonSums:
    """Of ``values`` [N] or [N, C] of N hands, NaN where not measured; ``people`` [N] says whose they are."""
    numbers = np.asarray(values, np.float64).reshape(len(people), -1)
    names, owners = np.unique(np.array(people, dtype=str), return_inverse=True)
    measured = ~np.isnan(numbers)
    sums, counts = np.zeros((2, len(names), numbers.shape[1]))
    np.add.at(sums, owners, np.where(measured, numbers, 0.0))
    np.add.at(counts, owners, measured)
    return PersonSums(tuple(names.tolist()), sums, counts)


def bootstrap_interval(
    runs: Sequence[PersonSums],
    reference: Sequence[PersonSums] | None = None,
    *,
    draws: int = DRAWS,
    seed: int = SEED,
) -> tuple[float, float] | None:
    """The interval at `LEVEL` of the mean over ``runs``, one for each training seed.

    With ``reference``, runs with the same seeds in the same order, it is that of the mean difference to them.
    None for fewer than two people, who cannot be drawn. Raises HandsimError for runs on different people.
    """
    people = runs[0].people
    if any(each.people != people for each in (*runs, *(reference or ()))):
        raise HandsimError("the runs were not evaluated on the same people; compare runs on one split")
    if len(people) < 2:
        return None
    pairs: list[tuple[PersonSums, PersonSums | None]] = [(run, None) for run in runs]
    if reference is not None:
        pairs = list(zip(runs, reference, strict=True))

    def estimate(weights: Floats) -> Floats:
        """[S, B] of each seed."""
        return np.stack(
            [run.means(weights) - (0.0 if other is None else other.means(weights)) for run, other in pairs]
        )

    drawn = np.concatenate(
        [estimate(weights).mean(axis=0) for weights in draw_people(len(people), draws, seed)]
    )
    if len(runs) > 1:
        over_seeds = estimate(np.ones((1, len(people))))[:, 0]
        error = over_seeds.std(ddof=1) / math.sqrt(len(runs))
        drawn += error * np.random.default_rng([_SEEDS, seed]).standard_t(len(runs) - 1, draws)
    low, high = np.nanquantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def draw_people(people: int, draws: int, seed: int) -> Iterator[Floats]:
    """How often each of P people is in each draw: weights [some draws, P], ``draws`` in all."""
    random = np.random.default_rng([_PEOPLE, seed])
    chunk = max(1, _CHUNK_NUMBERS // people)
    for start in range(0, draws, chunk):
        size = min(chunk, draws - start)
        yield random.multinomial(people, np.full(people, 1 / people), size=size).astype(np.float64)

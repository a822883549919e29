"""What the queries of one search have in common, said once for all engines."""

import math
from dataclasses import dataclass
from typing import Final

from handsim.errors import HandsimError
from index.filter import Filter


@dataclass(frozen=True)
class SearchOptions:
    """How to search, and which hands may be answered.

    Raises HandsimError for a value out of its bounds, or for two that exclude each other.
    """

    filter: Filter | None = None
    """Conditions on the hands themselves."""
    one_per_video: bool = False
    """Answer only the nearest hand of each video."""
    min_distance: float = 0.0
    """Leave out what is nearer than this. With ``max_distance`` a band: hard negatives lie in one."""
    max_distance: float | None = None
    """Leave out what is further than this, in the index's embedding."""
    diversity: float = 0.0
    """0 answers the nearest hands; towards 1, hands that are near but unlike each other: maximal marginal
    relevance (Carbonell and Goldstein, SIGIR 1998) among the nearest ten times as many."""
    exact: bool = False
    """Compare all hands instead of walking the graph."""
    ef: int | None = None
    """Candidates looked at on the graph; None takes what the index was built for."""
    with_payload: bool = False
    """Answer what is known of each hand, too."""

    def __post_init__(self) -> None:
        if self.ef is not None and self.ef < 1:
            raise HandsimError(f"ef is {self.ef}; it counts the candidates to look at, so it is at least 1")
        for name, low, high in (
            ("min_distance", 0.0, math.inf),
            ("max_distance", self.min_distance, math.inf),
            ("diversity", 0.0, 1.0),
        ):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and low <= value <= high):
                raise HandsimError(f"{name} is {value}; it lies between {low:g} and {high:g}")
        if self.diversity and (self.one_per_video or self.min_distance):
            raise HandsimError(
                "diversity goes neither with one_per_video nor with min_distance; choose one of them"
            )

    @property
    def generous_max_distance(self) -> float | None:
        """``max_distance``, or a hair more: engines round it to single precision before they cut."""
        return None if self.max_distance is None else self.max_distance * (1 + 1e-5) + 1e-6


DEFAULT_OPTIONS: Final = SearchOptions()

MMR_CANDIDATES: Final = 10
"""How many times as many hands as asked for diversity chooses among."""
_MOST_CANDIDATES: Final = 16_384


def mmr_candidates(k: int) -> int:
    """How many hands diversity chooses k among; raises HandsimError for more than a server compares."""
    if k > _MOST_CANDIDATES:
        raise HandsimError(f"k is {k}; with diversity it is at most {_MOST_CANDIDATES:,}")
    return min(k * MMR_CANDIDATES, _MOST_CANDIDATES)

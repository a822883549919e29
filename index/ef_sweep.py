"""How many candidates a query has to look at: recall against rate, measured on a version, on this machine.

The number (``ef``) is the one setting of the graph that can be chosen after it is built. What is chosen is
recorded with the verification that was measured with it, and whoever opens the version then takes it.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from handsim.errors import HandsimError
from handsim.metrics.retrieval import recall_at_k
from index.evaluation import LEAST_RECALL
from index.query import SearchOptions
from index.version import IndexVersion

EFS: Final = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
"""What is tried, in this order."""
SWEEP_SAMPLE: Final = 2000
"""Hands to search for: a recall of 0.995 is then known to 0.003 (two standard errors)."""

_TOP: Final = 10


@dataclass(frozen=True)
class EfMeasurement:
    """What one ``ef`` came to; other-video search, as mining asks."""

    ef: int
    recall_at_1: float
    """Share of the sample whose nearest hand of another video is found."""
    recall_at_10: float
    """Share of the ten truly nearest that are found."""
    hands_per_second: float
    """Queries answered for ten neighbours each, asked in batches by one process."""


def sweep_ef(
    version: IndexVersion, *, sample: int = SWEEP_SAMPLE, efs: Sequence[int] = EFS
) -> Iterator[EfMeasurement]:
    """Measure each of ``efs`` on the same random hands; raises HandsimError for a sample below 1."""
    hand_ids = version.sample(sample)
    top = min(_TOP, len(version))
    exact = version.search_hands(hand_ids, top, other_video=True, options=SearchOptions(exact=True))
    for ef in efs:
        options = SearchOptions(ef=ef)
        version.search_hands(hand_ids[:100], top, other_video=True, options=options)  # reads the graph in
        started = time.perf_counter()
        neighbors = version.search_hands(hand_ids, top, other_video=True, options=options)
        seconds = time.perf_counter() - started
        yield EfMeasurement(
            ef,
            recall_at_k(neighbors.distances, exact.distances, 1),
            recall_at_k(neighbors.distances, exact.distances, top),
            len(hand_ids) / seconds,
        )


def check_target_recall(recall: float) -> float:
    """Raise HandsimError for a recall@1 that an index is not fit for use with, or that there is none of."""
    if not LEAST_RECALL <= recall <= 1:
        raise HandsimError(f"recall is {recall}; it lies between {LEAST_RECALL} and 1")
    return recall


def smallest_ef(measurements: Sequence[EfMeasurement], recall: float) -> EfMeasurement | None:
    """The first one that reaches a recall@1; None where none does."""
    return next((one for one in measurements if one.recall_at_1 >= recall), None)


def find_ef(version: IndexVersion, recall: float) -> int | None:
    """The smallest of `EFS` that reaches a recall@1; larger ones are then not tried."""
    return next((one.ef for one in sweep_ef(version) if one.recall_at_1 >= recall), None)


def unreached_recall(recall: float) -> str:
    """Why no ``ef`` is chosen, and what to do."""
    return (
        f"no ef up to {EFS[-1]} reaches recall@1 {recall:g}; `handsim index build` again with a larger --m "
        f"or --ef-construct"
    )

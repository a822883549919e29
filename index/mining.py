"""Positives for every hand of an index: SiMHand's mining (arXiv 2502.15251, section 3.2)."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError
from index.mining_crew import Answer, ask_in_turn
from index.options import SearchOptions
from index.points import Progress
from index.version import IndexVersion

_BATCH_HANDS: Final = 2048


@dataclass(frozen=True)
class MiningPolicy:
    """Which neighbours of a hand are its positives.

    Raises HandsimError for ranks that are not 1 <= first_rank <= top_k and for a distance below 0.
    """

    top_k: int = 1
    """The last rank taken; 1 takes the nearest hand alone, as the paper does."""
    first_rank: int = 1
    """The first rank taken; above 1 it leaves the nearest ones out."""
    other_video: bool = True
    """Never a hand of the same video: the next frame is alike, but teaches nothing."""
    one_per_video: bool = False
    """Count ranks over videos, each told by its nearest hand."""
    max_distance: float | None = None
    """Leave out what is further than this, in the index's embedding."""

    def __post_init__(self) -> None:
        if not 1 <= self.first_rank <= self.top_k:
            raise HandsimError(
                f"ranks {self.first_rank} to {self.top_k} cannot be mined; ranks count from 1, first to last"
            )
        if self.max_distance is not None and not (
            math.isfinite(self.max_distance) and self.max_distance >= 0
        ):
            raise HandsimError(f"max_distance is {self.max_distance}; it is a distance of at least 0")


DEFAULT_POLICY: Final = MiningPolicy()


@dataclass(frozen=True, eq=False)
class MinedPairs:
    """The positives of N hands, K for each, nearest first."""

    hand_ids: NDArray[np.uint64]
    """[N]."""
    positives: NDArray[np.uint64]
    """[N, K]; `index.neighbors.NO_HAND` where the policy left none."""
    distances: NDArray[np.float32]
    """[N, K] in the index's embedding; infinity where there is none."""

    @classmethod
    def concatenate(cls, batches: Iterable["MinedPairs"]) -> "MinedPairs":
        """All batches (at least one) as one."""
        hand_ids, positives, distances = zip(
            *((batch.hand_ids, batch.positives, batch.distances) for batch in batches), strict=True
        )
        return cls(np.concatenate(hand_ids), np.concatenate(positives), np.concatenate(distances))

    @property
    def found(self) -> NDArray[np.bool_]:
        """[N, K] where there is a positive."""
        return np.isfinite(self.distances)

    def __len__(self) -> int:
        return len(self.hand_ids)


def mine(
    version: IndexVersion,
    hand_ids: NDArray[np.uint64],
    policy: MiningPolicy = DEFAULT_POLICY,
    *,
    workers: int = 1,
    ef: int | None = None,
    progress: Progress | None = None,
) -> Iterator[MinedPairs]:
    """The positives of hands [N] of the index, batch by batch in their order, in bounded memory.

    More ``workers`` than one are processes that open the version for themselves; one that no other process
    can open is asked in this one. Raises NotThereError for a hand that the index does not hold,
    HandsimError when it has no top_k hands, or for less than one worker.
    """
    if workers < 1:
        raise HandsimError(f"{workers} workers cannot mine; take at least 1")
    ask = _Miner(policy, ef)
    batches = [hand_ids[start : start + _BATCH_HANDS] for start in range(0, len(hand_ids), _BATCH_HANDS)]
    if workers == 1 or version.address is None:
        answers: Iterator[Answer] = (ask(version, batch) for batch in batches)
    else:
        answers = ask_in_turn(version.address, version.info.name, batches, ask, workers)
    done = 0
    for batch, (positives, distances) in zip(batches, answers, strict=True):
        yield MinedPairs(batch, positives, distances)
        done += len(batch)
        if progress is not None:
            progress(done, len(hand_ids))


@dataclass(frozen=True)
class _Miner:
    """What is asked about a batch of hands, here or in another process."""

    policy: MiningPolicy
    ef: int | None

    def __call__(self, version: IndexVersion, batch: NDArray[np.uint64]) -> Answer:
        policy = self.policy
        options = SearchOptions(
            one_per_video=policy.one_per_video, max_distance=policy.max_distance, ef=self.ef
        )
        found = version.search_hands(batch, policy.top_k, other_video=policy.other_video, options=options)
        wanted = slice(policy.first_rank - 1, None)
        return found.hand_ids[:, wanted], found.distances[:, wanted]

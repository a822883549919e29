"""A mining policy tried on a sample: the pairs that pre-training would draw, and what they are like."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from apps.browser.mining.trial import Condition, MiningTrial, conditions, without
from handsim.errors import HandsimError, NotThereError
from handsim.metrics.retrieval import pose_distance
from handsim.pool import Pool
from index import NO_HAND, IndexVersion, MinedPairs, MiningPolicy, mine
from training.pairs.choice import choose
from training.pairs.hand_set import HandSet
from training.pairs.live import hands_of

CHOICE: Final = 1
"""What the second stream of random numbers is drawn for: a positive of each anchor's."""
_HUBS: Final = 60
"""Most-chosen positives that are kept."""
_LONELY: Final = 200
"""Hands without a positive that are asked about again, to say what to relax."""


@dataclass(frozen=True, eq=False)
class TriedSample:
    """A policy on N anchors, of which some have no positive; a few hundred kilobytes for 10,000 of them."""

    anchors: NDArray[np.uint64]
    """[N] hands of the pool, in its order, that the index holds."""
    positives: NDArray[np.uint64]
    """[N] one of each anchor's positives, drawn as pre-training draws it; `index.NO_HAND` for none."""
    distances: NDArray[np.float32]
    """[N] between them in the index's embedding; infinity where there is no positive."""
    pose_distances: NDArray[np.float64]
    """[N] mean distance of their joints (2D), in crop widths, before augmentation; NaN without a positive."""
    crosses: NDArray[np.bool_]
    """[N] whether they lie in different videos; false without a positive."""
    random_distances: NDArray[np.float64]
    """[R] as ``pose_distances``, between anchors and random hands of other videos."""
    hubs: NDArray[np.uint64]
    """[H] hands that most anchors have among all their positives, most-chosen first."""
    hub_counts: NDArray[np.int64]
    """[H] how many anchors that are."""
    all_positives: int
    """Of all anchors, each with those of all its ranks."""
    different_positives: int
    """Different hands among them."""
    same_label: float | None
    """Share of the pairs with two labels in which these are equal; None without such pairs."""
    not_in_index: int
    """Hands of the sample that the index does not hold, and that are no anchors therefore."""
    to_relax: tuple[tuple[Condition, float], ...]
    """Conditions that, left out alone, would give some of the anchors without a positive one, and how many
    of them: a share, of the most first."""
    one_video: str | None
    """The name of the pool's only video, where it has no more."""

    @property
    def paired(self) -> NDArray[np.bool_]:
        """[N] which anchors have a positive."""
        return np.asarray(self.positives != NO_HAND)

    def __len__(self) -> int:
        return len(self.anchors)


def try_policy(version: IndexVersion, pool: Pool, trial: MiningTrial) -> TriedSample:
    """Ask a version for the positives of a sample of the pool's hands: of those with a picture, if any has.

    The same seed takes the same hands, whatever the policy. Raises HandsimError for an empty pool, and for an
    index with fewer hands than the policy has ranks.
    """
    pictured = HandSet.pictured(pool) if pool.has_crops.any() else HandSet(pool.hand_ids)
    if not len(pictured):
        raise HandsimError("the pool has no hands yet; `handsim ingest PATH` adds some")
    random = np.random.default_rng(trial.seed)
    drawn = random.choice(len(pictured), min(trial.sample, len(pictured)), replace=False)
    rows = np.sort(pool.rows(pictured.hand_ids[drawn]))
    partners = random.integers(len(pool), size=len(rows))
    held = np.ones(len(rows), dtype=np.bool_)
    try:
        mined = _mined(version, pool.hand_ids[rows], trial.policy)
    except NotThereError:
        # Hardly an index lacks hands of its pool, so which ones it holds is only asked once it turns out to.
        held = hands_of(version).holds(pool.hand_ids[rows])
        if not held.any():
            raise
        mined = _mined(version, pool.hand_ids[rows[held]], trial.policy)
    rows, partners = rows[held], partners[held]
    shown = mined.found & pictured.holds(mined.positives)
    return _described(version, pool, trial, mined, shown, rows, partners, int((~held).sum()))


def _mined(version: IndexVersion, hand_ids: NDArray[np.uint64], policy: MiningPolicy) -> MinedPairs:
    return MinedPairs.concatenate(mine(version, hand_ids, policy))


def _described(
    version: IndexVersion,
    pool: Pool,
    trial: MiningTrial,
    mined: MinedPairs,
    shown: NDArray[np.bool_],
    rows: NDArray[np.int64],
    partners: NDArray[np.int64],
    not_in_index: int,
) -> TriedSample:
    """What is told of anchors at ``rows`` [N] whose positives ``shown`` [N, K] can be drawn."""
    places, chosen = choose(shown, 1, np.random.default_rng([trial.seed, CHOICE]))
    paired = chosen[:, 0]
    positives = np.take_along_axis(mined.positives, places, axis=1)[:, 0]
    distances = np.take_along_axis(mined.distances, places, axis=1)[:, 0]
    others = pool.rows(positives[paired])
    apart = np.full(len(rows), np.nan)
    apart[paired] = pose_distance(pool.keypoints[rows[paired]], pool.keypoints[others])
    crosses = np.zeros(len(rows), dtype=np.bool_)
    crosses[paired] = pool.videos.codes[rows[paired]] != pool.videos.codes[others]
    elsewhere = pool.videos.codes[partners] != pool.videos.codes[rows]
    hubs, counts = np.unique(mined.positives[shown], return_counts=True)
    first = np.lexsort((hubs, -counts))[:_HUBS]
    return TriedSample(
        anchors=mined.hand_ids,
        positives=np.where(paired, positives, np.uint64(NO_HAND)),
        distances=np.where(paired, distances, np.float32(np.inf)),
        pose_distances=apart,
        crosses=crosses,
        random_distances=pose_distance(pool.keypoints[rows[elsewhere]], pool.keypoints[partners[elsewhere]]),
        hubs=hubs[first],
        hub_counts=counts[first].astype(np.int64),
        all_positives=int(shown.sum()),
        different_positives=len(hubs),
        same_label=_same_label(pool.labels.codes[rows[paired]], pool.labels.codes[others]),
        not_in_index=not_in_index,
        to_relax=to_relax(version, mined.hand_ids[~paired], trial.policy),
        one_video=pool.videos.names[0] if len(pool.videos.names) == 1 else None,
    )


def _same_label(first: NDArray[np.int32], second: NDArray[np.int32]) -> float | None:
    labelled = (first >= 0) & (second >= 0)
    return float((first == second)[labelled].mean()) if labelled.any() else None


def to_relax(
    version: IndexVersion, lonely: NDArray[np.uint64], policy: MiningPolicy
) -> tuple[tuple[Condition, float], ...]:
    """Which conditions, left out alone, give hands [M] without a positive one, and to what share of them.

    Of more than 200 hands, those evenly spread among them are asked about.
    """
    asked = lonely[:: -(-len(lonely) // _LONELY) or 1]
    if not len(asked):
        return ()
    helped = [
        (each, float(_mined(version, asked, without(policy, each)).found.any(axis=1).mean()))
        for each in conditions(policy)
    ]
    return tuple(sorted((each for each in helped if each[1]), key=lambda each: -each[1]))

"""A mining policy tried on a sample: the pairs that pre-training would draw, and what they are like.

What a tried policy comes to, as numbers, a histogram, and hands to look at.

Trials of policies that are kept in mind for all visitors.

SiMHand's weights of positive pairs, told without the network's libraries.

The formulas are those of `training.losses.simhand_weights`, which the tests compare them with; a page needs
a few thousand numbers, and not the seconds and the memory that loading those libraries takes.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from apps.browser.library import Library
from apps.browser.mining.policy import Condition, MiningTrial, conditions, without
from handsim.errors import HandsimError, NotThereError
from handsim.metrics.retrieval import pose_distance
from handsim.pool import Pool
from index import NO_HAND, IndexVersion, MinedPairs, MiningPolicy, mine
from training.pairs.live import read_hand_set
from training.pairs.sources import HandSet, choose_valid

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
    pictured = HandSet.with_crops(pool) if pool.has_crops.any() else HandSet(pool.hand_ids)
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
        held = read_hand_set(version).contains(pool.hand_ids[rows])
        if not held.any():
            raise
        mined = _mined(version, pool.hand_ids[rows[held]], trial.policy)
    rows, partners = rows[held], partners[held]
    shown = mined.is_found & pictured.contains(mined.positives)
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
    places, chosen = choose_valid(shown, 1, np.random.default_rng([trial.seed, CHOICE]))
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
        (each, float(_mined(version, asked, without(policy, each)).is_found.any(axis=1).mean()))
        for each in conditions(policy)
    ]
    return tuple(sorted((each for each in helped if each[1]), key=lambda each: -each[1]))


Order = Literal["worst", "best", "random"]
BINS: Final = 40


@dataclass(frozen=True)
class Figures:
    """One policy's numbers; None where there is no pair, or no label, to measure."""

    with_positive: float
    """Share of the anchors that have a positive; the others are their own, in a second view."""
    cross_video: float | None
    """Share of the pairs that lie in different videos."""
    pose_distance: float | None
    """Mean over pairs, in crop widths."""
    random_pose_distance: float | None
    """The same between random hands of different videos."""
    distance: float | None
    """Mean over pairs, in the index's embedding."""
    different: float | None
    """Different hands for each time that one is a positive: 1 where nobody is chosen twice."""
    most_chosen: int | None
    """Anchors that have the most-chosen hand among their positives."""
    same_label: float | None
    """Share of the labelled pairs with equal labels."""


def figures(tried: TriedSample) -> Figures:
    """The numbers of a tried policy."""
    paired = tried.paired
    some = bool(paired.any())
    apart = tried.random_distances
    return Figures(
        with_positive=float(paired.mean()),
        cross_video=float(tried.crosses[paired].mean()) if some else None,
        pose_distance=float(tried.pose_distances[paired].mean()) if some else None,
        random_pose_distance=float(apart.mean()) if len(apart) else None,
        distance=float(tried.distances[paired].mean(dtype=np.float64)) if some else None,
        different=tried.different_positives / tried.all_positives if some else None,
        most_chosen=int(tried.hub_counts[0]) if some else None,
        same_label=tried.same_label,
    )


@dataclass(frozen=True, eq=False)
class Histogram:
    """Shares of several sets of distances over the same bins."""

    edges: NDArray[np.float64]
    """[B + 1], rising from 0."""
    shares: dict[str, NDArray[np.float64]]
    """By name: [B], adding up to 1; sets without any are left out."""


def histogram(named: dict[str, NDArray[np.float64]], bins: int = BINS) -> Histogram:
    """Count distances, the finite ones, in bins from 0 to the largest of all."""
    finite = {name: distances[np.isfinite(distances)] for name, distances in named.items()}
    finite = {name: distances for name, distances in finite.items() if len(distances)}
    furthest = max((float(distances.max()) for distances in finite.values()), default=0.0)
    edges = np.linspace(0, furthest or 1.0, bins + 1)
    return Histogram(
        edges,
        {name: np.histogram(distances, edges)[0] / len(distances) for name, distances in finite.items()},
    )


def pairs_in_order(tried: TriedSample, order: Order, count: int, seed: int = 0) -> NDArray[np.intp]:
    """Places [at most count] of anchors with a positive, by pose distance, among equal ones by the id."""
    paired = np.flatnonzero(tried.paired)
    if order == "random":
        return np.random.default_rng(seed).permutation(paired)[:count]
    distances = tried.pose_distances[paired]
    return paired[np.lexsort((tried.anchors[paired], -distances if order == "worst" else distances))][:count]


def lonely_hands(tried: TriedSample, count: int) -> NDArray[np.uint64]:
    """Hands [at most count] without a positive, evenly spread over the sample."""
    alone = tried.anchors[~tried.paired]
    return alone[np.unique(np.linspace(0, len(alone) - 1, min(count, len(alone))).astype(np.intp))]


def distance_quantiles(tried: TriedSample) -> tuple[float, float] | None:
    """Embedding distances within which half of the pairs lie, and 95 of 100; None without pairs."""
    known = tried.distances[tried.paired].astype(np.float64)
    if not len(known):
        return None
    half, most = np.quantile(known, (0.5, 0.95))
    return float(half), float(most)


_KEPT: Final = 32
"""Of some 400 KB each at most."""


def kept_trial(library: Library, pool: Pool, version: IndexVersion, trial: MiningTrial) -> TriedSample:
    """What `try_policy` finds, asked for once; raises as it does."""
    place = (str(library.home.path), version.info.name, version.info.checksum, str(len(pool)))
    return _tried(version, pool, place, trial)


@st.cache_data(max_entries=_KEPT, show_spinner="Asking the index for pairs")
def _tried(_version: IndexVersion, _pool: Pool, place: tuple[str, ...], trial: MiningTrial) -> TriedSample:
    """``place`` tells one home and version from another."""
    return try_policy(_version, _pool, trial)


WeightForm = Literal["linear", "sigmoid"]

LAMBDA: Final = 0.1 * 128
"""Steepness of the sigmoid per crop width: SiMHand's 0.1 is per pixel of a view 128 pixels wide."""
_ROUNDING: Final = 8 * float(np.finfo(np.float32).eps)
"""Distances that differ by less than this part are equal: keypoints are float32."""


def pair_weights(pose_distances: NDArray[np.float64], form: WeightForm) -> NDArray[np.float64]:
    """Weights [N] in 0..1 of pairs by their pose distances [N] in crop widths, as if they were one batch.

    linear: 1 for the nearest pair to 0 for the furthest; sigmoid: 1 / (1 + exp(lambda (d - mean d))). What is
    no finite number has no pair: NaN, and it counts in no min, max or mean.
    """
    paired = np.isfinite(pose_distances)
    weights = np.full(len(pose_distances), np.nan)
    known = pose_distances[paired]
    if not len(known):
        return weights
    if form == "sigmoid":
        weights[paired] = 1 / (1 + np.exp(LAMBDA * (known - known.mean())))
        return weights
    nearest, furthest = known.min(), known.max()
    spread = furthest - nearest
    weights[paired] = (furthest - known) / spread if spread > _ROUNDING * furthest else 1.0
    return weights

"""A mining policy tried on a sample: the pairs that pre-training would draw, their numbers, and examples.

Distances are in the index's embedding; pose distances are mean 2D joint distances in crop widths.
"""

from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from apps.browser.library import Library
from apps.browser.mining.policy import Condition, MiningTrial, conditions, without
from handsim.errors import HandsimError, NotThereError
from handsim.pool import Pool
from handsim.pool.duplicates import DUPLICATES_FILE, DuplicateGroups
from index import NO_HAND, IndexVersion, MinedPairs, MiningPolicy, mine
from index.evaluation import pose_distances
from training.pairs.live import read_hand_set
from training.pairs.sources import HandSet, choose_valid

POSITIVE_STREAM: Final = 1
"""Which stream of random numbers draws a positive for each anchor."""
_HUBS: Final = 60
"""Number of the most-chosen positives in a result."""
_RELAXED: Final = 200
"""Hands without a positive that are searched for again, to find which condition to relax."""


@dataclass(frozen=True, eq=False)
class TrialResult:
    """The pairs of N anchors under a policy; some anchors have no positive. 400 KB for 10,000 anchors."""

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
    unique_positives: int
    """Unique hands among them."""
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


def try_policy(version: IndexVersion, pool: Pool, trial: MiningTrial) -> TrialResult:
    """Search a version for the positives of a sample of the pool's hands (with a picture, if any have one).

    The same seed takes the same hands, whatever the policy. Raises HandsimError for an empty pool, and for an
    index with fewer hands than the policy has ranks.
    """
    pictured = HandSet.trainable(pool) if pool.has_crops.any() else HandSet(pool.hand_ids[pool.is_usable])
    if not len(pictured):
        raise HandsimError("the pool has no hands yet; `handsim ingest PATH` adds some")
    random = np.random.default_rng(trial.seed)
    sample = random.choice(len(pictured), min(trial.sample, len(pictured)), replace=False)
    rows = np.sort(pool.rows(pictured.hand_ids[sample]))
    partners = random.integers(len(pool), size=len(rows))
    in_index = np.ones(len(rows), dtype=np.bool_)
    duplicates = DuplicateGroups.load(pool.path)
    try:
        mined = _mine(version, pool.hand_ids[rows], trial.policy, duplicates)
    except NotThereError:
        # Few indexes lack hands of their pool, so the hands of the index are read only when one does.
        in_index = read_hand_set(version).contains(pool.hand_ids[rows])
        if not in_index.any():
            raise
        mined = _mine(version, pool.hand_ids[rows[in_index]], trial.policy, duplicates)
    rows, partners = rows[in_index], partners[in_index]
    usable = mined.is_found & pictured.contains(mined.positives)  # [N, K] the positives that can be drawn
    places, chosen = choose_valid(usable, 1, np.random.default_rng([trial.seed, POSITIVE_STREAM]))
    paired = chosen[:, 0]
    positives = np.take_along_axis(mined.positives, places, axis=1)[:, 0]
    distances = np.take_along_axis(mined.distances, places, axis=1)[:, 0]
    others = pool.rows(positives[paired])
    apart = np.full(len(rows), np.nan)
    apart[paired] = pose_distances(version, pool, rows[paired], others)
    videos = pool.videos.codes
    crosses = np.zeros(len(rows), dtype=np.bool_)
    crosses[paired] = videos[rows[paired]] != videos[others]
    elsewhere = (videos[partners] != videos[rows]) & pool.is_usable[partners]
    hubs, counts = np.unique(mined.positives[usable], return_counts=True)
    first = np.lexsort((hubs, -counts))[:_HUBS]
    return TrialResult(
        anchors=mined.hand_ids,
        positives=np.where(paired, positives, np.uint64(NO_HAND)),
        distances=np.where(paired, distances, np.float32(np.inf)),
        pose_distances=apart,
        crosses=crosses,
        random_distances=pose_distances(version, pool, rows[elsewhere], partners[elsewhere]),
        hubs=hubs[first],
        hub_counts=counts[first].astype(np.int64),
        all_positives=int(usable.sum()),
        unique_positives=len(hubs),
        same_label=_same_label(pool.labels.codes[rows[paired]], pool.labels.codes[others]),
        not_in_index=int((~in_index).sum()),
        to_relax=to_relax(version, mined.hand_ids[~paired], trial.policy, duplicates),
        one_video=pool.videos.names[0] if len(pool.videos.names) == 1 else None,
    )


def _mine(
    version: IndexVersion,
    hand_ids: NDArray[np.uint64],
    policy: MiningPolicy,
    duplicates: DuplicateGroups | None,
) -> MinedPairs:
    return MinedPairs.concatenate(mine(version, hand_ids, policy, duplicates=duplicates))


def _same_label(first: NDArray[np.int32], second: NDArray[np.int32]) -> float | None:
    labelled = (first >= 0) & (second >= 0)
    return float((first == second)[labelled].mean()) if labelled.any() else None


def to_relax(
    version: IndexVersion,
    without_positive: NDArray[np.uint64],
    policy: MiningPolicy,
    duplicates: DuplicateGroups | None = None,
) -> tuple[tuple[Condition, float], ...]:
    """Which conditions, left out alone, give hands [M] without a positive one, and to what share of them.

    Of more than 200 hands, those evenly spread among them are asked about.
    """
    hands = without_positive[:: -(-len(without_positive) // _RELAXED) or 1]
    if not len(hands):
        return ()
    helped = [
        (each, float(_mine(version, hands, without(policy, each), duplicates).is_found.any(axis=1).mean()))
        for each in conditions(policy)
    ]
    return tuple(sorted((each for each in helped if each[1]), key=lambda each: -each[1]))


Order = Literal["worst", "best", "random"]
WeightForm = Literal["linear", "sigmoid"]
BINS: Final = 40


Figures = dict[str, float | None]
"""One policy's numbers by name; absent or None where there is no pair, or no label, to measure."""


def figures(result: TrialResult) -> Figures:
    """The numbers of a trial; `apps.browser.mining.page` says what each means."""
    paired = result.paired
    numbers: Figures = {"with_positive": float(paired.mean()), "same_label": result.same_label}
    if not paired.any():
        return numbers
    pose_distance = float(result.pose_distances[paired].mean())
    apart = result.random_distances
    return numbers | {
        "cross_video": float(result.crosses[paired].mean()),
        "pose_distance": pose_distance,
        "times_nearer": float(apart.mean()) / pose_distance if len(apart) and pose_distance else None,
        "distance": float(result.distances[paired].mean(dtype=np.float64)),
        "different": result.unique_positives / result.all_positives,
        "most_chosen": int(result.hub_counts[0]),
    }


def histogram(named: dict[str, NDArray[np.float64]], bins: int = BINS) -> list[dict[str, Any]]:
    """Count distances, the finite ones, in bins from 0 to the largest of all.

    A row for each bin of each set of distances: ``distance`` and ``to`` bound the bin, ``share`` is what lies
    in it, ``pairs`` the name of the set. Sets without any are left out.
    """
    finite = {name: distances[np.isfinite(distances)] for name, distances in named.items()}
    furthest = max((float(distances.max()) for distances in finite.values() if len(distances)), default=0.0)
    edges = np.linspace(0, furthest or 1.0, bins + 1)
    return [
        {"distance": left, "to": right, "share": count / len(distances), "pairs": name}
        for name, distances in finite.items()
        if len(distances)
        for left, right, count in zip(
            edges[:-1].tolist(), edges[1:].tolist(), np.histogram(distances, edges)[0].tolist(), strict=True
        )
    ]


def pairs_in_order(result: TrialResult, order: Order, count: int, seed: int = 0) -> NDArray[np.intp]:
    """Places [at most count] of anchors with a positive, by pose distance, among equal ones by the id."""
    paired = np.flatnonzero(result.paired)
    if order == "random":
        return np.random.default_rng(seed).permutation(paired)[:count]
    distances = result.pose_distances[paired]
    return paired[np.lexsort((result.anchors[paired], -distances if order == "worst" else distances))][:count]


def hands_without_positive(result: TrialResult, count: int) -> NDArray[np.uint64]:
    """Hands [at most count] without a positive, evenly spread over the sample."""
    alone = result.anchors[~result.paired]
    return alone[np.unique(np.linspace(0, len(alone) - 1, min(count, len(alone))).astype(np.intp))]


def distance_quantiles(result: TrialResult) -> tuple[float, float] | None:
    """Embedding distances within which half of the pairs lie, and 95 of 100; None without pairs."""
    known = result.distances[result.paired].astype(np.float64)
    if not len(known):
        return None
    half, most = np.quantile(known, (0.5, 0.95))
    return float(half), float(most)


_CACHED: Final = 32
"""Results of at most 400 KB each."""


def cached_trial(library: Library, pool: Pool, version: IndexVersion, trial: MiningTrial) -> TrialResult:
    """The result of `try_policy`, computed once for all visitors; raises as it does."""
    duplicates = pool.path / DUPLICATES_FILE
    looked = str(duplicates.stat().st_mtime_ns) if duplicates.exists() else ""
    place = (str(library.home.path), version.info.name, version.info.checksum, str(len(pool)), looked)
    return _cached(version, pool, place, trial)


@st.cache_data(max_entries=_CACHED, show_spinner="Asking the index for pairs")
def _cached(_version: IndexVersion, _pool: Pool, place: tuple[str, ...], trial: MiningTrial) -> TrialResult:
    """``place`` distinguishes homes and versions."""
    return try_policy(_version, _pool, trial)


_SIZE_PX: Final = 128
"""Side of SiMHand's views: its lambdas are per pixel of them."""


def pair_weights(pose_distances: NDArray[np.float64], form: WeightForm) -> NDArray[np.float64]:
    """SiMHand's weights [N] of pairs by their pose distances [N], as if they were one batch.

    NaN where there is no pair. It loads torch.
    """
    import torch

    from training.losses import Weighting, weigh_distances

    weighting = Weighting("positives", form)
    weighting = replace(weighting, lambda_positive=_SIZE_PX * weighting.lambda_positive)
    weights = weigh_distances(torch.from_numpy(pose_distances), weighting).numpy()
    return np.where(np.isfinite(pose_distances), weights, np.nan)

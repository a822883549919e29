"""How good an index is, measured on a random sample of its hands.

`evaluate_retrieval` measures what its neighbours are worth, against the labels and poses of the pool.
`verify` checks one version: whether it is complete, and whether it finds what exact search finds.
"""

from collections import Counter
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from handsim.embedding import can_embed_hands, turn_upright
from handsim.errors import HandsimError
from handsim.metrics.retrieval import pose_distance, precision_at_k, recall_at_k
from handsim.pool import Pool
from index.query import (
    DEFAULT_OPTIONS,
    FULL_SCAN_SHARE,
    MIN_POSITIVE_DISTANCE,
    Filter,
    Neighbors,
    SearchOptions,
)
from index.version import IndexVersion

LEAST_RECALL: Final = 0.99
"""Recall@1 below which a version is not fit for use."""

_TOP: Final = 10
_SCORE_SHARE: Final = 1.2 * FULL_SCAN_SHARE
"""Of the hands, which the filter by score admits: few, and yet searched in the graph, its weakest place."""
_ZERO: Final = 1e-6
"""Equal vectors lie that far apart at most, by rounding."""


@dataclass(frozen=True)
class RetrievalReport:
    """What `evaluate_retrieval` measured; `dataclasses.asdict` of it is JSON.

    Neighbours are hands of other videos, except where a field says otherwise.
    """

    points: int
    """Hands in the index."""
    sample: int
    """Hands that were queried."""
    recall_at_1: float
    """Share of the sample whose nearest hand the index finds; of two equally near either counts."""
    recall_at_10: float
    """Share of the ten truly nearest hands that the index finds."""
    labelled: int
    """Hands of the sample that have a label."""
    precision_at_1: float | None
    """Share of the labelled with a peer whose nearest hand has the same label; None without any."""
    precision_at_10: float | None
    """Share of the ten nearest hands that have the same label; those without any count as wrong."""
    covered: float
    """Share of the sample with a neighbour in another video."""
    mined_pose_distance: float | None
    """Mean joint distance (2D, in crop widths) between a hand and its nearest one."""
    random_pose_distance: float | None
    """The same between a hand and a random one of another video."""
    cross_video_share: float
    """Share of the nearest hands that lie in another video: below 1 the index is at fault."""
    cross_video_share_unfiltered: float
    """The same when the search may return hands of the same video: shows why it must not."""
    explained_variance: float
    """Share of the poses' variance that the embedding keeps."""
    without_peer: int = 0
    """Labelled hands left out of the precisions: no hand of another video has their label."""
    ceiling_at_10: float | None = None
    """The largest precision at 10 there can be: some labels have fewer than ten hands in other videos."""


@dataclass(frozen=True, eq=False)
class RetrievalEvaluation:
    """The numbers, and the data of their figures."""

    report: RetrievalReport
    """The numbers."""
    mined_distances: NDArray[np.float64]
    """[M] mean joint distance (2D, in crop widths) of each hand of the sample to its nearest one."""
    random_distances: NDArray[np.float64]
    """[R] the same to a random hand of another video."""


def evaluate_retrieval(
    version: IndexVersion, pool: Pool, *, sample: int = 1000, seed: int = 0
) -> RetrievalEvaluation:
    """Measure an index on ``sample`` random hands of the pool it was built from (on all, if it has fewer).

    The same seed takes the same hands. Raises HandsimError for an empty sample, NotThereError for a hand
    that is in the pool but not in the index. Hands that the embedding refuses play no part.
    """
    candidates = np.flatnonzero(can_embed_hands(version.embedding, pool))
    if sample < 1 or len(candidates) == 0:
        raise HandsimError(
            f"a sample of {min(sample, len(candidates))} hands measures nothing; take at least 1"
        )
    random = np.random.default_rng(seed)
    rows = np.sort(random.choice(candidates, min(sample, len(candidates)), replace=False))
    hand_ids = pool.hand_ids[rows]
    neighbors, recall_at_1, recall_at_10 = _measure_recall(version, hand_ids)
    anywhere = version.search_hands(hand_ids, 1)
    partners = random.choice(candidates, len(rows))
    mined_distances, random_distances = _pose_distances(version, pool, rows, neighbors, partners)
    labelled = pool.labels.codes[rows] >= 0
    peers = _count_peers(pool, candidates, rows)
    has_peer = labelled & (peers > 0)
    precision_at_1, precision_at_10 = _precisions(pool, rows, neighbors, has_peer)
    depth = neighbors.hand_ids.shape[1]
    report = RetrievalReport(
        points=len(version),
        sample=len(rows),
        recall_at_1=recall_at_1,
        recall_at_10=recall_at_10,
        labelled=int(labelled.sum()),
        precision_at_1=precision_at_1,
        precision_at_10=precision_at_10,
        covered=float(neighbors.is_found[:, 0].mean()),
        mined_pose_distance=float(mined_distances.mean()) if len(mined_distances) else None,
        random_pose_distance=float(random_distances.mean()) if len(random_distances) else None,
        cross_video_share=_cross_video_share(pool, rows, neighbors),
        cross_video_share_unfiltered=_cross_video_share(pool, rows, anywhere),
        explained_variance=float(version.embedding.explained_variance_ratio_.sum()),
        without_peer=int((labelled & ~has_peer).sum()),
        ceiling_at_10=float(np.minimum(peers[has_peer], depth).mean() / depth) if has_peer.any() else None,
    )
    return RetrievalEvaluation(report, mined_distances, random_distances)


@dataclass(frozen=True)
class Verification:
    """What `verify` measured; `dataclasses.asdict` of it is JSON."""

    verified_at: str
    """ISO 8601, UTC."""
    points: int
    """Hands in the version."""
    indexed_share: float
    """Share of them that are in the graph; the others are compared one by one: slower, and exact."""
    sample: int
    """Hands that were queried."""
    recall_at_1: float
    """Share of the sample whose nearest hand of another video is found; of two equally near either counts."""
    recall_at_10: float
    """Share of the ten truly nearest that are found."""
    positives_at_zero: int
    """Hands of the sample whose nearest hand of another video has the same vector: distance 0."""
    positives_too_near: int
    """Hands of the sample whose nearest one is below the distance that mining begins at, 0 included."""
    duplicates: int | None
    """Hands that the version holds twice; None where not all hands were read."""
    altered: bool | None
    """Whether ids or vectors differ from what was written; None where not all hands were read."""
    missing_from_index: int | None
    """Hands of the pool that the version lacks; None without a pool."""
    missing_from_pool: int | None
    """Hands of the version that the pool lacks; None without a pool."""
    ef: int | None = None
    """Candidates that each query looked at, and looks at from then on; None where that was not recorded."""
    min_score: float | None = None
    """The score that `_SCORE_SHARE` of the hands have; None where filters were not measured."""
    recall_at_min_score: float | None = None
    """Recall@1 among the hands with at least that score."""
    rare_label: str | None = None
    """The rarest label of the sample; None where there is none, or filters were not measured."""
    recall_at_rare_label: float | None = None
    """Recall@1 among the hands with that label."""

    @classmethod
    def parse(cls, record: dict[str, Any] | None) -> "Verification | None":
        """From what `dataclasses.asdict` gave; None for anything less, fields of a newer handsim left out."""
        record = record or {}
        try:
            return cls(**{field.name: record[field.name] for field in fields(cls) if field.name in record})
        except TypeError:
            return None

    def problems(self, least_recall: float = LEAST_RECALL) -> list[str]:
        """What makes the version unfit for use, each with its remedy; missing hands are no problem."""
        problems = []
        if self.recall_at_1 < least_recall:
            problems.append(
                f"recall@1 is {self.recall_at_1:.4f}, below {least_recall:.3g}; `handsim index build` again "
                f"with a larger --ef, --ef-construct or --m"
            )
        if self.duplicates:
            problems.append(f"{self.duplicates:,} hands are there twice; `handsim index build` again")
        if self.altered:
            problems.append("ids or vectors are not those that were written; `handsim index build` again")
        return problems


def verify(
    version: IndexVersion,
    *,
    sample: int = 2000,
    read_all: bool = False,
    pool_ids: NDArray[np.uint64] | None = None,
    ef: int | None = None,
) -> Verification:
    """Compare a version with exact search on random hands and, with ``read_all``, read every hand of it.

    ``pool_ids`` [N] are then compared with the hands that it holds, and the recall of filters that admit few
    hands is measured. Queries look at ``ef`` candidates, None: at the version's own number. Raises
    HandsimError for a sample below 1.
    """
    hand_ids = version.sample(sample)
    ef = ef or version.default_ef
    neighbors, recall_at_1, recall_at_10 = _measure_recall(version, hand_ids, SearchOptions(ef=ef))
    nearest = neighbors.distances[:, 0]
    duplicates = altered = missing_from_index = missing_from_pool = None
    if read_all:
        pages: list[NDArray[np.uint64]] = []
        altered = version.read_checksum(lambda page: pages.append(page.hand_ids)) != version.info.checksum
        version_ids = np.concatenate(pages)
        duplicates = len(version_ids) - len(np.unique(version_ids))
        if pool_ids is not None:
            missing_from_index = len(np.setdiff1d(pool_ids, version_ids))
            missing_from_pool = len(np.setdiff1d(version_ids, pool_ids))
    return Verification(
        verified_at=datetime.now(UTC).isoformat(timespec="seconds"),
        points=len(version),
        indexed_share=min(1.0, version.indexed_points() / len(version)),
        sample=len(hand_ids),
        recall_at_1=recall_at_1,
        recall_at_10=recall_at_10,
        positives_at_zero=int((nearest < _ZERO).sum()),
        positives_too_near=int((nearest < MIN_POSITIVE_DISTANCE).sum()),
        duplicates=duplicates,
        altered=altered,
        missing_from_index=missing_from_index,
        missing_from_pool=missing_from_pool,
        ef=ef,
        **(_measure_filters(version, hand_ids, ef) if read_all else {}),
    )


def _measure_filters(version: IndexVersion, hand_ids: NDArray[np.uint64], ef: int | None) -> dict[str, Any]:
    """Recall@1 among the hands of high score, and among those of a rare label, for `Verification`."""
    payloads = version.payloads(hand_ids)
    min_score = float(np.quantile([payload["score"] for payload in payloads], 1 - _SCORE_SHARE))
    labels = Counter(payload["label"] for payload in payloads if payload["label"] is not None)
    rare_label = min(labels, key=lambda label: (labels[label], label), default=None)

    def recall_at_1(filter: Filter) -> float:
        return _measure_recall(version, hand_ids, SearchOptions(filter, ef=ef))[1]

    return {
        "min_score": min_score,
        "recall_at_min_score": recall_at_1(Filter(min_score=min_score)),
        "rare_label": rare_label,
        "recall_at_rare_label": None if rare_label is None else recall_at_1(Filter(labels=(rare_label,))),
    }


def _measure_recall(
    version: IndexVersion, hand_ids: NDArray[np.uint64], options: SearchOptions = DEFAULT_OPTIONS
) -> tuple[Neighbors, float, float]:
    """The ten nearest hands of other videos, recall@1 and recall@10 against exact search."""
    top = min(_TOP, len(version))
    neighbors, exact = (
        version.search_hands(hand_ids, top, other_video=True, options=replace(options, exact=exact))
        for exact in (False, True)
    )
    return (
        neighbors,
        recall_at_k(neighbors.distances, exact.distances, 1),
        recall_at_k(neighbors.distances, exact.distances, top),
    )


def _nearest_rows(pool: Pool, neighbors: Neighbors) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which queries [Q] have a neighbour, and the pool's rows of the nearest of each that does."""
    has_neighbor = neighbors.is_found[:, 0]
    return has_neighbor, pool.rows(neighbors.hand_ids[has_neighbor, 0])


def _count_peers(pool: Pool, candidates: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """[N] of how many ``candidates`` of other videos the hands in ``rows`` share the label; 0 without one."""
    labels, videos = pool.labels.codes.astype(np.int64), pool.videos.codes
    groups = labels * len(pool.videos.names) + videos
    labelled = candidates[labels[candidates] >= 0]
    of_label = np.bincount(labels[labelled], minlength=len(pool.labels.names) + 1)
    known, counts = np.unique(groups[labelled], return_counts=True)
    own = np.zeros(len(rows), dtype=np.int64)
    is_known = np.isin(groups[rows], known)
    own[is_known] = counts[np.searchsorted(known, groups[rows][is_known])]
    return np.where(labels[rows] >= 0, of_label[labels[rows]] - own, 0)


def _precisions(
    pool: Pool, rows: NDArray[np.int64], neighbors: Neighbors, labelled: NDArray[np.bool_]
) -> tuple[float | None, float | None]:
    if not labelled.any():
        return None, None
    labels = np.full(neighbors.hand_ids.shape, -1, dtype=np.int32)
    labels[neighbors.is_found] = pool.labels.codes[pool.rows(neighbors.hand_ids[neighbors.is_found])]
    own, others = pool.labels.codes[rows[labelled]], labels[labelled]
    return precision_at_k(own, others, 1), precision_at_k(own, others, others.shape[1])


def pose_distances(
    version: IndexVersion, pool: Pool, first: NDArray[np.int64], second: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Pose distances [N] between the hands at rows [N] and [N] of a pool, as a version compares them.

    See `handsim.metrics.retrieval.pose_distance`; upright, where its embedding turns hands so.
    """
    hands: list[NDArray[np.floating]] = [pool.keypoints[rows] for rows in (first, second)]
    if version.embedding.up_to_turn:
        hands = [turn_upright(each) for each in hands]
    return pose_distance(*hands)


def _pose_distances(
    version: IndexVersion,
    pool: Pool,
    rows: NDArray[np.int64],
    neighbors: Neighbors,
    partners: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pose distances [M] to the nearest hand, and [R] to random ``partners`` [N] in other videos."""
    has_neighbor, nearest = _nearest_rows(pool, neighbors)
    other_video = pool.videos.codes[partners] != pool.videos.codes[rows]
    return (
        pose_distances(version, pool, rows[has_neighbor], nearest),
        pose_distances(version, pool, rows[other_video], partners[other_video]),
    )


def _cross_video_share(pool: Pool, rows: NDArray[np.int64], neighbors: Neighbors) -> float:
    has_neighbor, nearest = _nearest_rows(pool, neighbors)
    crosses = pool.videos.codes[rows[has_neighbor]] != pool.videos.codes[nearest]
    return float(crosses.mean()) if len(crosses) else 0.0

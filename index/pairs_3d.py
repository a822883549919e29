"""What the pairs of an index are worth in 3D, on a random sample of the hands whose joints are known there.

Pairs are mined by what is seen in a picture; whether the two hands are alike is a question of their 3D poses.
Each number stands between that of random pairs and that of an oracle, which finds the nearest 3D pose itself.
An embedding up to a turn finds hands that are held differently in the picture: their partners are turned as
the anchors are before they are measured, as pre-training does.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.embedding import can_embed_hands, upright_turns_deg
from handsim.errors import HandsimError, NotThereError
from handsim.geometry import turn_points
from handsim.metrics.pairs import (
    PairErrors,
    bone_lengths_mm,
    detector_errors,
    find_nearest_poses,
    has_measures,
    measure_pairs,
    palm_angles_deg,
    rank_correlation,
    share_nearer,
    unit_poses,
)
from handsim.pool import Pool
from index.mining import MinedPairs, MiningPolicy, mine
from index.version import IndexVersion

_RANKS: Final = (1, 2, 3, 5, 10)
_VIEWS: Final = {"facing": (0.0, 30.0), "oblique": (30.0, 60.0), "edge-on": (60.0, 90.01)}
"""Angles between the palm's normal and the line of sight, in degrees."""
_VISIBLE: Final = {"all 21": (21, 21), "18 to 20": (18, 20), "13 to 17": (13, 17), "12 or fewer": (0, 12)}
_POOL_SHARES: Final = (0.125, 0.25, 0.5)
_NEGATIVES: Final = 1024
"""Random hands that stand for the others of a batch."""
_LEAST_NOISE: Final = 1e-4
"""In sizes of a hand: below, keypoints are exact but for rounding."""
_VECTORS_AT_ONCE: Final = 8192
_DISTANCES_AT_ONCE: Final = 2**22


@dataclass(frozen=True)
class PairMeans:
    """Mean errors of some pairs, in mm; see `handsim.metrics.pairs.PairErrors`."""

    pairs: int
    aligned_mm: float
    """Root and scale aligned."""
    xy_mm: float
    """Its part in the picture."""
    depth_mm: float
    """Its part along the line of sight."""
    procrustes_mm: float

    @classmethod
    def of(cls, errors: PairErrors) -> "PairMeans":
        """Of at least one pair."""
        names = ("aligned", "xy", "depth", "procrustes")
        return cls(len(errors), *(float(getattr(errors, name).mean()) for name in names))


Groups = dict[str, PairMeans]
"""Means by the name of a group, in the order of the groups; empty ones are left out."""


@dataclass(frozen=True)
class Report3D:
    """What `measure_pairs_3d` measured; `dataclasses.asdict` of it is JSON."""

    hands: int
    """Hands of the index whose 3D joints are known."""
    sample: int
    """Of them, those that were asked for."""
    up_to_turn: bool
    """Whether partners were turned as their anchors are before they were measured."""
    mined: PairMeans
    """Nearest hands of other videos, as mining takes them."""
    random: PairMeans
    """A random hand of another video."""
    oracle: PairMeans
    """The hand of another video that is nearest in 3D, root and scale aligned, as it is held."""
    by_view: Groups
    """Mined pairs by how the camera sees the anchor's palm."""
    by_rank: Groups
    by_distance: Groups
    """Quarters of the mined pairs, by their distance in the embedding."""
    by_pool_size: Groups
    """Mined pairs where only some of the videos are there, and all; by the number of hands."""
    by_visible: Groups
    """Mined pairs by how many of the anchor's joints nothing hides; empty where that is not known."""
    by_noise: Groups
    """Quarters of the mined pairs by how far the anchor's keypoints are from its joints, in sizes of the
    hand; empty where they are exact."""
    negatives_nearer: float
    """Share of a batch's other hands that are nearer to the anchor in 3D than its positive is."""
    distance_correlation: float
    """Spearman's rank correlation of the mined distance with the error."""


@dataclass(frozen=True, eq=False)
class Pairs3D:
    """The numbers, and the pairs that they were measured on."""

    report: Report3D
    anchors: NDArray[np.int64]
    """[M] rows of the pool."""
    positives: NDArray[np.int64]
    """[M] rows of the pool: the nearest hands."""
    distances: NDArray[np.float32]
    """[M] in the embedding."""
    errors: PairErrors
    """Of these M pairs."""
    random: PairErrors
    """[R] of random pairs."""
    oracle: PairErrors
    """[M] of the oracle's."""


def measure_pairs_3d(version: IndexVersion, pool: Pool, *, sample: int = 2000, seed: int = 0) -> Pairs3D:
    """Measure the mined pairs of ``sample`` random hands of a pool with 3D joints (of all, if it has fewer).

    The same seed takes the same hands. Raises NotThereError where the pool knows no joints in 3D, and
    HandsimError where none of the sample has a neighbour in another video whose joints are known.
    """
    pairs = _Hands(version, pool)
    random = np.random.default_rng(seed)
    rows = np.sort(random.choice(pairs.rows, min(sample, len(pairs.rows)), replace=False))
    mined = pairs.mine(rows)
    has_pair = mined.is_found[:, 0]
    if not has_pair.any():
        raise HandsimError(
            f"none of {len(rows)} hands has a neighbour in another video with 3D joints; add more videos"
        )
    rows, mined = rows[has_pair], mined.select(has_pair)
    positives, distances = pool.rows(mined.positives[:, 0]), mined.distances[:, 0]
    errors = pairs.measure(rows, positives)
    others = random.choice(pairs.rows, (len(rows), 8))
    is_other = pool.videos.codes[others] != pool.videos.codes[rows, None]
    partners = np.take_along_axis(others, is_other.argmax(axis=1)[:, None], axis=1)[:, 0]
    apart = is_other.any(axis=1)
    random_errors = measure_pairs(pairs.joints[rows[apart]], pairs.joints[partners[apart]])
    oracle_errors = measure_pairs(pairs.joints[rows], pairs.joints[pairs.find_oracle(rows)])
    batch = random.choice(pairs.rows, min(_NEGATIVES, len(pairs.rows)), replace=False)
    report = Report3D(
        hands=len(pairs.rows),
        sample=len(rows),
        up_to_turn=version.embedding.up_to_turn,
        mined=PairMeans.of(errors),
        random=PairMeans.of(random_errors),
        oracle=PairMeans.of(oracle_errors),
        by_view=_in_ranges(errors, palm_angles_deg(pairs.joints[rows]), _VIEWS),
        by_rank=pairs.by_rank(rows, mined),
        by_distance=_in_quarters(errors, distances),
        by_pool_size=pairs.by_pool_size(rows, random) | {f"{len(pairs.rows):,}": PairMeans.of(errors)},
        by_visible=pairs.by_visible(rows, errors),
        by_noise=pairs.by_noise(rows, errors),
        negatives_nearer=pairs.share_nearer(rows, batch, errors),
        distance_correlation=rank_correlation(distances, errors.aligned),
    )
    return Pairs3D(report, rows, positives, distances, errors, random_errors, oracle_errors)


class _Hands:
    """The hands of a pool whose joints are known in 3D and that an index holds."""

    def __init__(self, version: IndexVersion, pool: Pool) -> None:
        self.version, self.pool = version, pool
        self.joints = pool.read_joints_mm()
        """[N, 21, 3] of all hands of the pool."""
        is_taken = can_embed_hands(version.embedding, pool) & has_measures(self.joints)
        self.rows = np.flatnonzero(is_taken)
        """[n] rows of the pool."""
        if not len(self.rows):
            raise NotThereError(
                f"no hand of {pool.path} has known joints in 3D; `handsim synth` and `handsim dataset "
                f"to-pool` write them, into a pool that lacks these hands"
            )
        self._vectors = self._read_vectors()
        is_known = np.isfinite(self._vectors[:, 0])
        self.rows, self._vectors = self.rows[is_known], self._vectors[is_known]
        if not len(self.rows):
            raise NotThereError(
                f"index version {version.info.name} holds no hand of {pool.path} with joints in 3D; "
                f"`handsim index add` adds those that are new"
            )
        self._poses, self._videos = unit_poses(self.joints[self.rows]), pool.videos.codes[self.rows]
        self._upright_poses = self._poses
        """The same as `_poses`, or turned upright where the embedding turns hands so."""
        if version.embedding.up_to_turn:
            turns = upright_turns_deg(pool.keypoints[self.rows])
            self._upright_poses = unit_poses(turn_points(self.joints[self.rows], -turns))
        self._place = np.full(len(pool), -1)
        self._place[self.rows] = np.arange(len(self.rows))

    def _read_vectors(self) -> NDArray[np.float32]:
        ids = self.pool.hand_ids[self.rows]
        starts = range(0, len(ids), _VECTORS_AT_ONCE)
        return np.concatenate(
            [self.version.find_vectors(ids[start : start + _VECTORS_AT_ONCE]) for start in starts]
        )

    def mine(self, rows: NDArray[np.int64]) -> MinedPairs:
        """Neighbours of the hands at rows [M], as mining finds them; those without 3D joints are left out."""
        policy = MiningPolicy(top_k=min(max(_RANKS), len(self.version)))
        mined = MinedPairs.concatenate(mine(self.version, self.pool.hand_ids[rows], policy))
        found = mined.is_found & np.isin(mined.positives, self.pool.hand_ids[self.rows])
        distances = np.where(found, mined.distances, np.inf).astype(np.float32)
        order = np.argsort(~found, axis=1, kind="stable")
        return MinedPairs(
            mined.hand_ids,
            np.take_along_axis(mined.positives, order, axis=1),
            np.take_along_axis(distances, order, axis=1),
        )

    def measure(self, anchors: NDArray[np.int64], partners: NDArray[np.int64]) -> PairErrors:
        """The errors of pairs of rows [M] and [M] that the embedding calls alike."""
        turns = None
        if self.version.embedding.up_to_turn:
            turns = upright_turns_deg(self.pool.keypoints[anchors])
            turns = turns - upright_turns_deg(self.pool.keypoints[partners])
        return measure_pairs(self.joints[anchors], self.joints[partners], turns)

    def find_oracle(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """[M] rows of the nearest 3D poses of other videos."""
        places = self._place[rows]
        return self.rows[
            find_nearest_poses(self._poses[places], self._videos[places], self._poses, self._videos)
        ]

    def by_rank(self, rows: NDArray[np.int64], mined: MinedPairs) -> Groups:
        """Means of the pairs of each of `_RANKS`."""
        groups = {}
        for rank in _RANKS:
            if rank <= mined.positives.shape[1] and (found := mined.is_found[:, rank - 1]).any():
                partners = self.pool.rows(mined.positives[found, rank - 1])
                groups[str(rank)] = PairMeans.of(self.measure(rows[found], partners))
        return groups

    def by_pool_size(self, rows: NDArray[np.int64], random: np.random.Generator) -> Groups:
        """Means of the nearest pairs among the hands of some of the videos, by exact search."""
        videos = random.permutation(np.unique(self._videos))
        groups = {}
        for share in _POOL_SHARES:
            chosen = np.isin(self._videos, videos[: max(2, round(share * len(videos)))])
            nearest = self._nearest(self._place[rows], np.flatnonzero(chosen))
            found = nearest >= 0
            if found.any():
                name = f"{int(chosen.sum()):,}"
                groups[name] = PairMeans.of(self.measure(rows[found], self.rows[nearest[found]]))
        return groups

    def _nearest(self, queries: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Of ``places`` [n], for each of ``queries`` [M], the nearest of another video; -1: there is none."""
        vectors, videos = self._vectors[places].astype(np.float64), self._videos[places]
        squares = np.square(vectors).sum(axis=1)
        nearest = np.empty(len(queries), dtype=np.int64)
        step = max(1, _DISTANCES_AT_ONCE // len(places))
        for start in range(0, len(queries), step):
            some = queries[start : start + step]
            apart = squares - 2 * self._vectors[some].astype(np.float64) @ vectors.T
            apart[self._videos[some, None] == videos] = np.inf
            best = apart.argmin(axis=1)
            is_found = np.isfinite(apart[np.arange(len(some)), best])
            nearest[start : start + step] = np.where(is_found, places[best], -1)
        return nearest

    def by_visible(self, rows: NDArray[np.int64], errors: PairErrors) -> Groups:
        """Means by the number of the anchor's visible joints."""
        visible, is_known = self.pool.read_visible()
        if not is_known[rows].all():
            return {}
        counts = visible[rows].sum(axis=1)
        named = {name: errors[(low <= counts) & (counts <= high)] for name, (low, high) in _VISIBLE.items()}
        return {name: PairMeans.of(some) for name, some in named.items() if len(some)}

    def by_noise(self, rows: NDArray[np.int64], errors: PairErrors) -> Groups:
        """Means by the errors of the anchor's keypoints."""
        noise = detector_errors(self.pool.keypoints[rows], self.joints[rows])
        if not np.isfinite(noise).all() or noise.mean() < _LEAST_NOISE:
            return {}
        return _in_quarters(errors, noise)

    def share_nearer(self, rows: NDArray[np.int64], batch: NDArray[np.int64], errors: PairErrors) -> float:
        """Share of a batch's hands that are nearer to their anchors than the positives."""
        distances = errors.aligned / bone_lengths_mm(self.joints[rows])
        anchors, others = (self._upright_poses[self._place[some]] for some in (rows, batch))
        shares = share_nearer(anchors, others, distances)
        # An anchor that is in the batch is nearer to itself than its positive is.
        own = np.isin(rows, batch) / len(batch)
        return float((shares - own).mean())


def _in_ranges(
    errors: PairErrors, values: NDArray[np.floating], ranges: dict[str, tuple[float, float]]
) -> Groups:
    """Means of the pairs whose values [M] lie in each range [low, high)."""
    named = {name: errors[(low <= values) & (values < high)] for name, (low, high) in ranges.items()}
    return {name: PairMeans.of(some) for name, some in named.items() if len(some)}


def _in_quarters(errors: PairErrors, values: NDArray[np.floating]) -> Groups:
    """Means of the four quarters of pairs by their values [M]; named by the bounds of the values."""
    groups = {}
    for rows in np.array_split(np.argsort(values, kind="stable"), 4):
        if len(rows):
            low, high = (float(values[row]) for row in (rows[0], rows[-1]))
            groups[f"{low:.3g} to {high:.3g}"] = PairMeans.of(errors[rows])
    return groups

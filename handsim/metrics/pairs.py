"""How alike the two hands of a pair are in 3D: what a positive that was mined in 2D is worth.

The partner is laid onto the anchor as a prediction is laid onto the truth (`handsim.metrics.alignment`): its
wrist on the anchor's and the bone from wrist to middle_mcp as long, so that neither place nor size counts; or
by the best rotation too (Procrustes), so that the view does not count either. Errors are means over the 21
joints, in mm of the anchor's hand.

Joints are in the camera frame: x right, y down, z into the picture. Turns are in the picture, about z, and
positive counter-clockwise as displayed, as everywhere in handsim.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.geometry import turn_points
from handsim.metrics.alignment import (
    SHORTEST_MM,
    Floats,
    align_procrustes,
    align_root_and_scale,
    compare_poses,
)
from handsim.skeleton import FINGER_JOINTS, JOINT_COUNT, REFERENCE_BONE, WRIST

_CANDIDATES: Final = 256
"""Hands whose mean joint distance is measured, of those nearest by squared distance; in 12,000 synthetic
hands the nearest one is among the first 64 for every one of 1,500 queries."""
_DISTANCES_AT_ONCE: Final = 2**22
_ROUNDING: Final = 1e-5
"""Poses are single precision: a partner is not nearer than itself."""


@dataclass(frozen=True, eq=False)
class PairErrors:
    """The errors of N pairs, in mm."""

    aligned: Floats
    """[N] mean joint distance, root and scale aligned."""
    xy: Floats
    """[N] its part in the picture: the mean of the joints' distances there."""
    depth: Floats
    """[N] its part along the line of sight: the mean of the joints' differences in z."""
    procrustes: Floats
    """[N] mean joint distance after the best translation, scale and rotation."""

    def __getitem__(self, rows: NDArray[np.bool_] | NDArray[np.integer]) -> "PairErrors":
        return PairErrors(self.aligned[rows], self.xy[rows], self.depth[rows], self.procrustes[rows])

    def __len__(self) -> int:
        return len(self.aligned)


def measure_pairs(
    anchors_mm: NDArray[np.floating], partners_mm: NDArray[np.floating], turns_deg: Floats | None = None
) -> PairErrors:
    """The errors of pairs of joints [N, 21, 3] and [N, 21, 3], all of them known.

    Partners are first turned by ``turns_deg`` [N] in the picture. Raises HandsimError for joints that are
    not finite and for hands without the length of the reference bone.
    """
    partners = partners_mm if turns_deg is None else turn_points(partners_mm, turns_deg)
    pairs = compare_poses(partners, anchors_mm, np.ones(anchors_mm.shape[:2], dtype=np.bool_))
    aligned = align_root_and_scale(pairs)
    apart = aligned.predicted_mm - aligned.true_mm
    fitted = align_procrustes(pairs, proper=True)
    return PairErrors(
        aligned=np.linalg.norm(apart, axis=-1).mean(axis=1),
        xy=np.linalg.norm(apart[..., :2], axis=-1).mean(axis=1),
        depth=np.abs(apart[..., 2]).mean(axis=1),
        procrustes=np.linalg.norm(fitted.predicted_mm - fitted.true_mm, axis=-1).mean(axis=1),
    )


def has_measures(joints_mm: NDArray[np.floating]) -> NDArray[np.bool_]:
    """[N] of which hands [N, 21, 3] all joints are known and the reference bone has a length."""
    with np.errstate(invalid="ignore"):
        has_bone = bone_lengths_mm(joints_mm) >= SHORTEST_MM
    return np.asarray(np.isfinite(joints_mm).all(axis=(1, 2)) & has_bone)


def bone_lengths_mm(joints_mm: NDArray[np.floating]) -> Floats:
    """[N] lengths of the reference bone of hands [N, 21, 3]."""
    root, end = REFERENCE_BONE
    lengths: Floats = np.linalg.norm(joints_mm[:, end].astype(np.float64) - joints_mm[:, root], axis=-1)
    return lengths


def unit_poses(joints_mm: NDArray[np.floating]) -> NDArray[np.float32]:
    """Poses [N, 21, 3] of hands [N, 21, 3] in mm: wrist at 0, reference bone of length 1.

    The mean joint distance of two of them, times the reference bone of one, is the error of that pair.
    """
    relative = joints_mm.astype(np.float64) - joints_mm[:, [WRIST]]
    return (relative / bone_lengths_mm(joints_mm)[:, None, None]).astype(np.float32)


def find_nearest_poses(
    queries: NDArray[np.float32],
    query_videos: NDArray[np.int32],
    poses: NDArray[np.float32],
    videos: NDArray[np.int32],
) -> NDArray[np.int64]:
    """For each query [Q, 21, 3] the row [Q] of the nearest of poses [N, 21, 3] of another video; -1: none.

    By mean joint distance, among the `_CANDIDATES` nearest by squared distance.
    """
    flat, own = poses.reshape(len(poses), -1), queries.reshape(len(queries), -1)
    squares = np.square(flat).sum(axis=1)
    count = min(_CANDIDATES, len(poses))
    nearest = np.empty(len(queries), dtype=np.int64)
    step = max(1, _DISTANCES_AT_ONCE // len(poses))
    for start in range(0, len(queries), step):
        rows = slice(start, start + step)
        # But for the query's own square, which is the same for all.
        squared = squares - 2 * (own[rows] @ flat.T)
        squared[query_videos[rows, None] == videos] = np.inf
        candidates = np.argpartition(squared, count - 1, axis=1)[:, :count]
        apart = np.linalg.norm(poses[candidates] - queries[rows, None], axis=-1).mean(axis=-1)
        apart[np.isinf(np.take_along_axis(squared, candidates, axis=1))] = np.inf
        best = apart.argmin(axis=1)[:, None]
        found = np.isfinite(np.take_along_axis(apart, best, axis=1))[:, 0]
        nearest[rows] = np.where(found, np.take_along_axis(candidates, best, axis=1)[:, 0], -1)
    return nearest


def share_nearer(queries: NDArray[np.float32], poses: NDArray[np.float32], distances: Floats) -> Floats:
    """[Q] the share of poses [N, 21, 3] whose mean joint distance to a query [Q, 21, 3] is below its own of
    ``distances`` [Q], all in reference bones. A query's own pose, among the poses, counts: leave it out.
    """
    shares = np.empty(len(queries))
    step = max(1, _DISTANCES_AT_ONCE // (len(poses) * JOINT_COUNT))
    for start in range(0, len(queries), step):
        rows = slice(start, start + step)
        apart = np.zeros((len(queries[rows]), len(poses)), dtype=np.float32)
        for joint in range(JOINT_COUNT):
            apart += np.linalg.norm(queries[rows, None, joint] - poses[:, joint], axis=-1)
        shares[rows] = (apart / JOINT_COUNT < distances[rows, None] * (1 - _ROUNDING)).mean(axis=1)
    return shares


def palm_angles_deg(joints_mm: NDArray[np.floating]) -> Floats:
    """[N] the angle between the palm's normal and the line of sight: 0 for a palm or a back that faces the
    camera, 90 for one that is seen from its edge. Of joints [N, 21, 3] in the camera frame.
    """
    index, little = FINGER_JOINTS["index"][0], FINGER_JOINTS["little"][0]
    wrist = joints_mm[:, WRIST].astype(np.float64)
    across, along = joints_mm[:, index] - wrist, joints_mm[:, little] - wrist
    normal = np.cross(across, along)
    sight = (wrist + joints_mm[:, index] + joints_mm[:, little]) / 3
    lengths = np.linalg.norm(normal, axis=-1) * np.linalg.norm(sight, axis=-1)
    cosine = np.abs((normal * sight).sum(axis=-1)) / np.maximum(lengths, np.finfo(np.float64).tiny)
    angles: Floats = np.degrees(np.arccos(np.minimum(cosine, 1.0)))
    return angles


def detector_errors(keypoints: NDArray[np.floating], joints_mm: NDArray[np.floating]) -> Floats:
    """[N] how far keypoints [N, 21, 2 or 3] are from the true joints [N, 21, 3], as seen by the camera.

    The mean distance in the picture, as a share of the longer side of the true hand's box, after the best
    scale and shift: a crop keeps a camera's projection but for these. Of hands before the camera, so that
    all z are above 0; others are NaN.
    """
    depth = joints_mm[..., 2:].astype(np.float64)
    is_seen = (depth > 0).all(axis=(1, 2))
    seen = joints_mm[..., :2] / np.where(depth > 0, depth, 1.0)
    points = keypoints[..., :2].astype(np.float64)
    centred, target = (each - each.mean(axis=1, keepdims=True) for each in (seen, points))
    spread = np.square(centred).sum(axis=(1, 2))
    scale = (centred * target).sum(axis=(1, 2)) / np.where(spread > 0, spread, np.nan)
    fitted = centred * scale[:, None, None]
    box = np.abs(scale) * np.ptp(centred, axis=1).max(axis=1)
    errors = np.linalg.norm(fitted - target, axis=-1).mean(axis=1) / np.where(box > 0, box, np.nan)
    return np.where(is_seen, errors, np.nan)


def rank_correlation(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Spearman's rank correlation of [N] and [N] numbers, equal ones sharing a rank; NaN where all are."""
    ranks = [_mean_ranks(values) for values in (first, second)]
    spreads = [float(rank.std()) for rank in ranks]
    if min(spreads) == 0:
        return float("nan")
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _mean_ranks(values: NDArray[np.floating]) -> Floats:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Floats = (last - (counts - 1) / 2)[place]
    return ranks

"""How well the meshes of a set of hands were estimated, from their vertices: FreiHAND's official numbers.

- **MPVPE** is the mean distance of the vertices to the true ones, and AUC the area under their PCK curve, as
  MPJPE and AUC are of joints (`handsim.metrics.pose`).
- **F@t** of a hand is the harmonic mean of two shares: of its predicted vertices that have a true one nearer
  than t, and of its true vertices that have a predicted one nearer than t (Knapitsch et al., ACM TOG 2017).
  Which vertex that is does not matter. It is averaged over hands.

Both are taken of the vertices as they were predicted, and after a Procrustes fit that is the mesh's own, not
the joints'. As that of the joints it may be a reflection.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from handsim.errors import HandsimError
from handsim.metrics.alignment import SHORTEST_MM, Floats, fit_procrustes
from handsim.metrics.pose import PCK_0_50, area_under_curve, pck_curve

F_THRESHOLDS_MM: Final = (5.0, 15.0)
_HANDS_AT_ONCE: Final = 64
"""Their vertices and the matrices of the fit are 10 MB."""


@dataclass(frozen=True)
class MeshScores:
    """The numbers of one alignment, over all hands."""

    mpvpe_mm: float
    """Mean per-vertex position error."""
    auc_0_50: float
    """Area under the PCK curve of the vertices from 0 to 50 mm, in 0 to 1."""
    f_5: float
    """F-score at 5 mm, 0 to 1."""
    f_15: float
    """F-score at 15 mm, 0 to 1."""


def score_meshes(predicted_mm: ArrayLike, true_mm: ArrayLike) -> dict[str, MeshScores]:
    """Scores by alignment, ``absolute`` and ``procrustes``, of vertices [N, V, 3] in mm in the camera frame.

    Raises HandsimError for shapes that differ, for vertices that are not finite, and for true meshes that are
    a point.
    """
    predicted, true = np.asarray(predicted_mm), np.asarray(true_mm)
    _check(predicted, true)
    errors: dict[str, list[Floats]] = {"absolute": [], "procrustes": []}
    f_scores: dict[str, list[list[float]]] = {"absolute": [], "procrustes": []}
    for some, truth in _parts(predicted, true):
        valid = np.ones(truth.shape[:2], np.bool_)
        for name, aligned in (("absolute", some), ("procrustes", fit_procrustes(some, truth, valid))):
            errors[name].append(np.linalg.norm(aligned - truth, axis=2))
            f_scores[name] += [f_score(mesh, its) for mesh, its in zip(aligned, truth, strict=True)]
    return {name: _sum_up(np.concatenate(errors[name]), np.array(f_scores[name])) for name in errors}


def f_score(predicted_mm: Floats, true_mm: Floats) -> list[float]:
    """F-scores of the vertices [V, 3] of one hand at each of `F_THRESHOLDS_MM`."""
    # |p - t|^2 of all pairs in one product: 5 ms for two meshes of MANO, in a k-d tree 6 to 10.
    ones = np.ones(len(true_mm))
    ours = np.column_stack([-2 * predicted_mm, (predicted_mm**2).sum(axis=1), ones])
    theirs = np.column_stack([true_mm, ones, (true_mm**2).sum(axis=1)])
    squared = ours @ theirs.T
    nearest = [np.sqrt(np.maximum(squared.min(axis=axis), 0)) for axis in (1, 0)]
    scores = []
    for threshold in F_THRESHOLDS_MM:
        near, covered = (float((apart < threshold).mean()) for apart in nearest)
        scores.append(2 * near * covered / (near + covered) if near + covered else 0.0)
    return scores


def _parts(predicted: NDArray[np.floating], true: NDArray[np.floating]) -> Iterator[tuple[Floats, Floats]]:
    for start in range(0, len(true), _HANDS_AT_ONCE):
        part = slice(start, start + _HANDS_AT_ONCE)
        yield predicted[part].astype(np.float64), true[part].astype(np.float64)


def _sum_up(errors_mm: Floats, f_scores: Floats) -> MeshScores:
    """Of errors [N, V], and F-scores [N, 2]."""
    area = area_under_curve(pck_curve(errors_mm, PCK_0_50), PCK_0_50)
    return MeshScores(float(errors_mm.mean()), area, *f_scores.mean(axis=0).tolist())


def _check(predicted: NDArray[np.floating], true: NDArray[np.floating]) -> None:
    if true.ndim != 3 or true.shape[2] != 3 or not true.size or predicted.shape != true.shape:
        raise HandsimError(
            f"predicted meshes have shape {predicted.shape} and true ones {true.shape}; both are [N, V, 3] "
            "in millimetres, with the same vertices in the same order"
        )
    for meshes, kind in ((predicted, "predicted"), (true, "true")):
        broken = ~np.isfinite(meshes).all(axis=(1, 2))
        if broken.any():
            raise HandsimError(
                f"vertices of the {kind} mesh of sample {int(broken.argmax())} are not finite "
                f"({int(broken.sum())} of {len(meshes)} samples are not); write numbers for each vertex"
            )
    flat = np.ptp(true, axis=1).max(axis=1) < SHORTEST_MM
    if flat.any():
        raise HandsimError(
            f"all vertices of the true mesh of sample {int(flat.argmax())} lie at one point; mend the truth"
        )

"""Scores of meshes against FreiHAND's definitions, written out plainly hand by hand and vertex by vertex."""

import numpy as np
import pytest
from numpy.typing import NDArray

from handsim.errors import HandsimError
from handsim.metrics.mesh import score_meshes

Meshes = NDArray[np.float64]


def fit(predicted: Meshes, true: Meshes) -> Meshes:
    """FreiHAND's: both centred and of unit norm, turned or mirrored, then of the true size and place."""
    middle, size = true.mean(axis=0), np.linalg.norm(true - true.mean(axis=0))
    target = (true - middle) / size
    source = predicted - predicted.mean(axis=0)
    source = source / np.linalg.norm(source)
    left, strength, right = np.linalg.svd(target.T @ source)
    fitted: Meshes = source @ (left @ right).T * strength.sum() * size + middle
    return fitted


def plain_f_score(predicted: Meshes, true: Meshes, threshold_mm: float) -> float:
    near = sum(min(np.linalg.norm(true - point, axis=1)) < threshold_mm for point in predicted)
    covered = sum(min(np.linalg.norm(predicted - point, axis=1)) < threshold_mm for point in true)
    recall, precision = near / len(predicted), covered / len(true)
    return 2 * recall * precision / (recall + precision) if recall + precision > 0 else 0.0


def plain_scores(predicted: Meshes, true: Meshes) -> list[float]:
    errors = np.linalg.norm(predicted - true, axis=2)
    steps = np.linspace(0, 50, 100)
    curves = [[(errors[:, vertex] <= step).mean() for step in steps] for vertex in range(errors.shape[1])]
    area = np.mean([np.trapezoid(curve, steps) / 50 for curve in curves])
    pairs = list(zip(predicted, true, strict=True))
    f_scores = [np.mean([plain_f_score(*pair, threshold) for pair in pairs]) for threshold in (5, 15)]
    return [float(number) for number in (errors.mean(), area, *f_scores)]


@pytest.mark.parametrize("seed", range(4))
def test_scores_are_those_of_a_plain_implementation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    true = rng.normal((20, -30, 600), 30, (70, 40, 3))  # more hands than are measured at once
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    middle = true.mean(axis=1, keepdims=True)
    noise = rng.normal(0, rng.uniform(1, 20, (70, 1, 1)), true.shape)
    predicted = 0.8 * (true - middle) @ turn + middle + noise + rng.normal(0, 8, (70, 1, 3))
    scores = score_meshes(predicted, true)
    fitted = np.stack([fit(*pair) for pair in zip(predicted, true, strict=True)])
    for name, meshes in (("absolute", predicted), ("procrustes", fitted)):
        found = scores[name]
        numbers = [found.mpvpe_mm, found.auc_0_50, found.f_5, found.f_15]
        assert numbers == pytest.approx(plain_scores(meshes, true), abs=1e-9), name
    assert scores["procrustes"].f_15 > scores["absolute"].f_15 > 0


def test_the_fit_forgives_place_size_turn_and_mirroring_and_a_point_scores_nothing() -> None:
    true = np.random.default_rng(0).normal((0, 0, 500), 30, (2, 50, 3))
    fitted = score_meshes(3 * true * [-1, 1, 1] + 7, true)["procrustes"]
    assert (fitted.mpvpe_mm, fitted.f_5, fitted.f_15) == pytest.approx((0, 1, 1), abs=1e-6)
    apart = score_meshes(np.zeros_like(true), true)["absolute"]
    assert (apart.f_5, apart.f_15, apart.auc_0_50) == (0, 0, 0)


def test_meshes_that_cannot_be_compared_are_refused() -> None:
    true = np.random.default_rng(0).normal(0, 30, (3, 8, 3))
    broken = true.copy()
    broken[1, 2, 0] = np.inf
    for predicted, truth, problem in (
        (true[:2], true, r"shape \(2, 8, 3\) and true ones \(3, 8, 3\)"),
        (true[:, :7], true, r"with the same vertices"),
        (true[:0], true[:0], r"\[N, V, 3\] in millimetres"),
        (broken, true, "predicted mesh of sample 1 are not finite"),
        (true, broken, r"true mesh of sample 1 are not finite \(1 of 3"),
        (true, true * 0, "true mesh of sample 0 lie at one point"),
    ):
        with pytest.raises(HandsimError, match=problem):
            score_meshes(predicted, truth)

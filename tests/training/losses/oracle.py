"""The losses row by row, and as one plain expression for autograd."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.losses import Weighting, nt_xent

Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Batch:
    """The arguments of the loss."""

    z1: Tensor
    z2: Tensor
    keypoints1: Tensor
    keypoints2: Tensor
    negatives: Tensor | None = None
    negative_keypoints: Tensor | None = None

    @classmethod
    def draw(
        cls,
        pairs: int,
        negatives: int = 0,
        *,
        seed: int = 0,
        width: int = 6,
        dtype: torch.dtype = torch.float64,
    ) -> "Batch":
        """Projections that lean towards their partners, keypoints in the unit square."""
        random = torch.Generator().manual_seed(seed)
        z = torch.randn(2, pairs, width, generator=random, dtype=torch.float64)
        points = torch.rand(2, pairs, 21, 2, generator=random, dtype=torch.float64)
        further = torch.randn(negatives, width, generator=random, dtype=torch.float64)
        further_points = torch.rand(negatives, 21, 2, generator=random, dtype=torch.float64)
        tensors = [z[0], z[1] + z[0], points[0], points[1]]
        if negatives:
            tensors += [further, further_points]
        return cls(*(tensor.to(dtype) for tensor in tensors))

    def differentiable(self) -> "Batch":
        """The same with projections that require a gradient."""
        z1, z2 = (z.detach().clone().requires_grad_() for z in (self.z1, self.z2))
        negatives = None if self.negatives is None else self.negatives.detach().clone().requires_grad_()
        return replace(self, z1=z1, z2=z2, negatives=negatives)

    def gradients(self) -> list[Tensor]:
        """Of the projections that have one."""
        projections = [z for z in (self.z1, self.z2, self.negatives) if z is not None]
        return [z.grad for z in projections if z.grad is not None]

    def loss(self, weighting: Weighting, temperature: float = 0.5) -> Tensor:
        """Ours."""
        return nt_xent(
            self.z1,
            self.z2,
            temperature=temperature,
            weighting=weighting,
            keypoints1=self.keypoints1,
            keypoints2=self.keypoints2,
            negatives=self.negatives,
            negative_keypoints=self.negative_keypoints,
        )


def slow_loss(batch: Batch, weighting: Weighting, temperature: float = 0.5) -> float:
    """The loss, row by row."""
    z = _stacked(batch.z1, batch.z2, batch.negatives)
    unit = np.stack([row / (np.linalg.norm(row) or 1.0) for row in z])
    pairs = len(batch.z1)
    w_pos, w = slow_positive_weights(batch, weighting), slow_denominator_weights(batch, weighting)
    losses = []
    for row in range(2 * pairs):
        partner = (row + pairs) % (2 * pairs)
        terms = np.exp(w[row] * (unit @ unit[row]) / temperature)
        numerator = math.exp(w_pos[row % pairs] * float(unit[row] @ unit[partner]) / temperature)
        losses.append(-math.log(numerator / np.delete(terms, row).sum()))
    return float(np.mean(losses))


def slow_positive_weights(batch: Batch, weighting: Weighting) -> Numbers:
    """[N], pair by pair."""
    pairs = len(batch.z1)
    if not weighting.weights_positives:
        return np.ones(pairs)
    first, second = batch.keypoints1.double().numpy(), batch.keypoints2.double().numpy()
    distances = np.array([_distance(first[n], second[n], weighting.measure, 0) for n in range(pairs)])
    finite = [d for d in distances if math.isfinite(d)]
    weights = [_weight(d, finite, weighting.form, weighting.lambda_positive) for d in distances]
    known = np.isfinite(distances)
    return _normalised(np.array(weights), known, known) if weighting.normalised else np.array(weights)


def slow_denominator_weights(batch: Batch, weighting: Weighting) -> Numbers:
    """[2N, 2N + R], pair by pair."""
    rows = 2 * len(batch.z1)
    columns = rows + (0 if batch.negatives is None else len(batch.negatives))
    if not weighting.weights_negatives:
        return np.ones((rows, columns))
    points = _stacked(batch.keypoints1, batch.keypoints2, batch.negative_keypoints)
    distances = np.array(
        [[_distance(points[i], points[j], weighting.measure, 1) for j in range(columns)] for i in range(rows)]
    )
    finite = [float(d) for d in distances.flat if math.isfinite(d)]
    flat = [_weight(d, finite, weighting.form, weighting.lambda_negative) for d in distances.flat]
    weights = np.array(flat).reshape(distances.shape)
    known = np.isfinite(distances)
    counted = known & ~np.eye(*known.shape, dtype=np.bool_)  # a hand with itself is in no denominator
    return _normalised(weights, known, counted) if weighting.normalised else weights


def dense_loss(batch: Batch, w_pos: Tensor, weights: Tensor, temperature: float = 0.5) -> Tensor:
    """The loss as a plain expression of all pairs, for autograd; weights [N] and [2N, 2N + R]."""
    rows = torch.cat([batch.z1, batch.z2])
    columns = rows if batch.negatives is None else torch.cat([rows, batch.negatives])
    rows, columns = (z / z.norm(dim=1, keepdim=True) for z in (rows, columns))
    logits = weights * (rows @ columns.T) / temperature
    itself = torch.eye(len(rows), len(columns), dtype=torch.bool)
    denominators = logits.masked_fill(itself, -torch.inf).logsumexp(1)
    cosines = (rows * rows.roll(len(batch.z1), 0)).sum(1)
    dense: Tensor = (denominators - w_pos.repeat(2) * cosines / temperature).mean()
    return dense


def _stacked(first: Tensor, second: Tensor, further: Tensor | None) -> Numbers:
    parts = [part for part in (first, second, further) if part is not None]
    stacked: Numbers = np.concatenate([part.detach().double().numpy() for part in parts])
    return stacked


def _distance(first: Numbers, second: Numbers, kind: str, mean_over: int) -> float:
    """Beside MPJPE: the length of the mean difference, over joints (0) or over the two coordinates (1)."""
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return math.nan
    apart = first - second
    if kind == "euclidean":
        return math.dist(first, second)
    if kind == "mpjpe":
        return float(np.linalg.norm(apart, axis=1).mean())
    return float(np.linalg.norm((abs(apart) if kind == "w_abs" else apart).mean(axis=mean_over)))


def _normalised(weights: Numbers, known: NDArray[np.bool_], counted: NDArray[np.bool_]) -> Numbers:
    """With a mean of 1 among those that count, and 1 where distances are not known."""
    return np.where(known, weights / np.mean(weights[counted]), 1.0)


def _weight(distance: float, finite: list[float], form: str, steepness: float) -> float:
    if not math.isfinite(distance):
        return 1.0
    if form == "sigmoid":
        return 1 / (1 + math.exp(steepness * (distance - sum(finite) / len(finite))))
    if max(finite) == min(finite):
        return 1.0
    return (max(finite) - distance) / (max(finite) - min(finite))

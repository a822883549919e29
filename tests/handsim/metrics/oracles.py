"""Slow, obvious versions of the metrics: one hand and one joint at a time, from the papers' descriptions."""

from itertools import pairwise

import numpy as np

from handsim.metrics.alignment import Floats, PoseComparison


def rotation_of(quaternion: Floats) -> Floats:
    """The rotation [3, 3] of a quaternion [4] (w, x, y, z) of any length; of a normal one: uniform."""
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def similarity_fit(predicted: Floats, true: Floats) -> Floats:
    """Points [J, 3] laid onto [J, 3] by the best translation, scale and proper rotation.

    By Horn's quaternions (J. Opt. Soc. Am. A 1987), which need no singular values and no determinant.
    """
    start, to = predicted - predicted.mean(axis=0), true - true.mean(axis=0)
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = start.T @ to
    matrix = np.array(
        [
            [xx + yy + zz, yz - zy, zx - xz, xy - yx],
            [yz - zy, xx - yy - zz, xy + yx, zx + xz],
            [zx - xz, xy + yx, yy - xx - zz, yz + zy],
            [xy - yx, zx + xz, yz + zy, zz - xx - yy],
        ]
    )
    turned = start @ rotation_of(np.linalg.eigh(matrix)[1][:, -1]).T
    moved: Floats = turned * (turned * to).sum() / (turned**2).sum() + true.mean(axis=0)
    return moved


def orthogonal_fit(predicted: Floats, true: Floats) -> Floats:
    """As `similarity_fit`, but the prediction may be mirrored first where that fits better."""
    fits = [similarity_fit(predicted, true), similarity_fit(predicted * (-1, 1, 1), true)]
    return min(fits, key=lambda fit: float(((fit - true) ** 2).sum()))


class JointLists:
    """The errors of each joint in a list of its own, as FreiHAND's evaluation gathers them."""

    def __init__(self, poses: PoseComparison) -> None:
        self.lists: list[list[float]] = [[] for _ in range(21)]
        for predicted, true, valid in zip(poses.predicted_mm, poses.true_mm, poses.valid, strict=True):
            for joint in range(21):
                if valid[joint]:
                    self.lists[joint].append(float(np.sqrt(((predicted[joint] - true[joint]) ** 2).sum())))
        self.measured = [errors for errors in self.lists if errors]

    def mean(self) -> float:
        return float(np.mean([np.mean(errors) for errors in self.measured]))

    def median(self) -> float:
        return float(np.mean([np.median(errors) for errors in self.measured]))

    def pck(self, threshold_mm: float) -> float:
        shares = [sum(error <= threshold_mm for error in errors) / len(errors) for errors in self.measured]
        return float(np.mean(shares))

    def auc(self, lowest_mm: float, highest_mm: float, steps: int) -> float:
        shares = [
            self.pck(lowest_mm + (highest_mm - lowest_mm) * step / (steps - 1)) for step in range(steps)
        ]
        return sum((low + high) / 2 for low, high in pairwise(shares)) / (steps - 1)

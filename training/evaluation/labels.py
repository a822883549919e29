"""The truth of many hands, read without their pictures."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError
from handsim.metrics.baselines import mean_pose_mm
from training.datasets.record import HandDataset
from training.evaluation.hands import TrueHands
from training.runs.workers import WorkerProcesses, Workers, WorkerThreads

MOST_HANDS: Final = 5000
"""Hands that a mean pose is taken of, spread evenly, because those of one person follow each other."""
_CHUNK_HANDS: Final = 64

Progress = Callable[[int, int], None]


def read_true_hands(
    dataset: HandDataset,
    rows: NDArray[np.integer] | None = None,
    *,
    workers: int = 0,
    progress: Progress | None = None,
) -> TrueHands:
    """The truth of a split's hands, or of those of ``rows``, in order.

    ``workers`` processes read, 0: threads of this one; ``progress`` is told (done, total). Raises
    HandsimError for a damaged label and for a split without hands.
    """
    rows = np.arange(len(dataset)) if rows is None else rows
    if not len(rows):
        raise HandsimError(f"split {dataset.split} of {dataset.name} has no hand; choose another one")
    read = _Labels(dataset)
    readers: Workers[NDArray[np.integer], TrueHands] = (
        WorkerProcesses(read, workers) if workers else WorkerThreads(read, "handsim-labels")
    )
    parts, done = [], 0
    with closing(readers):
        for part in readers.map(_chunks(rows)):
            parts.append(part)
            done += len(part)
            if progress:
                progress(done, len(rows))
    return joined(parts)


def mean_pose_of(dataset: HandDataset, *, workers: int = 0) -> tuple[NDArray[np.float64], int]:
    """The mean hand [21, 3] of a split in mm, at its mean wrist in the camera frame, and of how many hands.

    At most `MOST_HANDS` are read. Raises HandsimError as `read_true_hands` and `mean_pose_mm` do.
    """
    count = min(len(dataset), MOST_HANDS)
    rows = np.linspace(0, len(dataset) - 1, count).round().astype(np.int64)
    true = read_true_hands(dataset, rows, workers=workers)
    return mean_pose_mm(true.joints_3d_mm, true.valid), len(true)


def joined(parts: list[TrueHands]) -> TrueHands:
    """One after the other."""
    return TrueHands(
        tuple(name for part in parts for name in part.sample_ids),
        np.concatenate([part.joints_3d_mm for part in parts]),
        np.concatenate([part.keypoints_2d_px for part in parts]),
        np.concatenate([part.valid for part in parts]),
    )


class _Labels:
    """In a worker: rows of the dataset to their truth."""

    def __init__(self, dataset: HandDataset) -> None:
        self._dataset = dataset

    def __call__(self, rows: NDArray[np.integer]) -> TrueHands:
        labels = [self._dataset.label(row) for row in rows.tolist()]
        return TrueHands(
            tuple(label.sample_id for label in labels),
            np.stack([label.joints_3d_mm for label in labels]),
            np.stack([label.keypoints_2d_px for label in labels]),
            np.stack([label.valid for label in labels]),
        )


def _chunks(rows: NDArray[np.integer]) -> Iterator[NDArray[np.integer]]:
    for start in range(0, len(rows), _CHUNK_HANDS):
        yield rows[start : start + _CHUNK_HANDS]

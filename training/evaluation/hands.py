"""A split's hands in arrays: what was predicted of them, and what is true."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError
from handsim.hand import Side


@dataclass(frozen=True, eq=False)
class PredictedHands:
    """What was predicted of N hands, all told as right hands (see `training.datasets.record`)."""

    sample_ids: tuple[str, ...]
    """[N] as the dataset names them."""
    sides: tuple[Side, ...]
    """[N] the subjects' own hands."""
    joints_3d_mm: NDArray[np.float32]
    """[N, 21, 3] relative to the wrist, in the camera's axes: x right, y down, z into the picture."""
    camera_3d_mm: NDArray[np.float32] | None
    """[N, 21, 3] in the camera frame; None where the hands were not placed in it."""
    keypoints_2d_px: NDArray[np.float32]
    """[N, 21, 2] in the picture's pixels."""
    confidence: NDArray[np.float32]
    """[N, 21] from 0 to 1."""

    def __len__(self) -> int:
        """N."""
        return len(self.sample_ids)

    def in_order_of(self, sample_ids: Sequence[str], origin: str) -> "PredictedHands":
        """The same predictions in the order of a split's samples.

        Raises HandsimError, naming ``origin`` (where they come from), unless there is one for each sample.
        """
        rows = {name: row for row, name in enumerate(self.sample_ids)}
        missing = next((name for name in sample_ids if name not in rows), None)
        remedy = "predict the split again, or name the one that they are of with --dataset and --split"
        counts = f"{origin} has predictions for {len(self):,} hands and the split has {len(sample_ids):,}"
        if missing is not None:
            raise HandsimError(f"{counts}; the first one without is {missing}: {remedy}")
        if len(self) != len(sample_ids):
            twice = next((name for name, count in Counter(self.sample_ids).items() if count > 1), None)
            strangers = set(self.sample_ids) - set(sample_ids)
            why = f"{twice} is there twice" if twice else f"{min(strangers)} is none of its hands"
            raise HandsimError(f"{counts}; {why}: {remedy}")
        order = np.array([rows[name] for name in sample_ids], dtype=np.int64)
        if (order == np.arange(len(order))).all():
            return self
        return PredictedHands(
            tuple(sample_ids),
            tuple(self.sides[row] for row in order.tolist()),
            self.joints_3d_mm[order],
            None if self.camera_3d_mm is None else self.camera_3d_mm[order],
            self.keypoints_2d_px[order],
            self.confidence[order],
        )


@dataclass(frozen=True, eq=False)
class TrueHands:
    """The truth of N hands, all told as right hands."""

    sample_ids: tuple[str, ...]
    """[N] as the dataset names them."""
    joints_3d_mm: NDArray[np.float32]
    """[N, 21, 3] in the camera frame; anything where not ``valid``."""
    keypoints_2d_px: NDArray[np.float32]
    """[N, 21, 2] in the picture's pixels; anything where not ``valid``."""
    valid: NDArray[np.bool_]
    """[N, 21] which joints were annotated."""

    def __len__(self) -> int:
        """N."""
        return len(self.sample_ids)

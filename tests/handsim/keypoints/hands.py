"""Hands for tests that need no picture of one."""

import numpy as np
from numpy.typing import NDArray

from handsim.detection.detector import Detection
from handsim.hand import Side


def make_detection(
    x0: float, y0: float, x1: float, y1: float, *, score: float = 0.9, side: Side = "right"
) -> Detection:
    """A detection whose keypoints, random inside, fill exactly the box given."""
    unit = np.random.default_rng(7).uniform(size=(21, 3))
    unit[1, :2], unit[2, :2] = 0.0, 1.0
    unit[:, 2] -= unit[0, 2]
    keypoints = unit * (x1 - x0, y1 - y0, x1 - x0) + (x0, y0, 0.0)
    return Detection(side, score, keypoints.astype(np.float32))


class MarkerDetector:
    """Finds a "hand" wherever the picture's one white pixel is, in views that please it."""

    def __init__(self, wanted_looks: set[int]) -> None:
        """``wanted_looks``: the looks (from 0) at which it finds something."""
        self.wanted_looks = wanted_looks
        self.looks = 0
        self.closed = 0

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """A detection around the centre of the white pixel; nothing when it is out of the view."""
        self.looks += 1
        rows, columns = np.nonzero(image.min(axis=2) == 255)
        if self.looks - 1 not in self.wanted_looks or len(rows) == 0:
            return []
        x, y = columns.mean() + 0.5, rows.mean() + 0.5
        return [make_detection(x - 5, y - 5, x + 5, y + 5, score=0.95)]

    def close(self) -> None:
        """Count the calls."""
        self.closed += 1

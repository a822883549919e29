"""Which detections are the same hand, found twice."""

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.detection.detector import Detection

_COVERED_LIMIT: Final = 0.85
"""A detection with more than this part of its box inside a larger one's is the same hand, found twice."""


def drop_duplicates(detections: Iterable[Detection]) -> list[Detection]:
    """The detections, best first, without those that lie inside a larger one.

    The palm detector now and then takes a finger or a fold for a palm, and the landmark network then draws a
    small, confident, wrong hand inside the true one. So the larger box wins, not the higher score, and sides
    are not compared: the small one is often called the other side.
    """
    unique: list[Detection] = []
    for candidate in sorted(detections, key=lambda detection: -_area(detection.box_px)):
        if all(covered_share(candidate.box_px, larger.box_px) <= _COVERED_LIMIT for larger in unique):
            unique.append(candidate)
    return sorted(unique, key=lambda detection: -detection.score)


def covered_share(box_px: NDArray[np.float32], other_px: NDArray[np.float32]) -> float:
    """The part (0 to 1) of a box [4] that lies in another one [4]; 0 for a box without an area."""
    sides = np.minimum(box_px[2:], other_px[2:]) - np.maximum(box_px[:2], other_px[:2])
    area = _area(box_px)
    return float(np.prod(np.maximum(sides, 0.0))) / area if area > 0 else 0.0


def _area(box_px: NDArray[np.float32]) -> float:
    return float(np.prod(box_px[2:] - box_px[:2]))

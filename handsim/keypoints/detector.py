"""What a hand detector answers, whatever stands behind it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from handsim.geometry import box_around
from handsim.hand import SIDES, Side, check_keypoints

COVERED_LIMIT = 0.85
"""A detection with more than this part of its box inside a larger one's is the same hand, seen twice."""


@dataclass(frozen=True, eq=False)
class Detection:
    """One hand found in a picture, in that picture's pixels; nothing is mirrored yet.

    Raises HandsimError for keypoints that are not finite [21, 3] or an unknown side.
    """

    side: Side
    """The subject's own hand, for an unmirrored photograph."""
    score: float
    """The detector's confidence, 0 to 1; only comparable between detections of the same detector."""
    keypoints_px: NDArray[np.float32]
    """[21, 3] x right, y down, z depth relative to the wrist (smaller is nearer), all three in pixels of the
    picture, in continuous coordinates (see `handsim.geometry`); joints may lie outside the picture."""
    rung: str = "first try"
    """Which try found it: the first, or a rung of the `RetryLadder`."""

    def __post_init__(self) -> None:
        if self.side not in SIDES:
            raise ValueError(f"side {self.side!r} is neither 'left' nor 'right'")
        check_keypoints(self.keypoints_px)

    @property
    def box_px(self) -> NDArray[np.float32]:
        """[4] x0, y0, x1, y1: tight around the keypoints."""
        return box_around(self.keypoints_px).astype(np.float32)


class HandDetector(Protocol):
    """Finds any number of hands in one picture."""

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """The hands in a picture [H, W, 3] (RGB), best first; an empty list when there is none."""

    def close(self) -> None:
        """Give back what the detector holds (threads, native memory); calling it twice is harmless."""


def distinct(detections: Iterable[Detection], covered_limit: float = COVERED_LIMIT) -> list[Detection]:
    """The detections, best first, without those that see again a hand a larger one has seen.

    The palm detector now and then takes a finger or a fold for a palm, and the landmark network then draws a
    small, confident, wrong hand inside the true one. So the larger box wins, not the higher score, and sides
    are not compared: the small one is often called the other side.
    """
    kept: list[Detection] = []
    for candidate in sorted(detections, key=lambda detection: -_area(detection.box_px)):
        if all(covered(candidate.box_px, larger.box_px) <= covered_limit for larger in kept):
            kept.append(candidate)
    return sorted(kept, key=lambda detection: -detection.score)


def covered(box_px: NDArray[np.float32], other_px: NDArray[np.float32]) -> float:
    """The part (0 to 1) of a box [4] that lies in another one [4]; 0 for a box without an area."""
    sides = np.minimum(box_px[2:], other_px[2:]) - np.maximum(box_px[:2], other_px[:2])
    area = _area(box_px)
    return float(np.prod(np.maximum(sides, 0.0))) / area if area > 0 else 0.0


def _area(box_px: NDArray[np.float32]) -> float:
    return float(np.prod(box_px[2:] - box_px[:2]))

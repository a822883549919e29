"""Second tries for pictures in which nothing was found."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from handsim.keypoints.detector import Detection, HandDetector, distinct
from handsim.keypoints.views import View, enlarged, framed, padded, squarish, turned

FIRST_TRY = "first try"


@dataclass(frozen=True)
class Rung:
    """One kind of second try."""

    name: str
    """What `Detection.rung` says of what it finds."""
    views: Callable[[NDArray[np.uint8]], Iterable[View]]
    """The views [H, W, 3] to look at; none where the try has no point."""
    detector: HandDetector | None = None
    """What looks at them; the ladder's own detector if None."""
    min_score: float = 0.0
    """What a detection must score to count: many looks are many chances to be mistaken."""


RUNGS = (Rung("pad", padded), Rung("enlarge", enlarged, min_score=0.9), Rung("rotate", turned))


class RetryLadder:
    """A `HandDetector` that looks again, in other ways, where another one finds nothing.

    It stops at the first rung that finds a hand, so a picture whose hands are found at once costs one look.
    All views of a rung are looked at, because each may show another hand.
    """

    def __init__(self, detector: HandDetector, rungs: Sequence[Rung] = RUNGS) -> None:
        """``detector`` looks first; it and the rungs' own detectors are closed with the ladder."""
        self._detector = detector
        self._rungs = (Rung(FIRST_TRY, framed), *rungs)

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """See `HandDetector.detect`; `Detection.rung` tells which try found it."""
        for rung in self._rungs:
            if found := self._climb(rung, image):
                return found
        return []

    def close(self) -> None:
        """Close every detector of the ladder."""
        for detector in (self._detector, *(rung.detector for rung in self._rungs)):
            if detector is not None:
                detector.close()

    def _climb(self, rung: Rung, image: NDArray[np.uint8]) -> list[Detection]:
        detector = rung.detector or self._detector
        return distinct(
            replace(found, keypoints_px=view.keypoints_in_picture(found.keypoints_px), rung=rung.name)
            for view in rung.views(image)
            for found in detector.detect(view.image)
            if found.score >= rung.min_score
        )


def open_detector(model_path: Path, *, retry: bool = True) -> RetryLadder:
    """The detector handsim uses: MediaPipe, under the whole ladder unless ``retry`` is off.

    A large picture without a hand costs some thirty looks before the ladder gives up; where most pictures are
    such (the frames of a long recording), one look each finds more hands an hour.
    """
    from handsim.keypoints.full_box import FullBoxHands
    from handsim.keypoints.mediapipe import MediaPipeHands

    if not retry:
        return RetryLadder(MediaPipeHands(model_path), ())
    full_box = Rung("full-image box", squarish, FullBoxHands(model_path))
    return RetryLadder(MediaPipeHands(model_path), (*RUNGS, full_box))

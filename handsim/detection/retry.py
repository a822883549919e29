"""Second tries for pictures in which nothing was found.

Other ways to look at a picture, each with the way back to its pixels.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from handsim.detection.detector import Detection, HandDetector, distinct
from handsim.geometry import apply_affine

SMALL_PICTURE_PX = 256
"""A picture no longer than this is taken for a crop of a hand."""
MARGIN = 0.5
"""Of the longer side. The palm detector knows hands that take up half of what it sees, not all of it."""
OTHER_MARGINS = (0.25, 1.0)
"""For crops, whose first look had ``MARGIN`` already."""
TILE_FRACTIONS = (0.6, 0.4)
"""Sides of the tiles, in longer sides of the picture."""
TILE_MIN_PX = 160
"""The palm detector sees 192 pixels; much smaller tiles would show it nothing new."""
TILE_OVERLAP = 0.5
"""At least this part of a tile is shared with the next, so a hand half as long is whole in one of them."""
SQUARISH = 1.5
"""The longest a picture filled by one hand is, in shorter sides."""


@dataclass(frozen=True, eq=False)
class View:
    """A picture made from another one."""

    image: NDArray[np.uint8]
    """[H, W, 3]"""
    to_picture: NDArray[np.float64]
    """Affine [2, 3] from the view's pixels to the original's; quarter turns, one scale and a shift."""

    def keypoints_in_picture(self, keypoints_px: NDArray[np.float32]) -> NDArray[np.float32]:
        """Keypoints [21, 3] of the view in pixels of the original; z is scaled as x and y are."""
        mapped = apply_affine(self.to_picture, keypoints_px.astype(np.float64))
        mapped[:, 2] *= np.sqrt(abs(np.linalg.det(self.to_picture[:, :2])))
        return mapped.astype(np.float32)


def framed(image: NDArray[np.uint8]) -> Iterator[View]:
    """The picture as it is, or, if it is small enough to be a crop of a hand, with a margin around it.

    The detector resamples every picture to one size, so the margin costs a crop no time and little detail.
    """
    yield _with_margin(image, MARGIN if _is_crop(image) else 0.0)


def padded(image: NDArray[np.uint8]) -> Iterator[View]:
    """The picture with a margin made of its edge pixels repeated."""
    for margin in OTHER_MARGINS if _is_crop(image) else (MARGIN,):
        yield _with_margin(image, margin)


def enlarged(image: NDArray[np.uint8]) -> Iterator[View]:
    """Overlapping square tiles, large ones first: what is small in a picture is large in a tile.

    Small pictures give fewer tiles or none.
    """
    height, width = image.shape[:2]
    for fraction in TILE_FRACTIONS:
        side = round(fraction * max(height, width))
        if side < TILE_MIN_PX:
            return
        for top in _starts(height, side):
            for left in _starts(width, side):
                yield View(image[top : top + side, left : left + side], _shift(left, top))


def turned(image: NDArray[np.uint8]) -> Iterator[View]:
    """The picture, framed, by a quarter, a half and three quarters of a turn."""
    frame = next(framed(image))
    for view in list(quarter_turns(frame.image))[1:]:
        to_picture = view.to_picture.copy()
        to_picture[:, 2] += frame.to_picture[:, 2]
        yield View(view.image, to_picture)


def squarish(image: NDArray[np.uint8]) -> Iterator[View]:
    """The picture as it is, unless it is too long for one hand to fill it."""
    if max(image.shape[:2]) <= SQUARISH * min(image.shape[:2]):
        yield _with_margin(image, 0.0)


def quarter_turns(image: NDArray[np.uint8]) -> Iterator[View]:
    """The picture turned counter-clockwise by 0, 90, 180 and 270 degrees; no pixel is resampled."""
    height, width = image.shape[:2]
    yield View(image, _shift(0, 0))
    yield View(np.rot90(image, 1), np.array([[0.0, -1.0, width], [1.0, 0.0, 0.0]]))
    yield View(np.rot90(image, 2), np.array([[-1.0, 0.0, width], [0.0, -1.0, height]]))
    yield View(np.rot90(image, 3), np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, height]]))


def _is_crop(image: NDArray[np.uint8]) -> bool:
    return bool(max(image.shape[:2]) <= SMALL_PICTURE_PX)


def _with_margin(image: NDArray[np.uint8], fraction: float) -> View:
    margin = round(fraction * max(image.shape[:2]))
    if margin == 0:
        return View(image, _shift(0, 0))
    wider = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    return View(wider, _shift(-margin, -margin))


def _shift(x: float, y: float) -> NDArray[np.float64]:
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y]])


def _starts(length: int, side: int) -> list[int]:
    """Where tiles of ``side`` begin so that they cover ``length`` and overlap by at least TILE_OVERLAP."""
    if length <= side:
        return [0]
    count = 1 + int(np.ceil((length - side) / (side * (1 - TILE_OVERLAP))))
    return [int(start) for start in np.linspace(0, length - side, count).round()]


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
    from handsim.detection.mediapipe import FullBoxHands, MediaPipeHands

    if not retry:
        return RetryLadder(MediaPipeHands(model_path), ())
    full_box = Rung("full-image box", squarish, FullBoxHands(model_path))
    return RetryLadder(MediaPipeHands(model_path), (*RUNGS, full_box))

"""Other ways to look at a picture in which no hand was found, and the detector that tries them in turn.

Each way makes views of the picture (`CropView`) that know the way back to its pixels.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.detection.detector import FIRST_TRY, Detection, HandDetector
from handsim.detection.merge import drop_duplicates
from handsim.geometry import apply_affine

_CROP_PX: Final = 256
"""A picture no longer than this is taken for a crop of a hand."""
_MARGIN: Final = 0.5
"""Of the longer side. The palm detector knows hands that take up half of what it sees, not all of it."""
_OTHER_MARGINS: Final = (0.25, 1.0)
"""For crops, whose first view had ``_MARGIN`` already."""
_TILE_FRACTIONS: Final = (0.6, 0.4)
"""Sides of the tiles, in longer sides of the picture."""
_TILE_MIN_PX: Final = 160
"""The palm detector sees 192 pixels; much smaller tiles would show it nothing new."""
_TILE_OVERLAP: Final = 0.5
"""At least this part of a tile is shared with the next, so a hand half as long is whole in one of them."""
_LONGEST_HAND: Final = 1.5
"""The longest that a picture filled by one hand is, in shorter sides."""


@dataclass(frozen=True, eq=False)
class CropView:
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


def frame(image: NDArray[np.uint8]) -> Iterator[CropView]:
    """The picture as it is, or, if it is small enough to be a crop of a hand, with a margin around it.

    The detector resamples every picture to one size, so the margin costs a crop no time and little detail.
    """
    yield _add_margin(image, _MARGIN if _is_crop(image) else 0.0)


def pad(image: NDArray[np.uint8]) -> Iterator[CropView]:
    """The picture with a margin made of its edge pixels repeated."""
    for margin in _OTHER_MARGINS if _is_crop(image) else (_MARGIN,):
        yield _add_margin(image, margin)


def enlarge(image: NDArray[np.uint8]) -> Iterator[CropView]:
    """Overlapping square tiles, large ones first: what is small in a picture is large in a tile."""
    height, width = image.shape[:2]
    for fraction in _TILE_FRACTIONS:
        side = round(fraction * max(height, width))
        if side < _TILE_MIN_PX:
            return
        for top in _tile_starts(height, side):
            for left in _tile_starts(width, side):
                yield CropView(image[top : top + side, left : left + side], _shift(left, top))


def rotate(image: NDArray[np.uint8]) -> Iterator[CropView]:
    """The picture as in `frame`, by a quarter, a half and three quarters of a turn."""
    framed = next(frame(image))
    for view in list(quarter_turns(framed.image))[1:]:
        to_picture = view.to_picture.copy()
        to_picture[:, 2] += framed.to_picture[:, 2]
        yield CropView(view.image, to_picture)


def fill(image: NDArray[np.uint8]) -> Iterator[CropView]:
    """The picture as it is, unless it is too long for one hand to fill it."""
    if max(image.shape[:2]) <= _LONGEST_HAND * min(image.shape[:2]):
        yield _add_margin(image, 0.0)


def quarter_turns(image: NDArray[np.uint8]) -> Iterator[CropView]:
    """The picture turned counter-clockwise by 0, 90, 180 and 270 degrees; no pixel is resampled."""
    height, width = image.shape[:2]
    yield CropView(image, _shift(0, 0))
    yield CropView(np.rot90(image, 1), np.array([[0.0, -1.0, width], [1.0, 0.0, 0.0]]))
    yield CropView(np.rot90(image, 2), np.array([[-1.0, 0.0, width], [0.0, -1.0, height]]))
    yield CropView(np.rot90(image, 3), np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, height]]))


def _is_crop(image: NDArray[np.uint8]) -> bool:
    return bool(max(image.shape[:2]) <= _CROP_PX)


def _add_margin(image: NDArray[np.uint8], fraction: float) -> CropView:
    margin = round(fraction * max(image.shape[:2]))
    if margin == 0:
        return CropView(image, _shift(0, 0))
    wider = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    return CropView(wider, _shift(-margin, -margin))


def _shift(x: float, y: float) -> NDArray[np.float64]:
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y]])


def _tile_starts(length: int, side: int) -> list[int]:
    """Where tiles of ``side`` begin so that they cover ``length`` and overlap by at least _TILE_OVERLAP."""
    if length <= side:
        return [0]
    count = 1 + int(np.ceil((length - side) / (side * (1 - _TILE_OVERLAP))))
    return [int(start) for start in np.linspace(0, length - side, count).round()]


@dataclass(frozen=True)
class RetryStage:
    """One way to look again."""

    name: str
    """What `Detection.stage` says of what it finds."""
    views: Callable[[NDArray[np.uint8]], Iterable[CropView]]
    """The views of a picture [H, W, 3]; none where this stage has no point."""
    detector: HandDetector | None = None
    """What looks at them; if None, the detector that looked first."""
    min_score: float = 0.0
    """What a detection must score to count: many looks are many chances to be mistaken."""


RETRY_STAGES: Final = (
    RetryStage("pad", pad),
    RetryStage("enlarge", enlarge, min_score=0.9),
    RetryStage("rotate", rotate),
)


class RetryingDetector:
    """A `HandDetector` that looks again, in other ways, where another one finds nothing.

    It stops at the first stage that finds a hand, so a picture whose hands are found at once costs one look.
    All views of a stage are looked at, because each may show another hand.
    """

    def __init__(self, detector: HandDetector, stages: Sequence[RetryStage] = RETRY_STAGES) -> None:
        """``detector`` looks first; it and the stages' own detectors are closed with this one."""
        self._detector = detector
        self._stages = (RetryStage(FIRST_TRY, frame), *stages)

    def detect(self, pictures: Sequence[NDArray[np.uint8]]) -> list[list[Detection]]:
        """See `HandDetector.detect`; `Detection.stage` names the try that found it."""
        return [self._search(picture) for picture in pictures]

    def _search(self, image: NDArray[np.uint8]) -> list[Detection]:
        for stage in self._stages:
            if detections := self._try(stage, image):
                return detections
        return []

    def close(self) -> None:
        """Close the detector and those of the stages."""
        for detector in (self._detector, *(stage.detector for stage in self._stages)):
            if detector is not None:
                detector.close()

    def _try(self, stage: RetryStage, image: NDArray[np.uint8]) -> list[Detection]:
        detector = stage.detector or self._detector
        return drop_duplicates(
            replace(
                detection, keypoints_px=view.keypoints_in_picture(detection.keypoints_px), stage=stage.name
            )
            for view in stage.views(image)
            for detection in detector.detect([view.image])[0]
            if detection.score >= stage.min_score
        )

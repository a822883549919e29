"""Where in a picture palms are looked for.

The palm network sees 192 pixels. It finds most hands that are 34 to 110 of them long (0.88 to 1.0 of closed
and open ones), half of those of 16, and few of 12: so a large picture is also searched in tiles, and hands
that fill a picture are searched with a margin. Its score changes by half from one scale to the next, so
neighbouring scales help each other.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.detection.detector import FIRST_TRY, Detection
from handsim.detection.merge import FLESH, FLESHY, PALM, hand_size
from handsim.detection.networks import TurnedSquare

_CROP_PX: Final = 256
"""A picture no longer than this is taken for a crop of a hand."""
_CROP_SCALES: Final = (2.0,)
_SCALES: Final = (1.0, 1.4)
"""Sides of the first regions, in longer sides of the picture."""
_OTHER_CROP_SCALES: Final = (1.0, 1.4, 3.0)
_OTHER_SCALES: Final = (2.0,)
_TILE_PX: Final = 320
"""Side of the finest tiles. A hand of 60 pixels is 36 of those that the network sees."""
_MOST_TILES: Final = 4
"""Finest tiles along the longer side, overlaps aside: larger pictures have larger ones, which bounds time."""
_TILE_OVERLAP: Final = 0.25
"""At least this part of a tile is shared with the next: more than a palm that is looked for there."""
_FLAT: Final = 4
"""Levels of 255. A tile in which no patch differs by more from its neighbours shows no hand."""
_PATCHES: Final = 24
"""Along a tile's side."""
_SCALE_BESIDE: Final = 2.7
"""In sizes of the hand that was found. One of 1.8 besides finds nothing more."""
_RING: Final = 0.1
"""How wide the surroundings are from which a hand that is painted over gets its colour, in sizes of it."""
LONGEST_HAND: Final = 1.5
"""The longest that a picture filled by one hand is, in shorter sides."""


@dataclass(frozen=True, eq=False)
class Region:
    """A part of a picture in which palms are looked for."""

    square: TurnedSquare
    stage: str
    """What `Detection.stage` says of what is found there."""


def is_crop(picture: NDArray[np.uint8]) -> bool:
    """Whether it is so small that it was probably cut around a hand."""
    return bool(max(picture.shape[:2]) <= _CROP_PX)


def coarse_regions(picture: NDArray[np.uint8]) -> Iterator[Region]:
    """At the whole picture, at the scales at which most hands are found; a crop of a hand gets a margin."""
    for scale in _CROP_SCALES if is_crop(picture) else _SCALES:
        yield Region(_whole(picture, scale), FIRST_TRY)


def tile_regions(picture: NDArray[np.uint8]) -> Iterator[Region]:
    """At overlapping tiles, large ones first, without those in which there is nothing to see."""
    height, width = picture.shape[:2]
    longer = max(height, width)
    finest = max(_TILE_PX, longer / _MOST_TILES)
    sides = [longer / 2] if longer / 2 > 1.2 * finest else []
    if longer >= 1.2 * finest:
        sides.append(finest)
    for side in sides:
        for top in _tile_starts(height, side):
            for left in _tile_starts(width, side):
                if not _is_flat(picture, left, top, side):
                    centre = np.array([left + side / 2, top + side / 2])
                    yield Region(TurnedSquare(centre, side), "enlarge")


def region_beside(hand: Detection) -> Region:
    """Around a hand that was found, for one that is clasped with it."""
    centre = (hand.box_px[:2] + hand.box_px[2:]).astype(np.float64) / 2
    return Region(TurnedSquare(centre, _SCALE_BESIDE * hand_size(hand)), "enlarge")


def without_hand(picture: NDArray[np.uint8], hand: Detection) -> NDArray[np.uint8]:
    """A picture [H, W, 3] in which the flesh of a hand is painted over with the colour around it."""
    import cv2

    flesh = np.zeros(picture.shape[:2], np.uint8)
    points, size = hand.keypoints_px[:, :2].astype(int), hand_size(hand)
    cv2.polylines(flesh, list(points[FLESHY]), isClosed=False, color=1, thickness=int(2 * FLESH * size) + 1)
    cv2.fillConvexPoly(flesh, cv2.convexHull(points[PALM,]), 1)
    reach = 2 * int(_RING * size) + 3
    around = (cv2.dilate(flesh, np.ones((reach, reach), np.uint8)) > 0) & (flesh == 0)
    painted = picture.copy()
    if around.any():
        painted[flesh > 0] = np.median(picture[around], axis=0)
    return painted


def retry_regions(picture: NDArray[np.uint8]) -> Iterator[Region]:
    """At the whole picture at further scales, and turned."""
    for scale in _OTHER_CROP_SCALES if is_crop(picture) else _OTHER_SCALES:
        yield Region(_whole(picture, scale), "pad")
    scale = _CROP_SCALES[0] if is_crop(picture) else _SCALES[0]
    for quarters in (1, 2, 3):
        yield Region(_whole(picture, scale, quarters), "rotate")


def fill(picture: NDArray[np.uint8], enlargement: float) -> Iterator[TurnedSquare]:
    """Around the picture, in each of four directions, unless it is too long for one hand to fill it."""
    if max(picture.shape[:2]) <= LONGEST_HAND * min(picture.shape[:2]):
        for quarters in range(4):
            yield _whole(picture, enlargement, quarters)


def _whole(picture: NDArray[np.uint8], scale: float, quarters: int = 0) -> TurnedSquare:
    height, width = picture.shape[:2]
    return TurnedSquare(np.array([width / 2, height / 2]), scale * max(height, width), quarters * np.pi / 2)


def _tile_starts(length: int, side: float) -> list[float]:
    """Where tiles of ``side`` begin so that they cover ``length`` and overlap by at least _TILE_OVERLAP."""
    if length <= side:
        return [(length - side) / 2]
    count = 1 + int(np.ceil((length - side) / (side * (1 - _TILE_OVERLAP))))
    return [float(start) for start in np.linspace(0, length - side, count)]


def _is_flat(picture: NDArray[np.uint8], left: float, top: float, side: float) -> bool:
    import cv2

    rows, columns = (slice(max(int(start), 0), int(start + side) + 1) for start in (top, left))
    patches = cv2.resize(picture[rows, columns], (_PATCHES, _PATCHES), interpolation=cv2.INTER_AREA).astype(
        int
    )
    return max(int(np.abs(np.diff(patches, axis=axis)).max()) for axis in (0, 1)) <= _FLAT

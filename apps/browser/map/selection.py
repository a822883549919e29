"""Computations on a map: the hands within an outline, a summary of them, and colour codes for all hands."""

import math
import zlib
from collections import Counter
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from apps.browser.map.pose_map import PoseMap
from handsim.pool.reader import Categorical

Outline = tuple[tuple[float, float], ...]
"""Corners in the map's unit square."""
Choice = Literal["middle", "random"]
ColourBy = Literal["label", "source", "video", "distance"]

MAX_CORNERS: Final = 500
_CHUNK: Final = 50_000
"""Hands compared with an outline at once."""
_SUMMARY_LABELS: Final = 3

MAX_CLASSES: Final = 12
"""Names that a legend has room for, in colours that can be told apart."""
HUES: Final = 48
"""Colours for more names than that."""
SHADES: Final = 64
"""Steps of a scale."""
OTHERS: Final = 254
"""The code of names without a place in the legend."""
UNKNOWN: Final = 255
"""The code of hands whose value is unknown."""
_SCALE_PERCENTILES: Final = (2, 98)
"""The ends of a scale; a few outliers would stretch it otherwise."""


def parse_outline(message: object) -> Outline | None:
    """The outline in a web browser's message; None if it is malformed, which only a forged message is."""
    if not isinstance(message, list) or not 3 <= len(message) <= MAX_CORNERS:
        return None
    corners = []
    for corner in message:
        if not isinstance(corner, list) or len(corner) != 2:
            return None
        if not all(isinstance(part, int | float) and math.isfinite(part) for part in corner):
            return None
        corners.append((float(corner[0]), float(corner[1])))
    return tuple(corners)


def find_rows_within(pose_map: PoseMap, outline: Outline) -> NDArray[np.intp]:
    """[n] rows, ascending, of the hands within an outline, by the even-odd rule where it crosses itself."""
    corners = np.array(outline, dtype=np.float64)
    places = pose_map.places
    rows = np.flatnonzero(((places >= corners.min(axis=0)) & (places <= corners.max(axis=0))).all(axis=1))
    chunks = [rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]
    return np.concatenate([rows[:0], *(chunk[_is_inside(places[chunk], corners)] for chunk in chunks)])


def _is_inside(places: NDArray[np.float32], corners: NDArray[np.float64]) -> NDArray[np.bool_]:
    """[n] whether a ray from each place [n, 2] to the right crosses the outline [c, 2] oddly often."""
    inside = np.zeros(len(places), dtype=np.bool_)
    x, y = places[:, 0], places[:, 1]
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y1 != y2:
            crosses = (y1 > y) != (y2 > y)
            inside ^= crosses & (x < x1 + (y - y1) * (x2 - x1) / (y2 - y1))
    return inside


def choose_rows(pose_map: PoseMap, rows: NDArray[np.intp], most: int, choice: Choice) -> NDArray[np.intp]:
    """At most ``most`` of the rows: nearest to their middle first, or a random sample, always the same."""
    if choice == "random":
        order = np.random.default_rng(0).permutation(len(rows))
    else:
        places = pose_map.places[rows]
        order = np.argsort(((places - np.median(places, axis=0)) ** 2).sum(axis=1), kind="stable")
    return rows[order[:most]]


@dataclass(frozen=True)
class Summary:
    hands: int
    videos: int
    """How many videos the hands are from."""
    labels: tuple[tuple[str, float], ...]
    """The most frequent labels, and their shares of all these hands."""
    median_distance: float | None
    """To the nearest hand of another video; None if no hand has one."""


def summarise(pose_map: PoseMap, rows: NDArray[np.intp]) -> Summary:
    distances = pose_map.distances[rows]
    distances = distances[np.isfinite(distances)]
    counts = Counter(pose_map.labels.codes[rows].tolist())
    counts.pop(-1, None)
    return Summary(
        len(rows),
        len(np.unique(pose_map.videos.codes[rows])),
        tuple(
            (pose_map.labels.names[code], count / len(rows))
            for code, count in counts.most_common(_SUMMARY_LABELS)
        ),
        float(np.median(distances)) if len(distances) else None,
    )


@dataclass(frozen=True, eq=False)
class Colouring:
    """A code for each hand, and what the codes mean."""

    kind: Literal["classes", "hues", "scale"]
    """``classes``: a code for each name or each frequent one, with a legend. ``hues``: too many names for a
    legend; they share codes. ``scale``: codes rise with a number."""
    codes: NDArray[np.uint8]
    """[N]; `UNKNOWN` without a value, `OTHERS` for a name that is not among the classes."""
    classes: tuple[tuple[str, int], ...] = ()
    """Name and number of hands for each code."""
    name_count: int = 0
    """How many different names there are."""
    ends: tuple[float, float] = (0.0, 0.0)
    """The numbers at the lowest and the highest code of a scale; numbers beyond have these codes, too."""

    @property
    def others(self) -> int:
        return int((self.codes == OTHERS).sum())

    @property
    def unknown(self) -> int:
        return int((self.codes == UNKNOWN).sum())


def colour(pose_map: PoseMap, by: ColourBy) -> Colouring:
    if by == "distance":
        return _colour_scale(pose_map.distances)
    column = {"label": pose_map.labels, "source": pose_map.sources, "video": pose_map.videos}[by]
    # Nobody looks for one of a thousand videos in a legend. Those that share a hue are mostly far apart.
    if by == "video" and len(column.names) > MAX_CLASSES:
        hues = [zlib.crc32(name.encode()) % HUES for name in column.names]
        codes = _encode(column, np.array(hues, dtype=np.uint8))
        return Colouring("hues", codes, name_count=len(column.names))
    return _colour_classes(column)


def _colour_classes(column: Categorical) -> Colouring:
    """The most frequent names, coded in alphabetical order."""
    counts = np.bincount(column.codes[column.codes >= 0], minlength=len(column.names))
    frequent = np.argsort(-counts, kind="stable")[:MAX_CLASSES].tolist()
    classes = sorted(frequent, key=column.names.__getitem__)
    code_of_name = np.full(len(column.names), OTHERS, dtype=np.uint8)
    code_of_name[classes] = np.arange(len(classes))
    return Colouring(
        "classes",
        _encode(column, code_of_name),
        tuple((column.names[code], int(counts[code])) for code in classes),
        len(column.names),
    )


def _encode(column: Categorical, code_of_name: NDArray[np.uint8]) -> NDArray[np.uint8]:
    # A missing value is -1, which selects the last entry.
    codes: NDArray[np.uint8] = np.append(code_of_name, np.uint8(UNKNOWN))[column.codes]
    return codes


def _colour_scale(values: NDArray[np.float32]) -> Colouring:
    is_known = np.isfinite(values)
    codes = np.full(len(values), UNKNOWN, dtype=np.uint8)
    if not is_known.any():
        return Colouring("scale", codes)
    low, high = (float(end) for end in np.percentile(values[is_known], _SCALE_PERCENTILES))
    steps = (values[is_known] - low) / ((high - low) or 1.0) * SHADES
    codes[is_known] = np.clip(steps, 0, SHADES - 1).astype(np.uint8)
    return Colouring("scale", codes, ends=(low, high))

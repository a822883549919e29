"""The hands within an outline that somebody drew on the map.

What the colours of a map say.
"""

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
"""Corners on the map, in its unit square."""
Choice = Literal["middle", "random"]

MOST_CORNERS: Final = 500
_CHUNK: Final = 50_000
"""Hands that are compared with the outline at once."""
_MOST_TOLD: Final = 3


def outline_of(said: object) -> Outline | None:
    """What a browser sent as an outline; None where it is none, which only a forged message holds."""
    if not isinstance(said, list) or not 3 <= len(said) <= MOST_CORNERS:
        return None
    corners = []
    for corner in said:
        if not isinstance(corner, list) or len(corner) != 2:
            return None
        if not all(isinstance(part, int | float) and math.isfinite(part) for part in corner):
            return None
        corners.append((float(corner[0]), float(corner[1])))
    return tuple(corners)


def rows_within(of: PoseMap, outline: Outline) -> NDArray[np.intp]:
    """[n] rows, rising, of the hands within; an outline that crosses itself holds what it goes round oddly
    often, as a lasso does everywhere."""
    corners = np.array(outline, dtype=np.float64)
    in_box = ((of.places >= corners.min(axis=0)) & (of.places <= corners.max(axis=0))).all(axis=1)
    rows = np.flatnonzero(in_box)
    inside = [
        rows[start : start + _CHUNK][_is_inside(of.places[rows[start : start + _CHUNK]], corners)]
        for start in range(0, len(rows), _CHUNK)
    ]
    return np.concatenate(inside) if inside else rows


def _is_inside(places: NDArray[np.float32], corners: NDArray[np.float64]) -> NDArray[np.bool_]:
    """[n] whether a ray from each place [n, 2] to the right crosses the outline [c, 2] oddly often."""
    inside = np.zeros(len(places), dtype=np.bool_)
    x, y = places[:, 0], places[:, 1]
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y1 != y2:
            crosses = (y1 > y) != (y2 > y)
            inside ^= crosses & (x < x1 + (y - y1) * (x2 - x1) / (y2 - y1))
    return inside


def chosen_rows(of: PoseMap, rows: NDArray[np.intp], most: int, choice: Choice) -> NDArray[np.intp]:
    """[at most ``most``] of the rows: those nearest to their middle first, or some at random, always the
    same ones."""
    if choice == "random":
        order = np.random.default_rng(0).permutation(len(rows))
    else:
        places = of.places[rows]
        order = np.argsort(((places - np.median(places, axis=0)) ** 2).sum(axis=1), kind="stable")
    return rows[order[:most]]


@dataclass(frozen=True)
class Gathered:
    """What is known of some hands together."""

    hands: int
    """How many."""
    videos: int
    """Of how many videos."""
    labels: tuple[tuple[str, float], ...]
    """The most frequent labels and their shares of all hands."""
    median_distance: float | None
    """To the nearest hand of another video; None where no hand has one."""


def gathered(of: PoseMap, rows: NDArray[np.intp]) -> Gathered:
    """Sum the hands at rows [n] up."""
    distances = of.distances[rows]
    distances = distances[np.isfinite(distances)]
    return Gathered(
        len(rows),
        len(np.unique(of.videos.codes[rows])),
        _frequent(of.labels, rows),
        float(np.median(distances)) if len(distances) else None,
    )


def _frequent(column: Categorical, rows: NDArray[np.intp]) -> tuple[tuple[str, float], ...]:
    counts = Counter(column.codes[rows].tolist())
    counts.pop(-1, None)
    return tuple((column.names[code], count / len(rows)) for code, count in counts.most_common(_MOST_TOLD))


ColourBy = Literal["label", "source", "video", "distance"]

MOST_CLASSES: Final = 12
"""Names that a legend has room for, and eyes have colours for."""
HUES: Final = 48
"""Colours of names that are more than that."""
SHADES: Final = 64
"""Steps of a scale."""
OTHERS: Final = 254
"""The code of names that a legend has no room for."""
NOTHING: Final = 255
"""The code of a hand of which nothing is known."""
_OUTLIERS: Final = (2, 98)
"""Percentiles of the distances that a scale ends at; few hands would stretch it otherwise."""


@dataclass(frozen=True, eq=False)
class Colouring:
    """A code for each hand, and what the codes mean."""

    kind: Literal["classes", "hues", "scale"]
    """``classes``: a code for each name, or each frequent one, told by a legend; ``hues``: names are too many
    for one, and share codes; ``scale``: codes rise with a number."""
    codes: NDArray[np.uint8]
    """[N]; `NOTHING` where nothing is known, `OTHERS` of a name that is none of the classes."""
    classes: tuple[tuple[str, int], ...] = ()
    """Name and number of hands for each code."""
    names: int = 0
    """How many different names there are."""
    ends: tuple[float, float] = (0.0, 0.0)
    """The numbers of the lowest and highest code of a scale; what lies beyond has them too."""
    others: int = 0
    """Hands with `OTHERS`."""
    unknown: int = 0
    """Hands with `NOTHING`."""


def colouring(of: PoseMap, by: ColourBy) -> Colouring:
    """Code the hands of a map."""
    if by == "distance":
        return _scale(of.distances)
    column = {"label": of.labels, "source": of.sources, "video": of.videos}[by]
    # A video among a thousand is not looked for in a legend; what it shares its colour with is far away.
    return _hues(column) if by == "video" and len(column.names) > MOST_CLASSES else _classes(column)


def _classes(column: Categorical) -> Colouring:
    """The most frequent names, coded in the order of the alphabet."""
    counts = np.bincount(column.codes[column.codes >= 0], minlength=len(column.names))
    frequent = np.argsort(-counts, kind="stable")[:MOST_CLASSES].tolist()
    chosen = sorted(frequent, key=column.names.__getitem__)
    of_names = np.full(len(column.names), OTHERS, dtype=np.uint8)
    of_names[chosen] = np.arange(len(chosen))
    codes = _coded(column, of_names)
    classes = tuple((column.names[code], int(counts[code])) for code in chosen)
    others, unknown = (int((codes == code).sum()) for code in (OTHERS, NOTHING))
    return Colouring("classes", codes, classes, len(column.names), others=others, unknown=unknown)


def _hues(column: Categorical) -> Colouring:
    hues = [zlib.crc32(name.encode()) % HUES for name in column.names]
    codes = _coded(column, np.array(hues, dtype=np.uint8))
    return Colouring("hues", codes, names=len(column.names), unknown=int((codes == NOTHING).sum()))


def _coded(column: Categorical, of_names: NDArray[np.uint8]) -> NDArray[np.uint8]:
    # A missing value is -1, which takes the last entry.
    table = np.append(of_names, np.uint8(NOTHING))
    coded: NDArray[np.uint8] = table[column.codes]
    return coded


def _scale(values: NDArray[np.float32]) -> Colouring:
    known = np.isfinite(values)
    codes = np.full(len(values), NOTHING, dtype=np.uint8)
    if not known.any():
        return Colouring("scale", codes, unknown=len(values))
    low, high = (float(end) for end in np.percentile(values[known], _OUTLIERS))
    steps = (values[known] - low) / ((high - low) or 1.0) * SHADES
    codes[known] = np.clip(steps, 0, SHADES - 1).astype(np.uint8)
    return Colouring("scale", codes, ends=(low, high), unknown=int((~known).sum()))

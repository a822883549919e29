"""The hands within an outline that somebody drew on the map."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from apps.browser.map.pose_map import PoseMap
from handsim.pool.categorical import Categorical

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

"""The hands within an outline on a map, some of them to show, and a summary of them."""

import math
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

MAX_CORNERS: Final = 500
_SUMMARY_LABELS: Final = 3


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
    """[n] rows, ascending, of the hands within an outline, by the even-odd rule where it crosses itself.

    A ray from each hand to the right crosses an edge only between the edge's ends in height, so each edge is
    compared with these hands alone: of 500,000 hands and an outline of 300 corners 30 ms, not 3 s.
    """
    corners = np.array(outline, dtype=np.float64)
    rows, (x, y) = pose_map.by_height
    inside = np.zeros(len(rows), dtype=np.bool_)
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y1 != y2:
            between = slice(*np.searchsorted(y, sorted((y1, y2))).tolist())
            inside[between] ^= x[between] < x1 + (y[between] - y1) * ((x2 - x1) / (y2 - y1))
    return np.sort(rows[inside])


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


def summarise(pose_map: PoseMap, rows: NDArray[np.intp], labels: Categorical) -> Summary:
    """Of the hands in some rows; ``labels`` [N] of all."""
    distances = pose_map.distances[rows]
    distances = distances[np.isfinite(distances)]
    counts = Counter(labels.codes[rows].tolist())
    counts.pop(-1, None)
    return Summary(
        len(rows),
        len(np.unique(pose_map.videos.codes[rows])),
        tuple((labels.names[code], count / len(rows)) for code, count in counts.most_common(_SUMMARY_LABELS)),
        float(np.median(distances)) if len(distances) else None,
    )

"""Groups of hands that lie close together on a map, and names for them."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from apps.browser.map.columns import MapColumns
from apps.browser.map.pose_map import PoseMap
from handsim.pool import Pool
from handsim.skeleton import FINGER_JOINTS, FINGERS, WRIST

_GRID: Final = 48
"""Cells along each side of the map."""
_BLUR: Final = np.array([1, 4, 7, 4, 1], dtype=np.float64) / 17
_LEAST_SHARE: Final = 0.01
"""Of the hands; fewer are no group."""
_MAX_GROUPS: Final = 24
_LABELLED: Final = 0.5
"""Share of a group's hands that one label must have to name it."""
_SAMPLE: Final = 200
"""Hands of a group whose fingers are looked at."""
_STRETCHED: Final = 1.15
"""A finger is stretched if its tip is so many times as far from the wrist as its middle joint."""


@dataclass(frozen=True)
class Group:
    name: str
    place: tuple[float, float]
    """Where most of its hands lie, in the map's unit square."""
    hands: int


def find_groups(pose_map: PoseMap, columns: MapColumns, pool: Pool) -> list[Group]:
    """The hands uphill of whose places the density has one peak, largest group first.

    A group has the name of the label that at least half of its hands have; else of the fingers that most of
    them stretch.
    """
    if not len(pose_map):
        return []
    cells = np.minimum((pose_map.places * _GRID).astype(np.intp), _GRID - 1)
    cell = cells[:, 1] * _GRID + cells[:, 0]
    density = _blur(np.bincount(cell, minlength=_GRID**2).reshape(_GRID, _GRID).astype(np.float64))
    peak = _climb(density)[cell]
    peaks, counts = np.unique(peak, return_counts=True)
    largest = [
        at
        for at in np.argsort(-counts, kind="stable")[:_MAX_GROUPS]
        if counts[at] >= _LEAST_SHARE * len(pose_map)
    ]
    groups = []
    for at in largest:
        rows = np.flatnonzero(peak == peaks[at])
        y, x = divmod(int(peaks[at]), _GRID)
        name = _name_by_label(columns, rows) or _name_by_fingers(columns, pool, rows)
        if name:
            groups.append(Group(name, ((x + 0.5) / _GRID, (y + 0.5) / _GRID), len(rows)))
    return groups


def _blur(density: NDArray[np.float64]) -> NDArray[np.float64]:
    for axis in (0, 1, 0, 1):
        density = np.apply_along_axis(lambda line: np.convolve(line, _BLUR, "same"), axis, density)
    return density


def _climb(density: NDArray[np.float64]) -> NDArray[np.intp]:
    """[G * G] the peak that each cell leads up to, by its highest neighbour."""
    padded = np.pad(density, 1, constant_values=-1)
    steps = [(dy, dx) for dy in (0, -1, 1) for dx in (0, -1, 1)]  # the cell itself first: it wins a tie
    heights = np.stack([padded[1 + dy : 1 + dy + _GRID, 1 + dx : 1 + dx + _GRID] for dy, dx in steps])
    shifts = np.array([dy * _GRID + dx for dy, dx in steps])
    up: NDArray[np.intp] = np.arange(_GRID**2) + shifts[heights.reshape(len(steps), -1).argmax(axis=0)]
    while not np.array_equal(up[up], up):
        up = up[up]
    return up


def _name_by_label(columns: MapColumns, rows: NDArray[np.intp]) -> str:
    codes = columns.labels.codes[rows]
    counts = np.bincount(codes[codes >= 0], minlength=1)
    best = int(counts.argmax())
    return columns.labels.names[best] if counts[best] >= _LABELLED * len(rows) else ""


def _name_by_fingers(columns: MapColumns, pool: Pool, rows: NDArray[np.intp]) -> str:
    """``index, middle``: the fingers that most of the hands stretch; empty if the pool holds none of them."""
    known = columns.pool_rows[rows]
    known = known[known >= 0]
    some = known[:: max(1, len(known) // _SAMPLE)]
    if not len(some):
        return ""
    joints = pool.keypoints[some][:, :, :2]
    reach = np.linalg.norm(joints - joints[:, [WRIST]], axis=2)  # [n, 21]
    stretched = [
        finger
        for finger in FINGERS
        if np.nanmean(reach[:, FINGER_JOINTS[finger][3]] > _STRETCHED * reach[:, FINGER_JOINTS[finger][1]])
        > 0.5
    ]
    if len(stretched) == len(FINGERS):
        return "open hand"
    return ", ".join(stretched) or "fist"

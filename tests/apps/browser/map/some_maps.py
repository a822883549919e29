"""Maps made by hand, and one of a small home."""

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from apps.browser.map.build import make_map
from apps.browser.map.pose_map import PoseMap, map_file, maps_folder, save_map
from handsim.home import Home
from handsim.pool.reader import Categorical
from index import VersionInfo, open_catalog


class Silence:
    """Hears of progress and keeps it."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.counts: list[tuple[int, int]] = []

    def begin_phase(self, name: str) -> None:
        self.phases.append(name)

    def update(self, done: int, total: int) -> None:
        self.counts.append((done, total))


def a_map(
    places: ArrayLike,
    *,
    videos: list[str] | None = None,
    labels: list[str | None] | None = None,
    distances: ArrayLike | None = None,
) -> PoseMap:
    """Hands 10, 20, 30, ... at places [N, 2]."""
    at = np.asarray(places, dtype=np.float32).reshape(-1, 2)
    count = len(at)
    return PoseMap(
        "v0001",
        f"{count}-0123456789abcdef",
        count,
        np.arange(1, count + 1, dtype=np.uint64) * 10,
        at,
        np.asarray([0.5] * count if distances is None else distances, dtype=np.float32),
        Categorical.of(["synthetic"] * count),
        Categorical.of(videos or [f"video {row % 3}" for row in range(count)]),
        Categorical.of(labels or [None] * count),
    )


def put_map(home: Path, *, most_fitted: int = 20) -> VersionInfo:
    """Make the map of a home's current version, as the job does; so few hands are laid out in no time."""
    kept = Home(home)
    with open_catalog(kept.index) as catalog, catalog.current() as version:
        made = make_map(version, Silence(), most_fitted=most_fitted)
        save_map(made, map_file(maps_folder(kept), version.info))
        return version.info

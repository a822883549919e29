"""Test data of the browser: maps made by hand and of a home, a picture, and a wait for jobs."""

import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from apps.browser.jobs import Job, Jobs
from apps.browser.map.build import make_map
from apps.browser.map.pose_map import PoseMap, map_file, maps_folder, write_map_file
from handsim.home import Home
from handsim.pool.reader import Categorical
from index import VersionInfo, open_catalog

_WAIT_S = 300.0


def wait_for_job(
    jobs: Jobs, name: str, fits: Callable[[Job], bool] = lambda job: job.status != "running"
) -> Job:
    """Wait until a job ended, or until it fits; it is another process, so there is nothing to wait on."""
    deadline = time.monotonic() + _WAIT_S
    while (job := jobs.find(name)) is None or not fits(job):
        assert time.monotonic() < deadline, job
        time.sleep(0.02)
    return job


class ReporterSpy:
    """Records the reports that a job's reporter would write."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.counts: list[tuple[int, int]] = []

    def begin_phase(self, name: str) -> None:
        self.phases.append(name)

    def update(self, done: int, total: int) -> None:
        self.counts.append((done, total))


def build_map(
    places: ArrayLike,
    *,
    videos: list[str] | None = None,
    labels: list[str | None] | None = None,
    distances: ArrayLike | None = None,
) -> PoseMap:
    """A map of hands 10, 20, 30, ... at places [N, 2]."""
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


def put_map(path: Path) -> VersionInfo:
    """Make the map of a home's current version as the job does; fitted to few hands, it takes no time."""
    home = Home(path)
    with open_catalog(home.index) as catalog, catalog.current() as version:
        pose_map = make_map(version, ReporterSpy(), max_fitted=20)
        write_map_file(pose_map, map_file(maps_folder(home), version.info))
        return version.info


def build_huge_png(side: int) -> bytes:
    """A valid PNG of side x side white pixels, in a few hundred kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    line = b"\0" + b"\xff" * ((side + 7) // 8)
    packed = b"".join(packer.compress(line) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")

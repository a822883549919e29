"""Test data of the index: pools that look like video, catalogs without a server, copies, child processes."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from qdrant_client import QdrantClient

from handsim import Hand, Pool, PoolWriter, PoseEmbedding
from handsim.hand import make_hand_id
from handsim.pool import Categorical
from handsim.pool.duplicates import DuplicateGroups
from index import IndexSettings
from index.server.catalog import ServerCatalog
from index.server.client import Connection

VIDEOS: Final = 60
HANDS_PER_VIDEO: Final = 15

SMALL_GRAPH: Final = IndexSettings(index_above_kb=1, full_scan_below_kb=10)
"""Builds and searches the graph even for pools so small that hands would otherwise be compared one by one."""


def write_pool(path: Path, videos: int = VIDEOS, seed: int = 0) -> Pool:
    """Runs of nearly the same pose; videos share poses; every fifth hand of a video has no label."""
    random = np.random.default_rng(seed)
    poses = random.random((12, 21, 3))
    with PoolWriter(path) as writer:
        for video in range(videos):
            pose = int(random.integers(len(poses)))
            person = random.normal(scale=0.03, size=(21, 3))
            for frame in range(HANDS_PER_VIDEO):
                name = f"video {video}"
                keypoints = poses[pose] + person + random.normal(scale=0.005, size=(21, 3))
                writer.add(
                    Hand(
                        hand_id=make_hand_id("test", name, frame, seed),
                        source="ego4d" if video % 3 else "100doh",
                        video=name,
                        frame=frame,
                        side="left" if video % 4 == 0 else "right",
                        score=float(np.float32(random.random())),
                        box_px=np.array([0, 0, 9, 9], dtype=np.float32),
                        keypoints=keypoints.astype(np.float32),
                        label=None if frame % 5 == 4 else f"pose {pose}",
                    )
                )
    return Pool.open(path)


class PoolColumns:
    """Some hands of a pool, of which some may have another label: what a pool is after a removal."""

    def __init__(self, pool: Pool, rows: NDArray[np.int64], labels: dict[int, str | None]) -> None:
        """``labels`` are the new ones, by row of the pool."""
        self.hand_ids, self.keypoints = pool.hand_ids[rows], pool.keypoints[rows]
        self.is_left, self.has_side = pool.is_left[rows], pool.has_side[rows]
        self.scores, self.frames = pool.scores[rows], pool.frames[rows]
        self.tracks = pool.tracks[rows]
        self.videos, self.sources = (
            Categorical.of(column.values(rows)) for column in (pool.videos, pool.sources)
        )
        self.labels = Categorical.of(labels.get(row, pool.labels[row]) for row in rows.tolist())

    def __len__(self) -> int:
        return len(self.hand_ids)


def group_hands(*groups: Sequence[int]) -> DuplicateGroups:
    """Hands by id that are duplicates of each other."""
    hand_ids = np.array([hand for group in groups for hand in group], dtype=np.uint64)
    numbers = np.repeat(np.arange(len(groups), dtype=np.int32), [len(group) for group in groups])
    order = np.argsort(hand_ids)
    none = np.zeros(len(hand_ids), dtype=np.bool_)
    return DuplicateGroups(hand_ids[order], numbers[order], none, len(hand_ids), 0)


class SmallData(NamedTuple):
    """What most tests build an index of."""

    pool: Pool  # 60 hands of 4 videos
    grown_pool: Pool  # the same hands and 30 more
    embedding: PoseEmbedding  # of 14 components
    other_embedding: PoseEmbedding  # of 5 components


class MemoryServer:
    """A server in this process's memory; each catalog on it stands for another process.

    Tests set its clock, which moves forward when somebody sleeps.
    """

    def __init__(self) -> None:
        self.client = QdrantClient(":memory:")
        self.now = 1_700_000_000.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def connection(self) -> Connection:
        return Connection(self.client, "memory", sleep=self.sleep, clock=lambda: self.now, max_concurrent=1)

    def catalog(self, name: str = "hands") -> ServerCatalog:
        return ServerCatalog(self.connection(), name)

    def collections(self) -> list[str]:
        """Names of all collections, sorted."""
        return sorted(collection.name for collection in self.client.get_collections().collections)


def memory_catalog() -> ServerCatalog:
    """An index in the client's local mode, which answers as a server does: exactly, one call at a time."""
    return MemoryServer().catalog()


def copy_index(root: Path, target: Path) -> Path:
    """A copy that a test may change; sparse, because the engine's files have holes of a hundred megabytes."""
    subprocess.run(["cp", "--recursive", "--sparse=always", root, target], check=True)
    return target


class ChildProcess(subprocess.Popen[str]):
    """A Python program that prints where it is and waits for a line before its next step."""

    stdin: IO[str]
    stdout: IO[str]

    def __init__(self, program: str, *arguments: object) -> None:
        command = [sys.executable, "-c", program, *map(str, arguments)]
        super().__init__(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def read_line(self) -> str:
        return self.stdout.readline().strip()

    def proceed(self) -> None:
        self.stdin.write("\n")
        self.stdin.flush()

    def kill(self) -> None:
        """End it, however far it is, and wait for its end."""
        super().kill()
        self.wait()

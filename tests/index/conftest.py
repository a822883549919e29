"""A small pool that looks like video, and every engine over it."""

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from qdrant_client import QdrantClient

from handsim import Hand, Pool, PoolWriter, PoseEmbedding
from handsim.hand import make_hand_id
from index import Catalog, ExactIndex, IndexSettings, IndexVersion, open_catalog
from index.server.catalog import ServerCatalog
from index.server.client import Connection

VIDEOS = 60
HANDS_PER_VIDEO = 15

SMALL_GRAPH = IndexSettings(index_above_kb=1, full_scan_below_kb=10)
"""Builds and walks the graph where a pool this small would be compared one by one."""


def pytest_configure(config: pytest.Config) -> None:
    """What the client's local mode warns of is known: it has no indexes, and needs none."""
    config.addinivalue_line("filterwarnings", "ignore:Payload indexes have no effect")
    config.addinivalue_line("filterwarnings", "ignore:Local mode performs exact")


def write_pool(path: Path, videos: int = VIDEOS, seed: int = 0) -> Pool:
    """Runs of nearly the same pose; poses are shared between videos; some hands have no label."""
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


@pytest.fixture(scope="session")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    return write_pool(tmp_path_factory.mktemp("data") / "pool")


@pytest.fixture(scope="session")
def embedding(pool: Pool) -> PoseEmbedding:
    return PoseEmbedding.fit(pool)


def memory_catalog() -> ServerCatalog:
    """An index in the client's own memory, which answers as a server does, exactly and to one at a time."""
    client = QdrantClient(":memory:")
    return ServerCatalog(Connection(client, "memory", pause=lambda _: None, calls_at_once=1))


@pytest.fixture(scope="session")
def server_address() -> str:
    """Of an index on a real server that no test has used yet."""
    url = os.environ.get("HANDSIM_QDRANT_URL")
    if not url:
        pytest.skip("a Qdrant server is needed; set HANDSIM_QDRANT_URL (and HANDSIM_QDRANT_API_KEY)")
    base, _, query = url.partition("?")
    return f"{base.rstrip('/')}/handsim-test-{uuid4().hex[:12]}" + (f"?{query}" if query else "")


@pytest.fixture(scope="session", params=["exact", "edge", "memory", "server"])
def version(
    request: pytest.FixtureRequest,
    pool: Pool,
    embedding: PoseEmbedding,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[IndexVersion]:
    """The same hands in every engine."""
    if request.param == "exact":
        yield ExactIndex(pool, embedding)
        return
    if request.param == "memory":
        catalog: Catalog = memory_catalog()
    elif request.param == "server":
        catalog = open_catalog(request.getfixturevalue("server_address"))
    else:
        catalog = open_catalog(tmp_path_factory.mktemp("index"))
    with catalog:
        catalog.build(pool, embedding, SMALL_GRAPH)
        with catalog.current() as version:
            yield version
        catalog.drop()

"""A small pool with pictures that looks like video, and an index of it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from handsim import Hand, Pool, PoolWriter, PoseEmbedding
from handsim.hand import Side, make_hand_id
from handsim.images import encode_jpeg
from index import Catalog, ExactIndex, IndexSettings, open_catalog
from training.pairs import HandSet

SIZE_PX = 32
VIDEOS = 12
FRAMES = 10
FRAME_STEP = 30

SMALL_GRAPH = IndexSettings(index_above_kb=1, full_scan_below_kb=10)


def colour_of(hand_id: int) -> tuple[int, int, int]:
    """What a hand's picture is painted with, so that it can be told from others."""
    return 32 * (hand_id % 8), 32 * (hand_id // 8 % 8), 32 * (hand_id // 64 % 8)


def write_pool(path: Path, videos: int = VIDEOS, first_video: int = 0, *, pictures: bool = True) -> Pool:
    """Videos of `FRAMES` hands each, whose poses others share; a video's number decides all about it."""
    poses = np.random.default_rng(0).random((4, 21, 3))
    with PoolWriter(path, crop_size_px=SIZE_PX) as writer:
        for video in range(first_video, first_video + videos):
            random = np.random.default_rng([1, video])
            person = random.normal(scale=0.03, size=(21, 3))
            side: Side = "left" if video % 4 == 0 else "right"
            for number in range(FRAMES):
                frame = number * FRAME_STEP
                hand_id = make_hand_id("test", f"video {video}", frame, 0)
                keypoints = poses[video % 4] + person + random.normal(scale=0.005, size=(21, 3))
                picture = np.full((SIZE_PX, SIZE_PX, 3), colour_of(hand_id), dtype=np.uint8)
                hand = Hand(
                    hand_id=hand_id,
                    source="test",
                    video=f"video {video}",
                    frame=frame,
                    side=side,
                    score=1.0,
                    box_px=np.array([0, 0, 9, 9], dtype=np.float32),
                    keypoints=keypoints.astype(np.float32),
                )
                writer.add(hand, encode_jpeg(picture) if pictures else None)
    return Pool.open(path)


@pytest.fixture(scope="session")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    """120 hands of 12 videos."""
    return write_pool(tmp_path_factory.mktemp("data") / "pool")


@pytest.fixture(scope="session")
def half(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    """Those of its first 6 videos."""
    return write_pool(tmp_path_factory.mktemp("data") / "half", videos=VIDEOS // 2)


@pytest.fixture(scope="session")
def embedding(pool: Pool) -> PoseEmbedding:
    return PoseEmbedding.fit(pool)


@pytest.fixture(scope="session")
def pictured(pool: Pool) -> HandSet:
    return HandSet.with_crops(pool)


@pytest.fixture(scope="session")
def exact(pool: Pool, embedding: PoseEmbedding) -> ExactIndex:
    """What the index would answer if it were slow."""
    return ExactIndex(pool, embedding)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    """An index, embedded and without versions."""
    with open_catalog(tmp_path / "index") as catalog:
        yield catalog


@pytest.fixture(scope="session")
def built(
    pool: Pool, embedding: PoseEmbedding, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Catalog]:
    """An embedded index of the pool, to be read only."""
    with open_catalog(tmp_path_factory.mktemp("index")) as catalog:
        catalog.build(pool, embedding, SMALL_GRAPH)
        yield catalog

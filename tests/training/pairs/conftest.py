"""A small pool with crops, and an index of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from handsim import Pool, PoseEmbedding
from index import Catalog, ExactIndex, open_catalog
from tests.training.pairs.builders import SMALL_GRAPH, VIDEOS, write_pool
from training.pairs import HandSet


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
def pool_hands(pool: Pool) -> HandSet:
    return HandSet.trainable(pool)


@pytest.fixture(scope="session")
def exact(pool: Pool, embedding: PoseEmbedding) -> ExactIndex:
    """The slow and exact index of the pool."""
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
    """An embedded index of the pool, read only."""
    with open_catalog(tmp_path_factory.mktemp("index")) as catalog:
        catalog.build(pool, embedding, SMALL_GRAPH)
        yield catalog

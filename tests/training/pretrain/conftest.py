"""A home with a small synthetic pool and an index of it, made once, and places to train in."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from handsim import PoseEmbedding
from handsim.pool import Pool
from handsim.synthetic import SyntheticConfig, synthesise_pool
from index import open_catalog
from tests.training.pretrain.builders import HANDS_PER_VIDEO, POOL_PX, VIDEOS, Place


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 hands of 40 px in 12 videos, and index version v0001: never trained in."""
    path = tmp_path_factory.mktemp("world")
    synthesise_pool(path / "pool", SyntheticConfig(VIDEOS, HANDS_PER_VIDEO, size_px=POOL_PX))
    pool = Pool.open(path / "pool")
    embedding = PoseEmbedding.fit(pool)
    embedding.save(path / "embedding.json")
    with open_catalog(path / "index") as catalog:
        catalog.build(pool, embedding)
    return path


@pytest.fixture
def place(world: Path, tmp_path: Path) -> Iterator[Place]:
    """A home of the test's own, whose pool and index are the shared ones."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Place.beside(world, tmp_path / "home")
    torch.set_num_threads(before)

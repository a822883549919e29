"""Homes to train in, an estimator of hand poses that learned nothing, and torch on one thread."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from handsim import PoseEmbedding
from handsim.pool import Pool
from handsim.synthetic import SyntheticConfig, synthesise_pool
from index import open_catalog
from tests.training.builders import small_config, untrained_checkpoint
from tests.training.pretrain.builders import HANDS_PER_VIDEO, POOL_PX, VIDEOS, Place
from training.finetune.predictor import Inference, load_estimator


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Inference:
    """On the CPU, out of a checkpoint as `handsim finetune` writes them."""
    path = tmp_path_factory.mktemp("untrained") / "best.ckpt"
    return load_estimator(untrained_checkpoint(path, small_config()), "cpu")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Two workers of pytest with two threads each wait for each other on two cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with 20 hands in 4 videos, and index version v0001: never trained in."""
    path = tmp_path_factory.mktemp("world")
    synthesise_pool(path / "pool", SyntheticConfig(VIDEOS, HANDS_PER_VIDEO, size_px=POOL_PX))
    pool = Pool.open(path / "pool")
    with open_catalog(path / "index") as catalog:
        catalog.build(pool, PoseEmbedding.fit(pool, 5))
    return path


@pytest.fixture
def place(world: Path, tmp_path: Path, one_thread: None) -> Place:
    """A home of the test's own to pre-train in, whose pool and index are the shared ones."""
    return Place.beside(world, tmp_path / "home")

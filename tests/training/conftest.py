"""An estimator of hand poses that learned nothing, and torch on one thread."""

from collections.abc import Iterator

import pytest
import torch

from tests.training.untrained import small_config, untrained_checkpoint
from training.finetune.predictor import Inference, load_estimator


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Inference:
    """On the CPU, out of a checkpoint as `handsim finetune` keeps them."""
    path = tmp_path_factory.mktemp("untrained") / "best.ckpt"
    return load_estimator(untrained_checkpoint(path, small_config()), "cpu")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Two workers of pytest with two threads each wait for each other on two cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

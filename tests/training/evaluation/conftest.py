"""An estimator that learned nothing, on one thread."""

from collections.abc import Iterator

import pytest
import torch

from tests.training.evaluation.untrained import small_config, untrained_checkpoint
from training.finetune.inference import Inference, load_estimator


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Inference:
    path = tmp_path_factory.mktemp("untrained") / "best.ckpt"
    return load_estimator(untrained_checkpoint(path, small_config()), "cpu")

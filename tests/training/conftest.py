"""An estimator of hand poses that learned nothing."""

import pytest

from tests.training.untrained import small_config, untrained_checkpoint
from training.finetune.inference import Inference, load_estimator


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Inference:
    """On the CPU, out of a checkpoint as `handsim finetune` keeps them."""
    path = tmp_path_factory.mktemp("untrained") / "best.ckpt"
    return load_estimator(untrained_checkpoint(path, small_config()), "cpu")

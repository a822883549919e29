"""A frozen trunk stays as it came, batch norm's running statistics too, while the head learns."""

import pytest
import torch
from torch import Tensor

from tests.training.finetune.small_runs import RECIPE, Place
from training.finetune.config import RECIPES
from training.finetune.module import FinetuneModule
from training.runs.optimizer import Schedule

TRUNK, HEAD = "estimator.encoder.", "estimator.head."


def _begin(overrides: list[str]) -> dict[str, Tensor]:
    """The weights that a run begins with."""
    module = FinetuneModule(RECIPES.fill(RECIPE, overrides, "test"), Schedule(3, 6, 6, 4, 1))
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def _moved(place: Place, name: str, overrides: list[str]) -> set[str]:
    place.train(name, overrides)
    before, after = _begin(overrides), place.checkpoint(name)["state_dict"]
    assert before.keys() == after.keys()
    return {key for key in before if not torch.equal(before[key], after[key])}


@pytest.mark.parametrize("name", ["adamw", "lars"])
def test_always(place: Place, name: str) -> None:
    """Weight decay does not reach it either."""
    overrides = ["--trainer.freeze_trunk=always", f"--optimizer.name={name}", "--optimizer.weight_decay=0.1"]
    moved = _moved(place, "frozen", overrides)
    assert not [key for key in moved if key.startswith(TRUNK)]
    heads = [key for key in place.checkpoint("frozen")["state_dict"] if key.startswith(HEAD)]
    assert moved == set(heads)
    learning = len(place.checkpoint("frozen")["optimizer_states"][0]["state"])
    assert learning == sum(not key.endswith(("mean", "var", "tracked")) for key in heads)


def test_for_the_first_epochs(place: Place) -> None:
    """After one of two epochs the trunk is as it came; then it learns, too."""
    overrides = ["--trainer.freeze_trunk=1", "--optimizer.weight_decay=0.1"]
    first = [*overrides, "--trainer.max_steps=3"]
    assert not [key for key in _moved(place, "first", first) if key.startswith(TRUNK)]
    moved = _moved(place, "both", overrides)
    assert len([key for key in moved if key.startswith(TRUNK)]) > 100
    assert "estimator.encoder.trunk.bn1.running_mean" in moved


def test_never(place: Place) -> None:
    moved = _moved(place, "free", ["--trainer.max_steps=1"])
    assert "estimator.encoder.trunk.bn1.running_mean" in moved
    assert "estimator.encoder.trunk.layer4.1.conv2.weight" in moved

"""Small runs and what they leave, untrained estimators, and the numbers of SiMHand's published code."""

import json
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import torch
from torch import Tensor

from handsim.home import Home
from training.finetune.config import RECIPES, FinetuneConfig
from training.finetune.predictor import KIND
from training.models.estimator import build_estimator
from training.runs.folder import RunFolder
from training.runs.monitor import MetricsFile
from training.runs.recipes import as_mapping

SIZE_PX = 64
MEAN_BONE_MM = 90.0

SMALL_TRAINER: Final = {"epochs": 2, "precision": "32-true", "accelerator": "cpu", "workers": 0}
EVERY_STEP: Final = {"metrics_every_steps": 1, "figures_every_steps": 0, "tensorboard": False}
"""Groups of a recipe: ``trainer`` and ``log``."""


@dataclass(frozen=True)
class RunPlace:
    """A home with runs in it."""

    home: Home

    def folder(self, name: str) -> RunFolder:
        return RunFolder(self.home.run(name))

    def lines(self, name: str) -> list[dict[str, Any]]:
        """Its metrics, of training and of validation."""
        return [json.loads(line) for line in self.folder(name).metrics.read_text().splitlines()]

    def losses(self, name: str) -> list[tuple[int, float, float, float]]:
        """Step, loss, learning rate and epoch of each line of training."""
        lines = [line for line in self.lines(name) if "loss" in line]
        return [(line["step"], line["loss"], line["lr"], line["epoch"]) for line in lines]

    def checkpoint(self, name: str, which: str = "last.ckpt") -> dict[str, Any]:
        path = self.folder(name).checkpoints / which
        found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return found


def weights(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """All there is in a checkpoint's weights and the optimizer's state, by name."""
    found = dict(checkpoint["state_dict"])
    for number, state in checkpoint["optimizer_states"][0]["state"].items():
        found |= {f"{number}.{name}": torch.as_tensor(value) for name, value in state.items()}
    return found


def assert_equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    """To the bit."""
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def stop_and_resume(place: Any, stops: Sequence[int], overrides: Sequence[str]) -> None:
    """Train ``cut``: interrupted after each of the steps, resumed each time and at last finished."""
    for number, step in enumerate(stops):
        with pytest.MonkeyPatch.context() as patch:
            at_step(patch, step, interrupt)
            outcome = place.train("cut", overrides, resume=number > 0)
        assert (outcome.steps, outcome.finished) == (step, False)
        assert place.checkpoint("cut")["global_step"] == step
    assert place.train("cut", overrides, resume=True).finished


def assert_equal_checkpoints(place: RunPlace, whole: RunPlace, name: str) -> None:
    """Those of ``cut`` and of another run."""
    for which in ("last.ckpt", "best.ckpt"):
        cut, uncut = place.checkpoint("cut", which), whole.checkpoint(name, which)
        assert_equal(weights(cut), weights(uncut))
        assert cut["handsim"] == uncut["handsim"]
        assert cut["lr_schedulers"] == uncut["lr_schedulers"]


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, do: Callable[[], object]) -> None:
    """Have something done when a step's loss is written: after it, before its checkpoint."""
    write = MetricsFile.log_metrics

    def and_then(
        logger: MetricsFile, metrics: dict[str, Any], step_now: int | None = None, **kw: Any
    ) -> None:
        now = kw.get("step", step_now)
        write(logger, metrics, now)
        if now == step and "loss" in metrics:
            do()

    monkeypatch.setattr(MetricsFile, "log_metrics", and_then)


def interrupt() -> None:
    """Ctrl-C."""
    signal.raise_signal(signal.SIGINT)


def small_config(dataset: str = "synthetic", root: Path | None = None, **data: Any) -> FinetuneConfig:
    config = RECIPES.read("synthetic", [f"--augmentation.size_px={SIZE_PX}", "--trainer.batch_size=4"])
    folder = None if root is None else str(root)
    return replace(config, data=replace(config.data, dataset=dataset, root=folder, **data))


def untrained_checkpoint(path: Path, config: FinetuneConfig, seed: int = 0) -> Path:
    """A checkpoint of a ResNet-18 with random weights, as a fine-tuning run writes it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        estimator = build_estimator(config.encoder, config.estimator)
    state = {f"estimator.{name}": tensor for name, tensor in estimator.state_dict().items()}
    metadata = {
        "kind": KIND,
        "config": as_mapping(config),
        "mean_bone_mm": MEAN_BONE_MM,
        "dataset": config.data.dataset,
        "init": "random weights",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"handsim": metadata, "state_dict": state}, path)
    return path


def read_golden(shared_data: Path) -> dict[str, Tensor]:
    """SiMHand's numbers, float64; the test is skipped where the file is not there."""
    path = shared_data.parent / "golden" / "simhand_reference.npz"
    if not path.is_file():
        pytest.skip(f"the reference's numbers are needed and are not at {path}")
    with np.load(path, allow_pickle=False) as arrays:
        return {name: torch.from_numpy(arrays[name].astype(np.float64)) for name in arrays.files}

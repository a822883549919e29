"""Runs of a few steps that are trained on drawn hands."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from handsim.home import Home
from tests.training.drawn_hands import DrawnHands
from training.datasets.record import HandDataset
from training.finetune.config import RECIPES
from training.finetune.train import finetune_on
from training.runs.folder import RunFolder
from training.runs.trainer import RunOutcome

BATCHES_AN_EPOCH = 3
RECIPE: dict[str, Any] = {
    "encoder": {"architecture": "resnet18"},
    "estimator": {"head": "simple"},
    "data": {"training_crop_px": 48},
    "augmentation": {"size_px": 32},
    "optimizer": {"lr": 1e-3, "warmup_epochs": 1},
    "trainer": {
        "epochs": 2,
        "batch_size": 4,
        "precision": "32-true",
        "accelerator": "cpu",
        "workers": 0,
    },
    "log": {"metrics_every_steps": 1, "figures_every_steps": 0, "tensorboard": False},
}
"""14 hands in batches of 4: 3 batches an epoch, 6 in all."""


@dataclass(frozen=True)
class Place:
    """A home to train in."""

    home: Home

    def train(
        self,
        name: str,
        overrides: Sequence[str] = (),
        *,
        resume: bool = False,
        train_set: HandDataset | None = None,
        val_set: HandDataset | None = None,
    ) -> RunOutcome:
        """Run it to its end, or until something stops it."""
        return finetune_on(
            RECIPES.fill(RECIPE, overrides, "test"),
            train_set or DrawnHands(14),
            val_set or DrawnHands(5, "val", seed=1),
            self.folder(name) if resume else RunFolder.new(self.home, name),
            resume=resume,
            say=lambda line: None,
        )

    def folder(self, name: str) -> RunFolder:
        return RunFolder(self.home.run(name))

    def lines(self, name: str) -> list[dict[str, Any]]:
        """The metrics of training and of validation."""
        return [json.loads(line) for line in self.folder(name).metrics.read_text().splitlines()]

    def losses(self, name: str) -> list[tuple[int, float, float]]:
        """Step, loss and learning rate of each line of training."""
        return [(line["step"], line["loss"], line["lr"]) for line in self.lines(name) if "loss" in line]

    def errors(self, name: str) -> list[tuple[int, float, float]]:
        """Step and errors of each validation."""
        return [
            (line["step"], line["val_mpjpe_mm"], line["val_scale_aligned_mpjpe_mm"])
            for line in self.lines(name)
            if "val_mpjpe_mm" in line
        ]

    def checkpoint(self, name: str, which: str = "last.ckpt") -> dict[str, Any]:
        path = self.folder(name).checkpoints / which
        found: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return found

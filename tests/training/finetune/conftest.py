"""Runs of a few steps that are trained on drawn hands, on one thread."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from handsim.home import Home
from tests.training.builders import EVERY_STEP, SMALL_TRAINER, RunPlace
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
    "trainer": {**SMALL_TRAINER, "batch_size": 4},
    "log": EVERY_STEP,
}
"""14 hands in batches of 4: 3 batches an epoch, 6 in all."""


@dataclass(frozen=True)
class Place(RunPlace):
    """A home to fine-tune in."""

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

    def errors(self, name: str) -> list[tuple[int, float, float]]:
        """Step and errors of each validation."""
        return [
            (line["step"], line["val_mpjpe_mm"], line["val_scale_aligned_mpjpe_mm"])
            for line in self.lines(name)
            if "val_mpjpe_mm" in line
        ]


@pytest.fixture(autouse=True)
def _on_one_thread(one_thread: None) -> None:
    """Every training here."""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A home of the test's own."""
    return Place(Home(tmp_path / "home"))


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Runs that nobody stopped: ``plain``, and ``odd`` whose second step takes hands of two epochs."""
    place = Place(Home(tmp_path_factory.mktemp("whole") / "home"))
    torch.set_num_threads(1)
    place.train("plain")
    place.train("odd", ["--trainer.accumulate", "2"])
    return place

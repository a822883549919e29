"""Small homes to pre-train in, and what a run of a few steps leaves there."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handsim.home import Home
from index import open_catalog
from tests.training.builders import EVERY_STEP, SMALL_TRAINER, RunPlace
from training.pretrain.config import RECIPES
from training.pretrain.train import pretrain
from training.runs.folder import RunFolder
from training.runs.trainer import RunOutcome

VIDEOS, HANDS_PER_VIDEO, POOL_PX = 4, 5, 32
RECIPE: dict[str, Any] = {
    "encoder": {"architecture": "resnet18"},
    "head": {"hidden": 16, "out": 8},
    "augmentation": {"size_px": 32},
    "optimizer": {"name": "lars", "lr": 1e-3, "warmup_epochs": 1},
    "pairs": {"patience_s": 0.0},
    "trainer": {**SMALL_TRAINER, "batch_size": 6},
    "log": EVERY_STEP,
}
"""20 hands in batches of 6: 3 batches an epoch, 6 in all."""


@dataclass(frozen=True)
class Place(RunPlace):
    """A home to pre-train in."""

    @classmethod
    def beside(cls, world: Path, path: Path) -> "Place":
        path.mkdir()
        for name in ("pool", "index"):
            (path / name).symlink_to(world / name)
        return cls(Home(path))

    def recipe(self) -> Path:
        """The recipe as a file, small.yaml."""
        path = self.home.path / "small.yaml"
        path.write_text(json.dumps(RECIPE))
        return path

    def train(
        self, name: str, overrides: Sequence[str] = (), *, resume: bool = False, index: str = ""
    ) -> RunOutcome:
        """Run it to its end, or until something stops it; ``index`` is another one than the home's."""
        config = RECIPES.fill(RECIPE, overrides, "test")
        folder = self.folder(name) if resume else RunFolder.new(self.home, name)
        with open_catalog(index or self.home.index) as catalog:
            return pretrain(config, self.home, catalog, folder, resume=resume, say=lambda line: None)

"""Small homes to pre-train in, and what a run of a few steps leaves there."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from handsim import PoseEmbedding
from handsim.home import Home
from handsim.pool import Pool
from handsim.processes import StopRequest
from index import Catalog, open_catalog
from tests.training.builders import EVERY_STEP, SMALL_TRAINER, RunPlace
from training.pretrain.config import RECIPES, FeedbackSettings
from training.pretrain.feedback import Feedback, LearnedVersions
from training.pretrain.train import pretrain
from training.runs.folder import RunFolder
from training.runs.settings import Schedule
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


SETTINGS = FeedbackSettings(every_epochs=1, components=6)
CONFIG = replace(
    RECIPES.fill(RECIPE, ["--trainer.batch_size=5", "--pairs.prefetch=1"], "test"), feedback=SETTINGS
)
SCHEDULE = Schedule(batches_an_epoch=4, batches=100, full_batches=100, samples_a_step=5, accumulate=1)


@dataclass(frozen=True)
class FeedbackPlace:
    """A home with a pool and an index of its poses, and a run of it."""

    home: Home
    catalog: Catalog
    pool: Pool
    folder: RunFolder

    @classmethod
    def copy(cls, world: Path, path: Path, catalog: Catalog | None = None) -> "FeedbackPlace":
        """With the pool of another home, and its index or, in ``catalog``, one like it."""
        home = Home(path)
        shutil.copytree(world / "pool", home.pool)
        pool = Pool.open(home.pool)
        if catalog is None:
            shutil.copytree(world / "index", home.index)
            catalog = open_catalog(home.index)
        else:
            catalog.build(pool, PoseEmbedding.fit(pool, 5))
        return cls(home, catalog, pool, RunFolder.new(home, "run"))

    @property
    def path(self) -> Path:
        return self.folder.path / "feedback"

    def names(self) -> list[str]:
        return [info.name for info in self.catalog.versions()]

    def log(self) -> list[str]:
        lines = (self.folder.path / "log.txt").read_text().splitlines()
        return [line.partition(" ")[2] for line in lines]

    def leftovers(self) -> list[str]:
        """What lies in the home and in the run's feedback that is not to stay."""
        found = {path.name for path in self.home.path.iterdir()} - {"pool", "index", "runs", "embedding.json"}
        there = {path.name for path in self.path.glob("*") if not path.name.startswith("encoder-")}
        return sorted(found | there - {"embedding.json", "versions.json"})

    def feedback(
        self,
        settings: FeedbackSettings = SETTINGS,
        report: Callable[[str], None] = print,
        stop: StopRequest | None = None,
    ) -> Feedback:
        return Feedback(settings, self.home, self.catalog, self.folder, report, stop or StopRequest())

    def learned(self, settings: FeedbackSettings = SETTINGS) -> LearnedVersions:
        return LearnedVersions(settings, self.home, self.catalog, self.path, self.pool)

    def train(
        self, max_steps: int, settings: FeedbackSettings = SETTINGS, *, resume: bool = False
    ) -> RunOutcome:
        trainer = replace(CONFIG.trainer, epochs=5, max_steps=max_steps)
        config = replace(CONFIG, trainer=trainer, feedback=settings)
        return pretrain(config, self.home, self.catalog, self.folder, resume=resume, say=lambda line: None)

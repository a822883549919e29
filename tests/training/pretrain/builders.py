"""Small homes to pre-train in, and what a run of a few steps leaves there."""

import json
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from handsim import PoseEmbedding
from handsim.home import Home
from handsim.pool import Pool
from index import Catalog, open_catalog
from tests.training.pairs.builders import SIZE_PX, write_pool
from training.augmentation import AugmentationSettings
from training.models.encoder import EncoderSettings
from training.pairs import PairSettings
from training.pretrain.config import RECIPES, FeedbackSettings, PretrainConfig
from training.pretrain.feedback import LearnedVersions
from training.pretrain.train import pretrain
from training.runs.folder import MetricsFile, RunFolder
from training.runs.optimizer import OptimizerSettings
from training.runs.settings import LogSettings, Schedule, TrainerSettings
from training.runs.trainer import RunOutcome

VIDEOS, HANDS_PER_VIDEO, POOL_PX = 12, 5, 40
BATCHES_AN_EPOCH = 5
RECIPE: dict[str, Any] = {
    "encoder": {"architecture": "resnet18"},
    "head": {"hidden": 16, "out": 8},
    "augmentation": {"size_px": 32},
    "optimizer": {"name": "lars", "lr": 1e-3, "warmup_epochs": 1},
    "pairs": {"patience_s": 0.0},
    "trainer": {
        "epochs": 2,
        "batch_size": 12,
        "precision": "32-true",
        "accelerator": "cpu",
        "workers": 0,
    },
    "log": {"metrics_every_steps": 1, "figures_every_steps": 0, "tensorboard": False},
}
"""60 hands in batches of 12: 5 batches an epoch, 10 in all."""


@dataclass(frozen=True)
class Place:
    """A home to train in."""

    home: Home

    @classmethod
    def beside(cls, world: Path, path: Path) -> "Place":
        path.mkdir()
        for name in ("pool", "index"):
            (path / name).symlink_to(world / name)
        return cls(Home(path))

    def recipe(self, name: str = "small", **changes: Any) -> Path:
        """The recipe as a file, a few keys of it changed."""
        path = self.home.path / f"{name}.yaml"
        path.write_text(json.dumps({**RECIPE, **changes}))
        return path

    def train(self, name: str, overrides: Sequence[str] = (), *, resume: bool = False) -> RunOutcome:
        """Run it to its end, or until something stops it."""
        config = RECIPES.fill(RECIPE, overrides, "test")
        folder = self.folder(name) if resume else RunFolder.new(self.home, name)
        with open_catalog(self.home.index) as catalog:
            return pretrain(config, self.home, catalog, folder, resume=resume, say=lambda line: None)

    def folder(self, name: str) -> RunFolder:
        return RunFolder(self.home.run(name))

    def lines(self, name: str) -> list[dict[str, Any]]:
        """Its metrics, a line a step."""
        return [json.loads(line) for line in self.folder(name).metrics.read_text().splitlines()]

    def losses(self, name: str) -> list[tuple[int, float, float, float]]:
        """Step, loss, learning rate and epoch of each line."""
        return [(line["step"], line["loss"], line["lr"], line["epoch"]) for line in self.lines(name)]

    def log(self, name: str) -> str:
        return (self.folder(name).path / "log.txt").read_text()

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


SETTINGS = FeedbackSettings(every_epochs=1, components=6)
CONFIG = PretrainConfig(
    encoder=EncoderSettings("resnet18"),
    pairs=PairSettings(prefetch=1),
    augmentation=AugmentationSettings(size_px=SIZE_PX),
    optimizer=OptimizerSettings("adamw", lr=1e-3, scale="none", warmup_epochs=0),
    trainer=TrainerSettings(
        epochs=2, batch_size=10, precision="32-true", accelerator="cpu", devices=1, workers=0
    ),
    log=LogSettings(metrics_every_steps=1, figures_every_steps=0, tensorboard=False),
    feedback=SETTINGS,
)
SCHEDULE = Schedule(batches_an_epoch=4, batches=100, full_batches=100, samples_a_step=10, accumulate=1)
FEEDBACK_VIDEOS = 4
"""40 hands: 4 batches an epoch."""


@dataclass(frozen=True)
class FeedbackPlace:
    """A home with a pool and an index of its poses."""

    home: Home
    catalog: Catalog
    pool: Pool
    folder: RunFolder

    @property
    def feedback(self) -> Path:
        return self.folder.path / "feedback"

    def names(self) -> list[str]:
        return [info.name for info in self.catalog.versions()]

    def log(self) -> list[str]:
        lines = (self.folder.path / "log.txt").read_text().splitlines()
        return [line.partition(" ")[2] for line in lines]

    def learned(self, settings: FeedbackSettings = SETTINGS) -> LearnedVersions:
        return LearnedVersions.start(settings, self.home, self.catalog, self.feedback, self.pool)


def make_place(path: Path, catalog: Catalog | None = None) -> FeedbackPlace:
    home = Home(path / "home")
    pool = write_pool(home.pool, videos=FEEDBACK_VIDEOS)
    catalog = catalog or open_catalog(home.index)
    catalog.build(pool, PoseEmbedding.fit(pool, 5))
    return FeedbackPlace(home, catalog, pool, RunFolder.new(home, "run"))


def leftovers(place: FeedbackPlace) -> list[str]:
    """What lies in the home and in the run's feedback that is not to stay."""
    allowed = {"embedding.json", "versions.json"}
    found = [path.name for path in place.home.path.iterdir()]
    there = list(place.feedback.iterdir()) if place.feedback.exists() else []
    return [name for name in found if name not in {"pool", "index", "runs", "embedding.json"}] + [
        path.name for path in there if path.name not in allowed and not path.name.startswith("encoder-")
    ]

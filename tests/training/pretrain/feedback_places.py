"""A home with a small pool, an index of its poses and a run's folder, for the tests of feedback."""

from dataclasses import dataclass
from pathlib import Path

from handsim import PoseEmbedding
from handsim.home import Home
from handsim.pool import Pool
from index import Catalog, open_catalog
from tests.training.pairs.builders import SIZE_PX, write_pool
from training.augmentation import AugmentationSettings
from training.models.encoder import EncoderSettings
from training.pairs import PairSettings
from training.pretrain.config import FeedbackSettings, PretrainConfig
from training.pretrain.feedback import LearnedVersions
from training.runs.folder import RunFolder
from training.runs.optimizer import LogSettings, OptimizerSettings, Schedule, TrainerSettings

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
VIDEOS = 4
"""40 hands: 4 batches an epoch."""


@dataclass(frozen=True)
class Place:
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


def make_place(path: Path, catalog: Catalog | None = None) -> Place:
    home = Home(path / "home")
    pool = write_pool(home.pool, videos=VIDEOS)
    catalog = catalog or open_catalog(home.index)
    catalog.build(pool, PoseEmbedding.fit(pool, 5))
    return Place(home, catalog, pool, RunFolder.new(home, "run"))


def leftovers(place: Place) -> list[str]:
    """What lies in the home and in the run's feedback that is not to stay."""
    kept = {"embedding.json", "versions.json"}
    found = [path.name for path in place.home.path.iterdir()]
    there = list(place.feedback.iterdir()) if place.feedback.exists() else []
    return [name for name in found if name not in {"pool", "index", "runs", "embedding.json"}] + [
        path.name for path in there if path.name not in kept and not path.name.startswith("encoder-")
    ]

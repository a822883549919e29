"""One pre-training run from its recipe to its last checkpoint.

Which index version the pairs come from, kept in what a checkpoint and the run's folder say of the run.

What the batches of pairs tell while it trains.

Pictures of the pairs that are being trained on: both views with their skeletons, distance and weight.
"""

import hashlib
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import lightning
import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from PIL import Image

from handsim.drawing import Tile
from handsim.errors import HandsimError
from handsim.hand import format_hand_id
from handsim.home import Home
from handsim.pool import Pool
from index import Catalog
from training.augmentation import AugmentedViews
from training.losses import positive_weights
from training.pairs.decoding import PairBatch
from training.pairs.loader import PairLoader
from training.pairs.open_pairs import open_pairs
from training.pretrain.config import PretrainConfig
from training.pretrain.feedback import Feedback
from training.pretrain.module import PretrainModule, weighed_keypoints
from training.runs.checkpoints import Checkpoints, StopRequest, check_resumable
from training.runs.folder import RunFolder
from training.runs.module import RunModule
from training.runs.monitor import Meter, TrainingFigures, draw_side_by_side, view_tile
from training.runs.optimizer import Schedule
from training.runs.recipes import as_mapping
from training.runs.trainer import BatchStream, Outcome, events, fit, go_on_after, make_trainer


class Provenance(Callback):
    """Notes another version as soon as a batch comes from it."""

    def __init__(self, catalog: Catalog, folder: RunFolder) -> None:
        """The catalog is asked for the version's embedding once, when it changes."""
        self._catalog, self._folder = catalog, folder

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: PairBatch, batch_idx: int
    ) -> None:
        """Look at where the batch's pairs come from."""
        assert isinstance(module, PretrainModule)
        if batch.version is None or batch.version == module.facts["index"]:
            return
        fingerprint = None
        # It may be gone again, or the server away: its name is known all the same.
        with suppress(HandsimError):
            known = {info.name: info.embedding_fingerprint for info in self._catalog.versions()}
            fingerprint = known.get(batch.version)
        module.facts |= {"index": batch.version, "embedding_fingerprint": fingerprint}
        if trainer.is_global_zero:
            self._folder.write_facts(module.facts)


class PairWindow:
    """Sums over the batches since it was made, as `training.runs.monitor.Meter` asks for them.

    ``images_per_s`` counts views that were trained on, of all processes; ``data_wait`` is the share of the
    time in which this process had no batch to work on, ``index_wait`` the part of it in which that was the
    index's fault.
    """

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._losses: list[float] = []
        self._views = 0
        self._pairs = 0
        self._alone = 0
        self._distances: list[float] = []
        self._data_s = 0.0
        self._index_s = 0.0

    def add(self, batch: PairBatch, module: RunModule) -> None:
        """Count a batch in, which the module was just trained on."""
        pairs = len(batch.anchors)
        self._losses.append(module.loss)
        self._pairs += pairs
        self._views += 2 * pairs + len(batch.negatives)
        self._alone += batch.without_positive
        distance = float(batch.distances.nanmean())
        if distance == distance:
            self._distances.append(distance)
        self._data_s += batch.waits.data_s
        self._index_s += batch.waits.index_s

    def leave_out(self, seconds: float) -> None:
        """Do not count time that was spent on something else than training."""
        self._started += seconds

    def numbers(self, processes: int) -> dict[str, float]:
        """Mean loss, rate, shares of the time spent waiting, and how pairs were found."""
        elapsed = time.perf_counter() - self._started
        found = {
            "loss": sum(self._losses) / len(self._losses),
            "images_per_s": processes * self._views / elapsed,
            "data_wait": self._data_s / elapsed,
            "index_wait": self._index_s / elapsed,
            "without_positive": self._alone / self._pairs,
        }
        if self._distances:
            found["positive_distance"] = sum(self._distances) / len(self._distances)
        return found

    @staticmethod
    def in_short(numbers: dict[str, float]) -> str:
        """Loss, rate and waiting."""
        return (
            f"loss {numbers['loss']:.3f}, {numbers['images_per_s']:,.0f} images/s, "
            f"waiting {numbers['data_wait']:.0%} (index {numbers['index_wait']:.0%})"
        )


_PAIRS: Final = 12


def draw_last_pairs(batch: PairBatch, module: PretrainModule) -> Image.Image:
    """Those of the batch that ``module`` was just trained on."""
    assert module.views is not None
    return draw_pairs(batch, module.views, module)


def draw_pairs(
    batch: PairBatch, views: tuple[AugmentedViews, AugmentedViews], module: PretrainModule
) -> Image.Image:
    """The first pairs of a batch, as the views [B] made of them: anchor and positive side by side."""
    weighting = module.config.loss.weighting
    weights = None
    if weighting.weights_positives:
        weights = positive_weights(
            weighed_keypoints(views[0]), weighed_keypoints(views[1]), weighting
        ).tolist()
    pairs = []
    for row in range(min(_PAIRS, len(batch.anchors))):
        anchor, positive = (int(batch.hand_ids[int(rows[row])]) for rows in (batch.anchors, batch.positives))
        distance = float(batch.distances[row])
        if anchor == positive:
            said = "its own second view"
        elif np.isfinite(distance):
            said = f"distance {distance:.3f}"
        else:
            said = format_hand_id(positive)
        weight = "" if weights is None else f"weight {weights[row]:.2f}"
        pairs.append((_tile(views[0], row, (format_hand_id(anchor),)), _tile(views[1], row, (said, weight))))
    return draw_side_by_side(pairs)


def _tile(views: AugmentedViews, row: int, caption: tuple[str, ...]) -> Tile:
    return view_tile(views.images[row], views.keypoints[row], caption)


def pretrain(
    config: PretrainConfig,
    home: Home,
    catalog: Catalog | None,
    folder: RunFolder,
    *,
    resume: bool = False,
    say: Callable[[str], None] = print,
) -> Outcome:
    """Run it, or with ``resume`` go on from the folder's last checkpoint, until it is done or is stopped.

    Every process of a distributed run calls this; the first one writes. ``catalog`` is only asked where the
    recipe's pairs come from a live index. Raises HandsimError for settings, pool, index and checkpoint that
    do not go together, UnavailableError once the index was away for too long (a checkpoint was kept),
    DivergedError when the loss is no number (the last checkpoint stays, the batch is written down).
    """
    pool = Pool.open(home.pool)
    meter = Meter(config.log.metrics_every_steps, PairWindow)
    event = events(meter, folder, say)
    stop = StopRequest()
    callbacks = [meter, *_callbacks(config, home, catalog, folder, stop, event)]
    trainer = make_trainer(config.trainer, config.log, folder, callbacks)
    with open_pairs(
        config.pairs,
        pool,
        catalog,
        batch_size=config.trainer.batch_size,
        seed=config.seed,
        rank=trainer.global_rank,
        world_size=trainer.world_size,
        workers=config.trainer.workers,
        on_event=event,
    ) as loader:
        schedule = Schedule.of(config.trainer, loader.batches_an_epoch, trainer.world_size)
        module = PretrainModule(config, schedule, init=not resume)
        module.facts = _facts(config, pool, catalog, loader, schedule)
        _begin(module, trainer, folder, resume, event)
        if resume and module.batches_done >= schedule.batches:
            return Outcome(schedule.steps, finished=True)
        stop.also = loader.stop_waiting
        return fit(trainer, module, BatchStream(loader, module), folder, stop, resume=resume)


def _callbacks(
    config: PretrainConfig,
    home: Home,
    catalog: Catalog | None,
    folder: RunFolder,
    stop: StopRequest,
    event: Callable[[str], None],
) -> list[Callback]:
    callbacks: list[Callback] = []
    if config.log.figures_every_steps:
        every = config.log.figures_every_steps
        callbacks.append(TrainingFigures(folder.figures, every, "pairs", draw_last_pairs))
    if catalog is not None:
        callbacks.append(Provenance(catalog, folder))
    if config.feedback.every_epochs and catalog is not None:
        callbacks.append(Feedback(config.feedback, home, catalog, folder, event, stop))
    return [*callbacks, Checkpoints(folder.checkpoints, config.log.checkpoint_every_steps, stop)]


def _facts(
    config: PretrainConfig, pool: Pool, catalog: Catalog | None, loader: PairLoader, schedule: Schedule
) -> dict[str, Any]:
    """What a checkpoint and the run's folder say of it."""
    return {
        "architecture": config.encoder.architecture,
        "seed": config.seed,
        "batches_an_epoch": schedule.batches_an_epoch,
        "pairs_a_step": schedule.samples_a_step,
        "anchors": hashlib.blake2b(loader.anchors.tobytes(), digest_size=8).hexdigest(),
        "pool": str(pool.path.resolve()),
        "hands": len(pool),
        "index": None if loader.version is None else loader.version.name,
        "embedding_fingerprint": None if loader.version is None else loader.version.embedding_fingerprint,
        "torch": str(torch.__version__),
        "lightning": lightning.__version__,
        "config": as_mapping(config),
    }


def _begin(
    module: PretrainModule, trainer: Trainer, folder: RunFolder, resume: bool, event: Callable[[str], None]
) -> None:
    """Write down what is trained, or see to it that the old run can go on."""
    schedule = module.schedule
    if resume:
        names = ("architecture", "batches_an_epoch", "pairs_a_step", "seed", "anchors")
        same = {name: module.facts[name] for name in names}
        told = check_resumable(folder.last, module, same, "pre-training")
        step = go_on_after(module, trainer, int(told["batches_done"]))
        event(f"resuming {folder.path} after step {step:,} of {schedule.steps:,}")
    else:
        event(
            f"{folder.path}: {schedule.steps:,} steps of {schedule.samples_a_step:,} pairs, "
            f"{schedule.batches_an_epoch:,} batches an epoch, on {trainer.world_size} x "
            f"{trainer.strategy.root_device}, {module.encoder.architecture} from {module.encoder.origin}"
        )
    if trainer.is_global_zero:
        folder.write_config(module.config)
        folder.write_facts(module.facts)

"""One pre-training run from its recipe to its last checkpoint."""

import hashlib
from collections.abc import Callable
from typing import Any

import lightning
import torch
from lightning.pytorch import Callback, Trainer

from handsim.home import Home
from handsim.pool import Pool
from index import Catalog
from training.pairs import PairLoader, open_pairs
from training.pretrain.config import PretrainConfig
from training.pretrain.feedback import Feedback
from training.pretrain.meter import PairWindow
from training.pretrain.module import PretrainModule
from training.pretrain.pair_figures import draw_last_pairs
from training.pretrain.provenance import Provenance
from training.runs.checkpoints import Checkpoints
from training.runs.figures import TrainingFigures
from training.runs.interruption import StopRequest
from training.runs.loop import Outcome, events, fit, go_on_after, make_trainer
from training.runs.meter import Meter
from training.runs.recipes import as_mapping
from training.runs.resuming import check_resumable
from training.runs.run_folder import RunFolder
from training.runs.schedule import Schedule
from training.runs.stream import BatchStream


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

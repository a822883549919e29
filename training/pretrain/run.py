"""One pre-training run from its recipe to its last checkpoint."""

import hashlib
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lightning
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from handsim.errors import UnavailableError
from handsim.home import Home
from handsim.pool import Pool
from index import Catalog
from training.pairs import PairLoader, open_pairs
from training.pretrain.checkpoints import Checkpoints
from training.pretrain.config import PretrainConfig
from training.pretrain.divergence import DivergedError
from training.pretrain.feedback import Feedback
from training.pretrain.interruption import StopRequest
from training.pretrain.meter import Meter
from training.pretrain.metrics_file import MetricsFile
from training.pretrain.module import PretrainModule, Schedule
from training.pretrain.pair_figures import PairFigures
from training.pretrain.processes import is_first_process
from training.pretrain.provenance import Provenance
from training.pretrain.recipe import as_mapping
from training.pretrain.resuming import check_resumable
from training.pretrain.run_folder import RunFolder
from training.pretrain.stream import PairStream


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    steps: int
    """Optimizer steps that are done, earlier sessions counted in."""
    finished: bool
    """False where somebody stopped it before its end."""


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
    meter = Meter(config.log.metrics_every_steps)

    def event(line: str) -> None:
        if is_first_process():
            (meter.note if meter.is_running else say)(line)
            folder.add_to_log(line)

    stop = StopRequest()
    trainer = _trainer(config, folder, [meter, *_callbacks(config, home, catalog, folder, stop, event)])
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
        schedule = _schedule(config, loader, trainer.world_size)
        module = PretrainModule(config, schedule, init=not resume)
        module.facts = _facts(config, pool, catalog, loader, schedule)
        _begin(module, trainer, folder, resume, event)
        if resume and module.batches_done >= schedule.batches:
            return Outcome(schedule.steps, finished=True)
        try:
            stop.also = loader.stop_waiting
            with stop:
                stream = PairStream(loader, module)
                trainer.fit(module, stream, ckpt_path=str(folder.last) if resume else None, weights_only=True)
        except DivergedError as error:
            error.write(folder.diverged)
            raise
        except SIGTERMException:
            pass  # Lightning's word for what `stop` was told; it is a SystemExit, and would end the program
        except UnavailableError:
            if not stop.asked:  # else whoever stopped the run stopped its waiting
                raise
    return Outcome(trainer.global_step, finished=module.batches_done >= schedule.batches)


def _trainer(config: PretrainConfig, folder: RunFolder, callbacks: list[Callback]) -> Trainer:
    settings = config.trainer
    loggers: list[Logger] = [MetricsFile(folder.metrics)]
    if config.log.tensorboard:
        loggers.append(TensorBoardLogger(str(folder.path), name="tensorboard", version=""))
    # What Lightning has to say is settled here: a loader of our own, one epoch, no validation.
    warnings.filterwarnings("ignore", module="lightning.*")
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    devices = settings.devices
    return Trainer(
        accelerator=settings.accelerator,
        devices=devices,
        num_nodes=settings.nodes,
        strategy="auto" if settings.nodes == 1 and devices in ("auto", 1) else "ddp",
        precision=settings.precision,
        accumulate_grad_batches=settings.accumulate,
        max_epochs=1,
        # Torch has it for GPUs alone.
        sync_batchnorm=settings.sync_batch_norm
        and settings.accelerator != "cpu"
        and torch.cuda.is_available(),
        use_distributed_sampler=False,
        logger=loggers,
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=str(folder.path),
    )


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
        callbacks.append(PairFigures(folder.figures, config.log.figures_every_steps))
    if catalog is not None:
        callbacks.append(Provenance(catalog, folder))
    if config.feedback.every_epochs and catalog is not None:
        callbacks.append(Feedback(config.feedback, home, catalog, folder, event, stop))
    return [*callbacks, Checkpoints(folder.checkpoints, config.log.checkpoint_every_steps, stop)]


def _schedule(config: PretrainConfig, loader: PairLoader, processes: int) -> Schedule:
    settings = config.trainer
    batches = settings.epochs * loader.batches_an_epoch
    if settings.max_steps is not None:
        batches = min(batches, settings.max_steps * settings.accumulate)
    return Schedule(
        batches_an_epoch=loader.batches_an_epoch,
        batches=batches,
        full_batches=settings.epochs * loader.batches_an_epoch,
        pairs_a_step=settings.batch_size * processes * settings.accumulate,
        accumulate=settings.accumulate,
    )


def _facts(
    config: PretrainConfig, pool: Pool, catalog: Catalog | None, loader: PairLoader, schedule: Schedule
) -> dict[str, Any]:
    """What a checkpoint and the run's folder say of it."""
    return {
        "architecture": config.encoder.architecture,
        "seed": config.seed,
        "batches_an_epoch": schedule.batches_an_epoch,
        "pairs_a_step": schedule.pairs_a_step,
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
        told = check_resumable(folder.last, module)
        module.batches_done = int(told["batches_done"])
        step = module.batches_done // schedule.accumulate
        for logger in trainer.loggers:
            if isinstance(logger, MetricsFile):
                logger.forget_after(step)
        event(f"resuming {folder.path} after step {step:,} of {schedule.steps:,}")
    else:
        event(
            f"{folder.path}: {schedule.steps:,} steps of {schedule.pairs_a_step:,} pairs, "
            f"{schedule.batches_an_epoch:,} batches an epoch, on {trainer.world_size} x "
            f"{trainer.strategy.root_device}, {module.encoder.architecture} from {module.encoder.origin}"
        )
    if trainer.is_global_zero:
        folder.write_config(module.config)
        folder.write_facts(module.facts)

"""Lightning's loop around a module and its batches: how it is set up, how it starts and how it ends.

To Lightning a run is one long epoch, so that resuming in the middle of one of ours is nothing special.
Numbers, pictures, validation and checkpoints at the end of a batch are the work of callbacks.
"""

import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.trainer.connectors.signal_connector import _SignalConnector

from handsim.errors import HandsimError, UnavailableError
from training.runs.checkpoints import Checkpoints, check_resumable
from training.runs.folder import RunFolder, is_first_process
from training.runs.module import DivergedError, RunModule
from training.runs.monitor import Meter, MetricsFile
from training.runs.settings import LogSettings, TrainerSettings

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

BatchT_co = TypeVar("BatchT_co", covariant=True)


class Batches(Protocol[BatchT_co]):
    """A loader of batches."""

    def epoch(self, epoch: int, first: int = 0) -> Iterator[BatchT_co]:
        """Batches ``first`` and following of an epoch, both counted from 0."""


class BatchStream(Generic[BatchT_co]):
    """The batches of all epochs, one after the other, from any of them on."""

    def __init__(self, batches: Batches[BatchT_co], module: RunModule) -> None:
        """It starts after ``module.batches_done``, which a checkpoint restores before the first batch."""
        self._batches, self._module = batches, module

    def __len__(self) -> int:
        return self._module.schedule.batches

    def __iter__(self) -> Iterator[BatchT_co]:
        done = self._module.batches_done
        while done < len(self):
            epoch, first = divmod(done, self._module.schedule.batches_an_epoch)
            for batch in self._batches.epoch(epoch, first=first):
                yield batch
                done += 1
                if done == len(self):
                    return


@dataclass(frozen=True)
class RunOutcome:
    steps: int
    """The optimizer step of its last checkpoint, earlier sessions included; 0: there is none."""
    finished: bool
    """False where somebody stopped it before its end."""


def make_reporter(meter: Meter, folder: RunFolder, say: Callable[[str], None]) -> Callable[[str], None]:
    """A function that prints a line and adds it to the run's log, in the first process."""

    def report(line: str) -> None:
        if is_first_process():
            meter.write_line(line, say)
            folder.add_to_log(line)

    return report


class _NoSignalConnector(_SignalConnector):
    """Leaves signals to `StopRequest`: Lightning's own ends a run at SIGTERM without a checkpoint."""

    def register_signal_handlers(self) -> None:
        pass


def make_trainer(
    settings: TrainerSettings,
    log: LogSettings,
    folder: RunFolder,
    callbacks: list[Callback],
    *,
    find_unused_parameters: bool = False,
) -> Trainer:
    """Lightning's Trainer for one long epoch.

    ``find_unused_parameters``: not every weight has a gradient in every step. Raises HandsimError where
    `torchrun` or `srun` started other processes than the settings say.
    """
    loggers: list[Logger] = [MetricsFile(folder.metrics)]
    if log.tensorboard:
        loggers.append(TensorBoardLogger(str(folder.path), name="tensorboard", version=""))
    # Lightning's advice does not apply: a loader of our own, one epoch, no validation of its own.
    warnings.filterwarnings("ignore", module="lightning.*")
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    devices = _count_devices(settings)
    distributed = "ddp_find_unused_parameters_true" if find_unused_parameters else "ddp"
    trainer = Trainer(
        accelerator=settings.accelerator,
        devices=devices,
        num_nodes=settings.nodes,
        strategy="auto" if devices * settings.nodes == 1 else distributed,
        precision=settings.precision,
        accumulate_grad_batches=settings.accumulate,
        max_epochs=1,
        # Torch has it for GPUs alone.
        sync_batchnorm=settings.sync_batch_norm and _uses_gpus(settings),
        use_distributed_sampler=False,
        logger=loggers,
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=str(folder.path),
    )
    trainer._signal_connector = _NoSignalConnector(trainer)
    return trainer


def _uses_gpus(settings: TrainerSettings) -> bool:
    return settings.accelerator != "cpu" and torch.cuda.is_available()


def _count_devices(settings: TrainerSettings) -> int:
    """Processes on this machine, each with a device of its own."""
    launch = _read_launch()
    if launch is None:
        if settings.devices != "auto":
            return settings.devices
        return torch.cuda.device_count() if _uses_gpus(settings) else 1
    launcher, processes, machines = launch
    if settings.devices not in ("auto", processes):
        raise HandsimError(
            f"trainer.devices is {settings.devices}, and {launcher} started {processes} processes on this "
            f"machine; leave trainer.devices out, or start as many"
        )
    if settings.nodes != machines:
        raise HandsimError(
            f"trainer.nodes is {settings.nodes}, and {launcher} started processes on {machines} machines; "
            f"give --trainer.nodes {machines}, or start them on as many"
        )
    return processes


def _read_launch() -> tuple[str, int, int] | None:
    """Who started the processes of a distributed run, how many on this machine, and on how many machines."""
    environment = os.environ
    if "TORCHELASTIC_RUN_ID" in environment:
        processes = int(environment["LOCAL_WORLD_SIZE"])
        return "torchrun", processes, int(environment["WORLD_SIZE"]) // processes
    # Slurm sets it for a step of `srun`, not for the job's script; a shell in a job is a step of one task.
    tasks = int(environment.get("SLURM_STEP_NUM_TASKS", "1"))
    if tasks > 1:
        machines = int(environment.get("SLURM_STEP_NUM_NODES", "1"))
        return "srun", tasks // machines, machines
    return None


def begin_run(module: RunModule, trainer: Trainer, folder: RunFolder, config: "DataclassInstance") -> None:
    if trainer.is_global_zero:
        folder.write_config(config)
        folder.write_metadata(module.metadata)


def prepare_resume(
    module: RunModule,
    trainer: Trainer,
    folder: RunFolder,
    must_match: Sequence[str],
    command: str,
    report: Callable[[str], None],
) -> dict[str, Any]:
    """Have a run begin after its last checkpoint, whose metadata is returned.

    Raises HandsimError where it cannot: entries ``must_match`` of the metadata have to be equal.
    """
    same = {name: module.metadata[name] for name in must_match}
    metadata = check_resumable(folder.last, module, same, command)
    module.batches_done = int(metadata["batches_done"])
    step = module.batches_done // module.schedule.accumulate
    for logger in trainer.loggers:
        if isinstance(logger, MetricsFile):
            logger.drop_after(step)
    report(f"resuming {folder.path} after step {step:,} of {module.schedule.steps:,}")
    return metadata


def fit(
    trainer: Trainer, module: RunModule, batches: Batches[Any], checkpoints: Checkpoints, *, resume: bool
) -> RunOutcome:
    """Train until the end or a stop; with ``resume`` from the last checkpoint on.

    Raises DivergedError for a loss that is NaN or infinite (the batch is written down), HandsimError where
    the last step broke the weights, and what ``batches`` raises.
    """
    schedule, stop = module.schedule, checkpoints.stop
    if resume and module.batches_done >= schedule.batches:
        return RunOutcome(schedule.steps, finished=True)
    last = str(checkpoints.folder.last) if resume else None
    try:
        with stop:
            trainer.fit(module, BatchStream(batches, module), ckpt_path=last, weights_only=True)
    except DivergedError as error:
        error.write(checkpoints.folder.diverged)
        raise
    except UnavailableError:
        if not stop.requested:  # else the stop ended the wait for the index
            raise
    finished = module.batches_done >= schedule.batches
    if finished and checkpoints.step < trainer.global_step:
        raise HandsimError(
            f"step {trainer.global_step:,} made weights NaN or infinite, and no checkpoint was written after "
            f"step {checkpoints.step:,}; resume from there with a lower --optimizer.lr"
        )
    return RunOutcome(checkpoints.step, finished)

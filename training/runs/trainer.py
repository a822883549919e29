"""Lightning's loop around a module and a stream of batches, and how it ends.

All batches of a run as one stream, from any of them on.

Which process of a distributed run this is, before anything distributed was started.
"""

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities.exceptions import SIGTERMException

from handsim.errors import UnavailableError
from training.runs.checkpoints import StopRequest
from training.runs.folder import MetricsFile, RunFolder
from training.runs.module import DivergedError, RunModule
from training.runs.monitor import Meter
from training.runs.optimizer import LogSettings, TrainerSettings

BatchT_co = TypeVar("BatchT_co", covariant=True)


class Batches(Protocol[BatchT_co]):
    """Where they come from."""

    def epoch(self, epoch: int, first: int = 0) -> Iterator[BatchT_co]:
        """Batches ``first`` and following of an epoch, both counted from 0."""


class BatchStream(Generic[BatchT_co]):
    """What Lightning iterates over: the batches of all epochs, one after the other.

    To Lightning a run is one long epoch: going on from the middle of an epoch is then nothing special.
    """

    def __init__(self, batches: Batches[BatchT_co], module: RunModule) -> None:
        """It starts after ``module.batches_done``, which a checkpoint restores before anything is asked."""
        self._batches, self._module = batches, module

    def __len__(self) -> int:
        """Batches in the whole run, those that are done counted in."""
        return self._module.schedule.batches

    def __iter__(self) -> Iterator[BatchT_co]:
        each = self._module.schedule.batches_an_epoch
        done = self._module.batches_done
        while done < len(self):
            epoch, first = divmod(done, each)
            for batch in self._batches.epoch(epoch, first=first):
                yield batch
                done += 1
                if done == len(self):
                    return


def is_first_process() -> bool:
    """Whether it is the one that makes the run's folder and writes there.

    Torchrun, Slurm and Lightning say in the environment which process of which machine they start.
    """
    for name in ("RANK", "SLURM_PROCID"):  # over all machines
        if name in os.environ:
            return os.environ[name] == "0"
    return all(os.environ.get(name, "0") == "0" for name in ("NODE_RANK", "LOCAL_RANK"))


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    steps: int
    """Optimizer steps that are done, earlier sessions counted in."""
    finished: bool
    """False where somebody stopped it before its end."""


def events(meter: Meter, folder: RunFolder, say: Callable[[str], None]) -> Callable[[str], None]:
    """Says a line of what happened to people, without tearing the progress bar, and to the run's log."""

    def event(line: str) -> None:
        if is_first_process():
            (meter.note if meter.is_running else say)(line)
            folder.add_to_log(line)

    return event


def make_trainer(
    settings: TrainerSettings,
    log: LogSettings,
    folder: RunFolder,
    callbacks: list[Callback],
    *,
    some_unused: bool = False,
) -> Trainer:
    """Lightning's Trainer for one long epoch.

    ``some_unused`` says that not every weight is used in every step.
    """
    loggers: list[Logger] = [MetricsFile(folder.metrics)]
    if log.tensorboard:
        loggers.append(TensorBoardLogger(str(folder.path), name="tensorboard", version=""))
    # What Lightning has to say is settled here: a loader of our own, one epoch, no validation of its own.
    warnings.filterwarnings("ignore", module="lightning.*")
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    devices = settings.devices
    distributed = "ddp_find_unused_parameters_true" if some_unused else "ddp"
    return Trainer(
        accelerator=settings.accelerator,
        devices=devices,
        num_nodes=settings.nodes,
        strategy="auto" if settings.nodes == 1 and devices in ("auto", 1) else distributed,
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


def go_on_after(module: RunModule, trainer: Trainer, batches_done: int) -> int:
    """Have a run that is resumed begin after a batch; returns the step that this batch ended."""
    module.batches_done = batches_done
    step = batches_done // module.schedule.accumulate
    for logger in trainer.loggers:
        if isinstance(logger, MetricsFile):
            logger.forget_after(step)
    return step


def fit(
    trainer: Trainer,
    module: RunModule,
    stream: BatchStream[Any],
    folder: RunFolder,
    stop: StopRequest,
    *,
    resume: bool,
) -> Outcome:
    """Train until it is done or stopped, with ``resume`` on from the folder's last checkpoint.

    Raises DivergedError when the loss is no number (the batch is written down), and what the stream raises.
    """
    try:
        with stop:
            trainer.fit(module, stream, ckpt_path=str(folder.last) if resume else None, weights_only=True)
    except DivergedError as error:
        error.write(folder.diverged)
        raise
    except SIGTERMException:
        pass  # Lightning's word for what `stop` was told; it is a SystemExit, and would end the program
    except UnavailableError:
        if not stop.asked:  # else whoever stopped the run stopped its waiting
            raise
    return Outcome(trainer.global_step, finished=module.batches_done >= module.schedule.batches)

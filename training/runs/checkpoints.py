"""Checkpoints of a run: when they are written, which is the best, and whether a run can continue from one.

Each is written beside the old one and renamed: it is there whole or not at all. A stop that somebody asks for
waits for the end of the optimizer step and for its checkpoint.
"""

import math
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from handsim.checkpoints import read_checkpoint
from handsim.errors import HandsimError, UnavailableError
from handsim.files import replacing, sync
from handsim.processes import StopRequest
from training.runs.folder import BEST, LAST, RunFolder
from training.runs.module import Batch, RunModule


def check_resumable(
    path: Path, module: RunModule, must_match: Mapping[str, Any], command: str
) -> dict[str, Any]:
    """The metadata of the checkpoint at ``path``, if ``module`` can continue from it.

    ``must_match`` are entries that must be equal there. Raises HandsimError for a file that is no checkpoint
    of ``command``, and for another network or other metadata.
    """
    checkpoint = read_checkpoint(path)
    metadata = checkpoint.get("handsim")
    if not isinstance(metadata, dict):
        raise HandsimError(f"{path} is no checkpoint of `{command}`")
    for name, value in must_match.items():
        if metadata.get(name) != value:
            raise HandsimError(
                f"{path} was written with {name.replace('_', ' ')} {metadata.get(name)}, this run has "
                f"{value}; start a new run, with --encoder.init {path} to begin with its weights"
            )
    shapes = {name: tuple(tensor.shape) for name, tensor in checkpoint["state_dict"].items()}
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    different = sorted(name for name in {*shapes, *expected} if shapes.get(name) != expected.get(name))
    if different:
        name = different[0]
        raise HandsimError(
            f"{path} is of another network: {name} has shape {shapes.get(name)}, here {expected.get(name)}"
        )
    return metadata


class Checkpoints(Callback):
    """Writes `LAST` every so many steps and at the end of each epoch, and `BEST` of those with an error.

    Every process of a distributed run uses the ``folder`` that the first process made.
    """

    def __init__(
        self,
        folder: RunFolder,
        every_steps: int,
        stop: StopRequest,
        epoch_error: Callable[[], float] | None = None,
    ) -> None:
        """``epoch_error`` returns the error that was measured after this step, the same in all processes, or
        NaN where none was; None: the mean loss, at the end of each epoch. ``stop`` is obeyed after a step.
        """
        self.folder, self.stop = folder, stop
        self.step = 0
        """The optimizer step after which `LAST` was written; 0: there is none."""
        self._every_steps, self._epoch_error = every_steps, epoch_error
        self._loss_sum = 0.0
        self._batches = 0
        self._best = math.inf

    def setup(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        """Learn from the first process which directory it made."""
        self.folder = RunFolder(Path(trainer.strategy.broadcast(str(self.folder.path))))

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Note the step of the checkpoint that the run resumes from, if it does."""
        self.step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Write one if it is due, only after whole steps: accumulated gradients are not saved."""
        assert isinstance(module, RunModule)
        self._loss_sum += module.loss
        self._batches += 1
        schedule, done = module.schedule, batch_idx + 1
        if not schedule.ends_step(done):
            return
        epoch_ended = schedule.ends_epoch(done)
        measured = epoch_ended or self._epoch_error is not None  # a cut run is validated inside an epoch
        is_best = measured and self._is_best(trainer, module)
        stopping = trainer.strategy.reduce_boolean_decision(self.stop.requested, all=False)
        due = trainer.global_step % self._every_steps == 0 or done == schedule.batches
        # Weights with NaN are never written.
        if (epoch_ended or due or stopping or is_best) and trainer.strategy.reduce_boolean_decision(
            module.is_finite()
        ):
            self._write(trainer, [BEST, LAST] if is_best else [LAST], trainer.save_checkpoint)
        trainer.should_stop = trainer.should_stop or stopping

    def _is_best(self, trainer: Trainer, module: RunModule) -> bool:
        if self._epoch_error is None:
            mean = torch.tensor(self._loss_sum / self._batches, device=module.device)
            error = float(trainer.strategy.reduce(mean, reduce_op="mean"))
            self._loss_sum, self._batches = 0.0, 0
        else:
            error = self._epoch_error()
        is_best = error < self._best  # never for NaN
        if is_best:
            self._best = error
        return is_best

    def on_exception(self, trainer: Trainer, module: LightningModule, exception: BaseException) -> None:
        """Save what was learned until the index stopped answering; other errors may leave half a step."""
        assert isinstance(module, RunModule)
        between_steps = module.batches_done % module.schedule.accumulate == 0
        away = isinstance(exception, UnavailableError)
        if away and between_steps and trainer.is_global_zero and module.is_finite():
            # Not `save_checkpoint`: it waits for the other processes, which may be waiting for this one.
            state = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
            self._write(trainer, [LAST], lambda path: trainer.strategy.save_checkpoint(state, path))

    def state_dict(self) -> dict[str, Any]:
        """The sums of the epoch that is under way, and the lowest error so far."""
        return {"losses": self._loss_sum, "batches": self._batches, "best": self._best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue with them; the lowest error is the one in the file `BEST`."""
        self._loss_sum, self._batches = state_dict["losses"], state_dict["batches"]
        best = self.folder.checkpoints / BEST
        # Not `state_dict["best"]`: earlier versions wrote NaN, or the error of an unsaved epoch.
        self._best = math.inf
        if best.exists():
            self._best = read_checkpoint(best)["callbacks"]["Checkpoints"]["best"]

    def _write(self, trainer: Trainer, names: list[str], save: Callable[[Path], None]) -> None:
        """Write one file and link it under every name. All processes take part; the first one writes."""
        first, *others = (self.folder.checkpoints / name for name in names)
        if not trainer.is_global_zero:
            save(first)
            self.step = trainer.global_step
            return
        try:
            first.parent.mkdir(parents=True, exist_ok=True)
            with replacing(first) as temporary:
                save(temporary)
            for other in others:
                with replacing(other) as temporary:
                    _link_or_copy(first, temporary)
            sync(first.parent)
        except OSError as error:
            raise HandsimError(
                f"{first} cannot be written ({error.strerror or error}); make room and --resume"
            ) from error
        self.step = trainer.global_step


def _link_or_copy(file: Path, name: Path) -> None:
    """Give the file another name; a copy where the file system knows no links."""
    try:
        os.link(file, name)
    except OSError:
        shutil.copyfile(file, name)

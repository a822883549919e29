"""Checkpoints of a run: the last one and the best one, each whole or not there."""

import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from handsim.atomic_file import sync
from handsim.errors import HandsimError, UnavailableError
from training.runs.interruption import StopRequest
from training.runs.module import Batch, RunModule

LAST: Final = "last.ckpt"
BEST: Final = "best.ckpt"
"""Of the epochs, the one with the lowest error: its mean loss where nothing else is said."""


class Checkpoints(Callback):
    """Keeps `LAST` every so many steps and at the end of each epoch, and `BEST` of the epochs."""

    def __init__(
        self,
        folder: Path,
        every_steps: int,
        stop: StopRequest,
        error: Callable[[], float] | None = None,
    ) -> None:
        """The folder is made when the first one is kept; a ``stop`` is obeyed after keeping one.

        ``error`` tells the epoch's that is just over, the same in all processes; None: its mean loss.
        """
        self._folder, self._every_steps, self._stop, self._error = folder, every_steps, stop, error
        self._losses = 0.0
        self._batches = 0
        self._best = math.inf

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Keep one where it is due: never between two batches of one step, whose gradients it would lose."""
        assert isinstance(module, RunModule)
        self._losses += module.loss
        self._batches += 1
        schedule, done = module.schedule, batch_idx + 1
        if not schedule.ends_step(done):
            return
        epoch_over = schedule.ends_epoch(done)
        is_best = epoch_over and self._is_best_epoch(trainer, module)
        stopping = trainer.strategy.reduce_boolean_decision(self._stop.asked, all=False)
        due = trainer.global_step % self._every_steps == 0 or done == schedule.batches
        if epoch_over or due or stopping:
            self._keep(trainer, module, [BEST, LAST] if is_best else [LAST])
        trainer.should_stop = trainer.should_stop or stopping

    def _is_best_epoch(self, trainer: Trainer, module: RunModule) -> bool:
        if self._error is None:
            mean = torch.tensor(self._losses / self._batches, device=module.device)
            error = float(trainer.strategy.reduce(mean, reduce_op="mean"))
        else:
            error = self._error()
        self._losses, self._batches = 0.0, 0
        is_best = error < self._best
        self._best = min(error, self._best)
        return is_best

    def on_exception(self, trainer: Trainer, module: LightningModule, exception: BaseException) -> None:
        """Keep what was learned until the index went away; any other error may have come in mid-step."""
        assert isinstance(module, RunModule)
        between_steps = module.batches_done % module.schedule.accumulate == 0
        away = isinstance(exception, UnavailableError)
        if away and between_steps and trainer.is_global_zero and module.is_whole():
            # Not `save_checkpoint`: it waits for the other processes, which may be waiting for this one.
            state = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
            self._write([LAST], lambda path: trainer.strategy.save_checkpoint(state, path))

    def state_dict(self) -> dict[str, Any]:
        """The sums of the epoch that is under way, and the best so far."""
        return {"losses": self._losses, "batches": self._batches, "best": self._best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with those."""
        self._losses, self._batches = state_dict["losses"], state_dict["batches"]
        self._best = state_dict["best"]

    def _keep(self, trainer: Trainer, module: RunModule, names: list[str]) -> None:
        """All processes take part; the first one writes. Broken weights never replace whole ones."""
        if trainer.strategy.reduce_boolean_decision(module.is_whole(), all=True):
            self._write(names, trainer.save_checkpoint)

    def _write(self, names: list[str], save: Callable[[Path], None]) -> None:
        """Beside the old ones first, then in their place: once, under all of the names."""
        new = {name: self._folder / f".{name}.{os.getpid()}" for name in names}
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            save(new[names[0]])
            if new[names[0]].exists():  # in the first process
                sync(new[names[0]])
                for name in names[1:]:
                    _give_name(new[names[0]], new[name])
                for name in names:
                    os.replace(new[name], self._folder / name)
                sync(self._folder)
        except OSError as error:
            path = self._folder / names[0]
            raise HandsimError(
                f"{path} cannot be written ({error.strerror or error}); make room and --resume"
            ) from error
        finally:
            for temporary in new.values():
                temporary.unlink(missing_ok=True)


def _give_name(file: Path, name: Path) -> None:
    """The file under another name, too; a copy where the file system knows no links."""
    try:
        os.link(file, name)
    except OSError:
        shutil.copyfile(file, name)
        sync(name)

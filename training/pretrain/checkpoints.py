"""Checkpoints of a run: the last one and the best one, each whole or not there."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from handsim.atomic_file import sync
from handsim.errors import HandsimError, UnavailableError
from training.pairs import PairBatch
from training.pretrain.interruption import StopRequest
from training.pretrain.module import PretrainModule

LAST: Final = "last.ckpt"
BEST: Final = "best.ckpt"
"""Of the epochs, the one with the lowest mean loss."""


class Checkpoints(Callback):
    """Keeps `LAST` every so many steps and at the end of each epoch, and `BEST` of the epochs."""

    def __init__(self, folder: Path, every_steps: int, stop: StopRequest) -> None:
        """The folder is made when the first one is kept; a ``stop`` is obeyed after keeping one."""
        self._folder, self._every_steps, self._stop = folder, every_steps, stop
        self._losses = 0.0
        self._batches = 0
        self._best = math.inf

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: PairBatch, batch_idx: int
    ) -> None:
        """Keep one where it is due: never between two batches of one step, whose gradients it would lose."""
        assert isinstance(module, PretrainModule)
        self._losses += module.loss
        self._batches += 1
        schedule, done = module.schedule, batch_idx + 1
        if done % schedule.accumulate and done < schedule.batches:
            return
        # An epoch that ends within a step is over with that step.
        before = max(0, done - schedule.accumulate) // schedule.batches_an_epoch
        epoch_over = done // schedule.batches_an_epoch > before
        if epoch_over and self._is_best_epoch(trainer, module):
            self._keep(trainer, module, BEST)
        stopping = trainer.strategy.reduce_boolean_decision(self._stop.asked, all=False)
        due = trainer.global_step % self._every_steps == 0 or done == schedule.batches
        if epoch_over or due or stopping:
            self._keep(trainer, module, LAST)
        trainer.should_stop = trainer.should_stop or stopping

    def _is_best_epoch(self, trainer: Trainer, module: PretrainModule) -> bool:
        mean = torch.tensor(self._losses / self._batches, device=module.device)
        loss = float(trainer.strategy.reduce(mean, reduce_op="mean"))
        self._losses, self._batches = 0.0, 0
        is_best = loss < self._best
        self._best = min(loss, self._best)
        return is_best

    def on_exception(self, trainer: Trainer, module: LightningModule, exception: BaseException) -> None:
        """Keep what was learned until the index went away; any other error may have come in mid-step."""
        assert isinstance(module, PretrainModule)
        between_steps = module.batches_done % module.schedule.accumulate == 0
        away = isinstance(exception, UnavailableError)
        if away and between_steps and trainer.is_global_zero and _is_whole(module):
            # Not `save_checkpoint`: it waits for the other processes, which may be waiting for this one.
            state = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
            self._write(LAST, lambda path: trainer.strategy.save_checkpoint(state, path))

    def state_dict(self) -> dict[str, Any]:
        """The sums of the epoch that is under way, and the best so far."""
        return {"losses": self._losses, "batches": self._batches, "best": self._best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with those."""
        self._losses, self._batches = state_dict["losses"], state_dict["batches"]
        self._best = state_dict["best"]

    def _keep(self, trainer: Trainer, module: PretrainModule, name: str) -> None:
        """All processes take part; the first one writes. Broken weights never replace whole ones."""
        if trainer.strategy.reduce_boolean_decision(_is_whole(module), all=True):
            self._write(name, trainer.save_checkpoint)

    def _write(self, name: str, save: Callable[[Path], None]) -> None:
        """Beside the old one first, then in its place."""
        temporary = self._folder / f".{name}.{os.getpid()}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            save(temporary)
            if temporary.exists():  # in the first process
                sync(temporary)
                os.replace(temporary, self._folder / name)
                sync(self._folder)
        except OSError as error:
            raise HandsimError(
                f"{self._folder / name} cannot be written ({error.strerror or error}); make room and --resume"
            ) from error
        finally:
            temporary.unlink(missing_ok=True)


def _is_whole(module: PretrainModule) -> bool:
    """Whether all of its weights and running statistics are numbers."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in module.state_dict().values())

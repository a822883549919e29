"""Checkpoints of a run: the last one and the best one, each whole or not there.

Whether a checkpoint can go on as the run it came from.

Ctrl-C while it trains: stop between two steps, with a checkpoint.
"""

import math
import os
import shutil
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Final

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from handsim.errors import HandsimError, UnavailableError
from handsim.files import sync
from training.runs.module import Batch, RunModule


def check_resumable(path: Path, module: RunModule, same: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """What the checkpoint at ``path`` says of its run, once it is sure that ``module`` can go on with it.

    ``same`` are facts that have to be the same there; ``kind`` says what was done: ``pre-training``. Raises
    HandsimError for a file that is no checkpoint of such a run, that holds more than tensors and plain
    values, or that came from another network or with other facts.
    """
    try:
        # mmap: the weights are not read, only what is said of them.
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        told = checkpoint["handsim"]
        shapes = {name: tuple(tensor.shape) for name, tensor in checkpoint["state_dict"].items()}
    except Exception as error:  # in a file that is something else, the reader stumbles over anything
        why = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
        raise HandsimError(f"{path} is no checkpoint of a {kind} run ({why})") from error
    for what, ours in same.items():
        if told.get(what) != ours:
            raise HandsimError(
                f"{path} was written with {what.replace('_', ' ')} {told.get(what)}, this run has {ours}; "
                f"start a new run, with --encoder.init {path} to begin with its weights"
            )
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    other = sorted(name for name in {*shapes, *expected} if shapes.get(name) != expected.get(name))
    if other:
        raise HandsimError(
            f"{path} is of another network: {other[0]} has shape {shapes.get(other[0])}, "
            f"here {expected.get(other[0])}"
        )
    return dict(told)


class StopRequest:
    """Whether somebody asked for an end: by SIGINT (Ctrl-C) or SIGTERM within a ``with`` block, or `ask`.

    A second signal interrupts at once. Only the main thread may enter the block.
    """

    def __init__(self) -> None:
        self.asked = False
        """Whether it was."""
        self.also: Callable[[], None] = lambda: None
        """What else to do when a signal comes; it runs in the signal's handler."""

    def ask(self) -> None:
        """Ask for an end at the next opportunity."""
        self.asked = True

    def __enter__(self) -> "StopRequest":
        numbers = (signal.SIGINT, signal.SIGTERM)
        self._before = {number: signal.signal(number, self._handle) for number in numbers}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.ask()
        self.also()


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

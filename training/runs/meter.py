"""What a run does with its time, and how its loss falls: a line of numbers every so many steps."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from tqdm import tqdm

from training.runs.module import Batch, RunModule


class Window(Protocol):
    """Sums over the batches since it was made."""

    def add(self, batch: Any, module: Any) -> None:
        """Count a batch in, which the module was just trained on."""

    def leave_out(self, seconds: float) -> None:
        """Do not count time that was spent on something else than training."""

    def numbers(self, processes: int) -> dict[str, float]:
        """What it comes to, for all processes where that can be said."""

    @staticmethod
    def in_short(numbers: dict[str, float]) -> str:
        """Those that people watch, in a few words."""


class Meter(Callback):
    """Sums up what batches tell, writes it to the loggers and shows it on a progress bar."""

    def __init__(self, every_steps: int, window: Callable[[], Window]) -> None:
        """Numbers are of the last ``every_steps`` optimizer steps, a new ``window`` for each."""
        self._every_steps, self._new_window = every_steps, window
        self._window = window()
        self._bar: tqdm[Any] | None = None
        self.note: Callable[[str], None] = print
        """Says a line to people without tearing the progress bar."""

    @property
    def is_running(self) -> bool:
        """Whether there is a bar that could be torn."""
        return self._bar is not None

    def leave_out(self, seconds: float) -> None:
        """Do not count time that was spent on something else than training."""
        self._window.leave_out(seconds)

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Start the clock and the bar."""
        assert isinstance(module, RunModule)
        self._window = self._new_window()
        if trainer.is_global_zero:
            steps, initial = module.schedule.steps, trainer.global_step
            # disable=None: silent where nobody watches, in a log or a pipe.
            self._bar = tqdm(total=steps, initial=initial, unit=" steps", dynamic_ncols=True, disable=None)
            self.note = self._bar.write

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Count a batch in; after the last of a window, write it."""
        assert isinstance(module, RunModule)
        self._window.add(batch, module)
        if not module.schedule.ends_step(batch_idx + 1):
            return
        if self._bar is not None:
            self._bar.update(trainer.global_step - self._bar.n)
        if trainer.global_step % self._every_steps and trainer.global_step < module.schedule.steps:
            return
        numbers = self._window.numbers(trainer.world_size)
        numbers["lr"] = trainer.optimizers[0].param_groups[0]["lr"]
        numbers["epoch"] = (batch_idx + 1) / module.schedule.batches_an_epoch
        if torch.cuda.is_available() and module.device.type == "cuda":
            numbers["gpu_memory_gb"] = torch.cuda.max_memory_allocated(module.device) / 1e9
        for logger in trainer.loggers:
            logger.log_metrics(numbers, step=trainer.global_step)
        if self._bar is not None:
            self._bar.set_postfix_str(f"epoch {numbers['epoch']:.1f}, {self._window.in_short(numbers)}")
        self._window = self._new_window()

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Let go of the bar."""
        self._close()

    def on_exception(self, trainer: Trainer, module: LightningModule, exception: BaseException) -> None:
        """Let go of the bar, so that what is printed next begins a line."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar, self.note = None, print

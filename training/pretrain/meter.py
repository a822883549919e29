"""What a run does with its time, and how its loss falls: a line of numbers every so many steps."""

import time
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from tqdm import tqdm

from training.pairs import PairBatch
from training.pretrain.module import PretrainModule


class Meter(Callback):
    """Sums up what batches tell, writes it to the loggers and shows it on a progress bar.

    ``images_per_s`` counts views that were trained on, of all processes; ``data_wait`` is the share of the
    time in which this process had no batch to work on, ``index_wait`` the part of it in which that was the
    index's fault.
    """

    def __init__(self, every_steps: int) -> None:
        """Numbers are of the last ``every_steps`` optimizer steps."""
        self._every_steps = every_steps
        self._window = _Window()
        self._bar: tqdm[Any] | None = None
        self.note: Callable[[str], None] = print
        """Says a line to people without tearing the progress bar."""

    @property
    def is_running(self) -> bool:
        """Whether there is a bar that could be torn."""
        return self._bar is not None

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Start the clock and the bar."""
        assert isinstance(module, PretrainModule)
        self._window = _Window()
        if trainer.is_global_zero:
            steps, initial = module.schedule.steps, trainer.global_step
            # disable=None: silent where nobody watches, in a log or a pipe.
            self._bar = tqdm(total=steps, initial=initial, unit=" steps", dynamic_ncols=True, disable=None)
            self.note = self._bar.write

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: PairBatch, batch_idx: int
    ) -> None:
        """Count a batch in; after the last of a window, write it."""
        assert isinstance(module, PretrainModule)
        self._window.add(batch, module.loss)
        if (batch_idx + 1) % module.schedule.accumulate and batch_idx + 1 < module.schedule.batches:
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
            self._bar.set_postfix_str(_in_short(numbers))
        self._window = _Window()

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


class _Window:
    """Sums over the batches since it was made."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._losses: list[float] = []
        self._views = 0
        self._pairs = 0
        self._alone = 0
        self._distances: list[float] = []
        self._data_s = 0.0
        self._index_s = 0.0

    def add(self, batch: PairBatch, loss: float) -> None:
        pairs = len(batch.anchors)
        self._losses.append(loss)
        self._pairs += pairs
        self._views += 2 * pairs + len(batch.negatives)
        self._alone += batch.without_positive
        distance = float(batch.distances.nanmean())
        if distance == distance:
            self._distances.append(distance)
        self._data_s += batch.waits.data_s
        self._index_s += batch.waits.index_s

    def numbers(self, processes: int) -> dict[str, float]:
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


def _in_short(numbers: dict[str, float]) -> str:
    return (
        f"epoch {numbers['epoch']:.1f}, loss {numbers['loss']:.3f}, {numbers['images_per_s']:,.0f} images/s, "
        f"waiting {numbers['data_wait']:.0%} (index {numbers['index_wait']:.0%})"
    )

"""What a run does with its time, and how its loss falls: a line of numbers every so many steps.

Pictures of what is being trained on, drawn while it trains.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from handsim.drawing import MontageRow, Tile, montage
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


COLUMNS: Final = 3


class TrainingFigures(Callback):
    """Draws a batch every so many steps, and the very first one, into ``folder``."""

    def __init__(
        self, folder: Path, every_steps: int, name: str, draw: Callable[[Any, Any], Image.Image]
    ) -> None:
        """The folder is made when the first one is drawn, by ``draw`` of the batch and the module."""
        self._folder, self._every_steps, self._name, self._draw = folder, every_steps, name, draw
        self._drawn = -1

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Draw it where it is due."""
        step = trainer.global_step
        due = step % self._every_steps == 0 or batch_idx == 0
        if not (due and trainer.is_global_zero and step != self._drawn):
            return
        self._drawn = step
        figure = self._draw(batch, module)
        self._folder.mkdir(parents=True, exist_ok=True)
        figure.save(self._folder / f"{self._name}-{step:07d}.png")
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image(self._name, np.asarray(figure), step, dataformats="HWC")


def view_tile(image: Tensor, keypoints: Tensor, caption: Sequence[str]) -> Tile:
    """A view [3, S, S] in 0..1 with its skeleton [21, 2] (unit square) and lines below it; empty ones go.

    With a keypoint that is no number there is no skeleton.
    """
    picture = image.detach().float().clamp(0, 1).mul(255).round().byte()
    pixels: NDArray[np.uint8] = picture.permute(1, 2, 0).cpu().numpy()
    points = keypoints.detach().float().cpu().numpy()
    return Tile(pixels, points if np.isfinite(points).all() else None, tuple(filter(None, caption)))


def draw_side_by_side(pairs: Sequence[tuple[Tile, Tile]]) -> Image.Image:
    """Pairs of tiles, a few to a row, the first of each framed."""
    columns = [pairs[column::COLUMNS] for column in range(min(COLUMNS, len(pairs)))]
    sheets = [montage([MontageRow(left, [right]) for left, right in column]) for column in columns]
    size = (sum(sheet.width for sheet in sheets), max(sheet.height for sheet in sheets))
    whole = Image.new("RGB", size, "white")
    left = 0
    for sheet in sheets:
        whole.paste(sheet, (left, 0))
        left += sheet.width
    return whole

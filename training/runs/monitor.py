"""What people see of a run while it trains: lines of numbers with a progress bar, and pictures."""

import json
import math
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from handsim.drawing import MontageRow, Tile, montage
from handsim.files import write_text_atomically
from training.runs.module import Batch, RunModule

_COLUMNS: Final = 3


class BatchMetrics(Protocol):
    """Numbers over the batches since it was made."""

    def add(self, batch: Any, module: Any) -> None:
        """Include a batch on which the module was just trained."""

    def compute(self, elapsed_s: float, processes: int) -> dict[str, float]:
        """The numbers of so many seconds; rates are those of all processes."""

    @staticmethod
    def describe(numbers: dict[str, float]) -> str:
        """The most important ones in a few words."""


class MetricsFile(Logger):
    """``metrics.jsonl``: one JSON object a line, each with its ``step``; NaN and infinities become null."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    @property
    def name(self) -> str:
        return "metrics"

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        finite = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in metrics.items()
        }
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step, **finite}) + "\n")

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the settings have a file of their own."""

    @rank_zero_only
    def drop_after(self, step: int) -> None:
        """Drop lines of later steps: a run that resumes after ``step`` writes them again."""
        if not self._path.exists():
            return
        lines = self._path.read_text().splitlines()
        remaining = [line for line in lines if _step_of(line) <= step]
        write_text_atomically(self._path, "".join(f"{line}\n" for line in remaining))


def _step_of(line: str) -> float:
    """Infinity for a line that was cut short when its writer was killed."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


class Meter(Callback):
    """Writes the numbers of every so many steps to the loggers and shows them beside a progress bar."""

    def __init__(self, every_steps: int, new_metrics: Callable[[], BatchMetrics]) -> None:
        """``new_metrics`` is called at the start and after every ``every_steps`` optimizer steps."""
        self._every_steps, self._new_metrics = every_steps, new_metrics
        self._metrics, self._started = new_metrics(), time.perf_counter()
        self._bar: tqdm[Any] | None = None

    def write_line(self, line: str, otherwise: Callable[[str], None]) -> None:
        """Print a line above the progress bar; where there is none, do ``otherwise``."""
        (otherwise if self._bar is None else self._bar.write)(line)

    def exclude_time(self, seconds: float) -> None:
        """Do not count time that was spent on something other than training."""
        self._started += seconds

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, RunModule)
        self._metrics, self._started = self._new_metrics(), time.perf_counter()
        if trainer.is_global_zero:
            steps, initial = module.schedule.steps, trainer.global_step
            # disable=None: silent where nobody watches, in a log or a pipe.
            self._bar = tqdm(total=steps, initial=initial, unit=" steps", dynamic_ncols=True, disable=None)

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        assert isinstance(module, RunModule)
        self._metrics.add(batch, module)
        if not module.schedule.ends_step(batch_idx + 1):
            return
        if self._bar is not None:
            self._bar.update(trainer.global_step - self._bar.n)
        if trainer.global_step % self._every_steps and trainer.global_step < module.schedule.steps:
            return
        numbers = self._metrics.compute(time.perf_counter() - self._started, trainer.world_size)
        numbers["lr"] = trainer.optimizers[0].param_groups[0]["lr"]
        numbers["epoch"] = (batch_idx + 1) / module.schedule.batches_an_epoch
        if torch.cuda.is_available() and module.device.type == "cuda":
            numbers["gpu_memory_gb"] = torch.cuda.max_memory_allocated(module.device) / 1e9
        for logger in trainer.loggers:
            logger.log_metrics(numbers, step=trainer.global_step)
        if self._bar is not None:
            self._bar.set_postfix_str(f"epoch {numbers['epoch']:.1f}, {self._metrics.describe(numbers)}")
        self._metrics, self._started = self._new_metrics(), time.perf_counter()

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        self._close()

    def on_exception(self, trainer: Trainer, module: LightningModule, exception: BaseException) -> None:
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class TrainingFigures(Callback):
    """Draws a batch every so many steps, and the very first one."""

    def __init__(
        self, folder: Path, every_steps: int, name: str, draw: Callable[[Any, Any], Image.Image]
    ) -> None:
        """``draw`` takes the batch and the module; ``folder`` is made for the first picture."""
        self._folder, self._every_steps, self._name, self._draw = folder, every_steps, name, draw
        self._last_step = -1

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        step = trainer.global_step
        due = step % self._every_steps == 0 or batch_idx == 0
        if not (due and trainer.is_global_zero and step != self._last_step):
            return
        self._last_step = step
        figure = self._draw(batch, module)
        self._folder.mkdir(parents=True, exist_ok=True)
        figure.save(self._folder / f"{self._name}-{step:07d}.png")
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image(self._name, np.asarray(figure), step, dataformats="HWC")


def view_tile(image: Tensor, keypoints: Tensor, caption: Sequence[str]) -> Tile:
    """A view [3, S, S] in 0..1 with its skeleton [21, 2] (unit square) and lines below it; empty ones go.

    There is no skeleton where a keypoint is NaN or infinite.
    """
    picture = image.detach().float().clamp(0, 1).mul(255).round().byte()
    pixels: NDArray[np.uint8] = picture.permute(1, 2, 0).cpu().numpy()
    points = keypoints.detach().float().cpu().numpy()
    return Tile(pixels, points if np.isfinite(points).all() else None, tuple(filter(None, caption)))


def draw_side_by_side(pairs: Sequence[tuple[Tile, Tile]]) -> Image.Image:
    """Pairs of tiles, a few to a row, the first of each framed."""
    columns = [pairs[column::_COLUMNS] for column in range(min(_COLUMNS, len(pairs)))]
    sheets = [montage([MontageRow(left, [right]) for left, right in column]) for column in columns]
    size = (sum(sheet.width for sheet in sheets), max(sheet.height for sheet in sheets))
    whole = Image.new("RGB", size, "white")
    left = 0
    for sheet in sheets:
        whole.paste(sheet, (left, 0))
        left += sheet.width
    return whole

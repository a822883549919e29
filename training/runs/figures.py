"""Pictures of what is being trained on, drawn while it trains."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from handsim.drawing import MontageRow, Tile, montage
from training.runs.module import Batch

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

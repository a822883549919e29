"""Pictures of the pairs that are being trained on: both views with their skeletons, distance and weight."""

from pathlib import Path
from typing import Any, Final

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from numpy.typing import NDArray
from PIL import Image

from handsim.drawing import MontageRow, Tile, montage
from handsim.hand import format_hand_id
from training.augmentation import Views
from training.losses import positive_weights
from training.pairs import PairBatch
from training.pretrain.module import PretrainModule, weighed_keypoints

_PAIRS: Final = 12
_COLUMNS: Final = 3


class PairFigures(Callback):
    """Draws a few pairs of a batch every so many steps, and of the very first one, into ``folder``."""

    def __init__(self, folder: Path, every_steps: int) -> None:
        """The folder is made when the first one is drawn."""
        self._folder, self._every_steps = folder, every_steps
        self._drawn = -1

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: PairBatch, batch_idx: int
    ) -> None:
        """Draw it where it is due."""
        assert isinstance(module, PretrainModule)
        step = trainer.global_step
        due = step % self._every_steps == 0 or batch_idx == 0
        if not (due and trainer.is_global_zero and step != self._drawn and module.views):
            return
        self._drawn = step
        figure = draw_pairs(batch, module.views, module)
        self._folder.mkdir(parents=True, exist_ok=True)
        figure.save(self._folder / f"pairs-{step:07d}.png")
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("pairs", np.asarray(figure), step, dataformats="HWC")


def draw_pairs(batch: PairBatch, views: tuple[Views, Views], module: PretrainModule) -> Image.Image:
    """The first pairs of a batch, as the views [B] made of them: anchor and positive side by side."""
    weighting = module.config.loss.weighting
    weights = None
    if weighting.positives:
        weights = positive_weights(
            weighed_keypoints(views[0]), weighed_keypoints(views[1]), weighting
        ).tolist()
    pairs = []
    for row in range(min(_PAIRS, len(batch.anchors))):
        anchor, positive = (int(batch.hand_ids[int(rows[row])]) for rows in (batch.anchors, batch.positives))
        distance = float(batch.distances[row])
        if anchor == positive:
            said = "its own second view"
        elif np.isfinite(distance):
            said = f"distance {distance:.3f}"
        else:
            said = format_hand_id(positive)
        weight = "" if weights is None else f"weight {weights[row]:.2f}"
        pairs.append(
            (_tile(views[0], row, (f"{format_hand_id(anchor)}", "")), _tile(views[1], row, (said, weight)))
        )
    rows_of_pairs = [pairs[start : start + _COLUMNS] for start in range(0, len(pairs), _COLUMNS)]
    sheets = [
        montage([MontageRow(left, [right]) for left, right in column]) for column in _columns(rows_of_pairs)
    ]
    return _side_by_side(sheets)


def _columns(rows: list[list[tuple[Tile, Tile]]]) -> list[list[tuple[Tile, Tile]]]:
    return [[row[column] for row in rows if column < len(row)] for column in range(len(rows[0]))]


def _tile(views: Views, row: int, caption: tuple[str, str]) -> Tile:
    picture = views.images[row].detach().float().clamp(0, 1).mul(255).round().byte()
    image: NDArray[np.uint8] = picture.permute(1, 2, 0).cpu().numpy()
    keypoints = views.keypoints[row].detach().float().cpu().numpy()
    return Tile(image, keypoints if np.isfinite(keypoints).all() else None, tuple(filter(None, caption)))


def _side_by_side(sheets: list[Image.Image]) -> Image.Image:
    whole = Image.new(
        "RGB", (sum(sheet.width for sheet in sheets), max(sheet.height for sheet in sheets)), "white"
    )
    left = 0
    for sheet in sheets:
        whole.paste(sheet, (left, 0))
        left += sheet.width
    return whole

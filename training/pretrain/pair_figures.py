"""Pictures of the pairs that are being trained on: both views with their skeletons, distance and weight."""

from typing import Final

import numpy as np
from PIL import Image

from handsim.drawing import Tile
from handsim.hand import format_hand_id
from training.augmentation import Views
from training.losses import positive_weights
from training.pairs import PairBatch
from training.pretrain.module import PretrainModule, weighed_keypoints
from training.runs.figures import draw_side_by_side, view_tile

_PAIRS: Final = 12


def draw_last_pairs(batch: PairBatch, module: PretrainModule) -> Image.Image:
    """Those of the batch that ``module`` was just trained on."""
    assert module.views is not None
    return draw_pairs(batch, module.views, module)


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
        pairs.append((_tile(views[0], row, (format_hand_id(anchor),)), _tile(views[1], row, (said, weight))))
    return draw_side_by_side(pairs)


def _tile(views: Views, row: int, caption: tuple[str, ...]) -> Tile:
    return view_tile(views.images[row], views.keypoints[row], caption)

"""One step of contrastive pre-training: SimCLR, PeCLR, TempCLR or SiMHand, as the recipe's settings say."""

import math
from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor

from handsim.hand import format_hand_id
from training.augmentation import AugmentedViews, augment
from training.losses import nt_xent
from training.losses.equivariance import undo_motion
from training.models.encoder import ProjectionHead, build_encoder
from training.pairs.decoding import PairBatch
from training.pretrain.config import PretrainConfig
from training.runs.module import DivergedError, RunModule, derived_seed
from training.runs.settings import Schedule

_INITIAL_WEIGHTS: Final = 0
_VIEWS: Final = 1
"""Streams of random numbers of one seed; fine-tuning has others."""

_WEIGHTED_PX: Final = 128


class PretrainModule(RunModule):
    """An encoder and its projection head, trained to tell pairs apart."""

    def __init__(self, config: PretrainConfig, schedule: Schedule, *, init: bool = True) -> None:
        """Build the networks, with the weights that the recipe's ``encoder.init`` names or random ones.

        Without ``init`` they are random, for a checkpoint to be loaded.
        """
        super().__init__(schedule, config.optimizer)
        self.config = config
        with torch.random.fork_rng():
            torch.manual_seed(derived_seed(config.seed, _INITIAL_WEIGHTS))
            self.encoder = build_encoder(config.encoder if init else replace(config.encoder, init=None))
            self.head = ProjectionHead(self.encoder.features, config.head.hidden, config.head.out)
        self.views: tuple[AugmentedViews, AugmentedViews] | None = None
        """Those of the last batch, for figures."""

    def training_step(self, batch: PairBatch, batch_index: int) -> Tensor:
        """The loss of a batch of pairs; raises DivergedError where it is NaN or infinite."""
        config = self.config.loss
        extra = len(batch.negatives)
        views = [
            self._augment(batch, rows, view)
            for view, rows in enumerate((batch.anchors, batch.positives, batch.negatives)[: 2 + bool(extra)])
        ]
        self.views = (views[0], views[1])
        projections = self._project(views)
        if config.equivariant:
            projections = [
                undo_motion(projection, view.translation, view.angle_deg)
                for projection, view in zip(projections, views, strict=True)
            ]
        loss = nt_xent(
            projections[0],
            projections[1],
            temperature=config.temperature,
            weighting=config.weighting,
            keypoints1=keypoints_for_weights(views[0]),
            keypoints2=keypoints_for_weights(views[1]),
            negatives=projections[2] if extra else None,
            negative_keypoints=keypoints_for_weights(views[2]) if extra else None,
            over_processes=config.negatives == "all_processes",
        )
        self.loss = float(loss.detach())
        if not math.isfinite(self.loss):
            raise DivergedError(self.loss, batch, _record_of(batch))
        self.batches_done = batch_index + 1
        return loss

    def _augment(self, batch: PairBatch, rows: Tensor, view: int) -> AugmentedViews:
        generator = torch.Generator().manual_seed(
            derived_seed(self.config.seed, _VIEWS, batch.epoch, batch.number, self.global_rank, view)
        )
        return augment(batch.crops[rows], batch.keypoints[rows], self.config.augmentation, generator)

    def _project(self, views: list[AugmentedViews]) -> list[Tensor]:
        """Projections of all views in one pass, so that batch norm sees them together."""
        features = self.encoder(torch.cat([view.images for view in views]))
        return list(self.head(features).split([len(view.images) for view in views]))


def keypoints_for_weights(views: AugmentedViews) -> Tensor:
    """Keypoints [B, 21, 2] from which the loss computes its weights, in pixels of a view 128 wide.

    Views of the papers are that wide, and the steepness of sigmoid weights depends on the unit.
    """
    return views.keypoints * _WEIGHTED_PX


def _record_of(batch: PairBatch) -> dict[str, Any]:
    """The hands of a batch, for ``diverged.json``."""
    hand_ids = [format_hand_id(hand_id) for hand_id in batch.hand_ids.tolist()]
    return {
        "index_version": batch.version,
        "anchors": [hand_ids[row] for row in batch.anchors.tolist()],
        "positives": [hand_ids[row] for row in batch.positives.tolist()],
        "negatives": [hand_ids[row] for row in batch.negatives.tolist()],
    }

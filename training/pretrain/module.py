"""One step of contrastive pre-training: SimCLR, PeCLR, TempCLR or SiMHand, whichever the recipe makes it."""

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
from training.runs.module import DivergedError, RunModule
from training.runs.optimizer import Schedule, derived_seed

_INITIAL_WEIGHTS: Final = 0
_VIEWS: Final = 1
"""What a seed is drawn for; each has a stream of random numbers of its own."""

_WEIGHED_PX: Final = 128


class PretrainModule(RunModule):
    """An encoder and its projection head, trained to tell pairs apart.

    Every random number is a function of the seed and of what is being done (epoch, batch, process), never of
    what was drawn before: a run that is resumed anywhere goes on as if it had not been stopped.
    """

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
        """The last batch's, for those who want to look at them."""

    def training_step(self, batch: PairBatch, batch_index: int) -> Tensor:
        """The loss of one batch of pairs; raises DivergedError if it is no number, before a weight moves."""
        config = self.config.loss
        extra = len(batch.negatives)
        views = [
            self._views(batch, rows, view)
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
            keypoints1=weighed_keypoints(views[0]),
            keypoints2=weighed_keypoints(views[1]),
            negatives=projections[2] if extra else None,
            negative_keypoints=weighed_keypoints(views[2]) if extra else None,
        )
        self.loss = float(loss.detach())
        if not math.isfinite(self.loss):
            raise DivergedError(self.loss, batch, _hands_of(batch))
        self.batches_done = batch_index + 1
        return loss

    def _views(self, batch: PairBatch, rows: Tensor, view: int) -> AugmentedViews:
        drawn = torch.Generator().manual_seed(
            derived_seed(self.config.seed, _VIEWS, batch.epoch, batch.number, self.global_rank, view)
        )
        return augment(batch.crops[rows], batch.keypoints[rows], self.config.augmentation, drawn)

    def _project(self, views: list[AugmentedViews]) -> list[Tensor]:
        """Projections of all views in one pass, so that batch norm sees them together."""
        features = self.encoder(torch.cat([view.images for view in views]))
        return list(self.head(features).split([len(view.images) for view in views]))


def weighed_keypoints(views: AugmentedViews) -> Tensor:
    """Keypoints [B, 21, 2] of views as the loss weighs them: in pixels of a view 128 wide, whatever its size.

    So the paper's, in whose unit the steepness of sigmoid weights is told.
    """
    return views.keypoints * _WEIGHED_PX


def _hands_of(batch: PairBatch) -> dict[str, Any]:
    """Which hands a batch holds, and where its pairs come from."""
    hand_ids = [format_hand_id(hand_id) for hand_id in batch.hand_ids.tolist()]
    return {
        "index_version": batch.version,
        "anchors": [hand_ids[row] for row in batch.anchors.tolist()],
        "positives": [hand_ids[row] for row in batch.positives.tolist()],
        "negatives": [hand_ids[row] for row in batch.negatives.tolist()],
    }

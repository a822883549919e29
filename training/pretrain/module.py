"""One step of contrastive pre-training: SimCLR, PeCLR, TempCLR or SiMHand, as the recipe's settings say."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from handsim.errors import HandsimError
from handsim.geometry import CROP_ENLARGEMENT
from handsim.hand import format_hand_id
from handsim.hashing import hash64
from training.augmentation import AugmentedViews, augment
from training.losses import Hands, NearMask, ProjectionQueue, Weighting, nt_xent
from training.losses.distributed import alone
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
        self.queue = ProjectionQueue(config.loss.queue)
        self.views: tuple[AugmentedViews, AugmentedViews] | None = None
        """Those of the last batch, for figures."""
        self.near_negatives = float("nan")
        """Negatives of a row of the last batch that were near, on average; NaN where none is sought."""

    def training_step(self, batch: PairBatch, batch_index: int) -> Tensor:
        """The loss of a batch of pairs; raises DivergedError where it is NaN or infinite."""
        roles = [batch.anchors, batch.positives, batch.negatives][: 2 + bool(len(batch.negatives))]
        views = [self._augment(batch, rows, view) for view, rows in enumerate(roles)]
        self.views = (views[0], views[1])
        projections = self._project(views)
        if self.config.loss.equivariant:
            projections = [
                undo_motion(projection, view.translation, turn_deg(view))
                for projection, view in zip(projections, views, strict=True)
            ]
        loss = self._contrast(batch, roles, views, projections)
        self.loss = float(loss.detach())
        if not math.isfinite(self.loss):
            raise DivergedError(self.loss, batch, _record_of(batch))
        self.batches_done = batch_index + 1
        return loss

    def _contrast(
        self, batch: PairBatch, roles: list[Tensor], views: list[AugmentedViews], projections: list[Tensor]
    ) -> Tensor:
        """The loss of anchors, positives and negatives; their projections go into the queue."""
        # A queue is that of all processes.
        with alone(self.config.loss.negatives == "own_process" and not self.config.loss.queue):
            return self._contrast_together(batch, roles, views, projections)

    def _contrast_together(
        self, batch: PairBatch, roles: list[Tensor], views: list[AugmentedViews], projections: list[Tensor]
    ) -> Tensor:
        config, pairs, queue = self.config.loss, len(batch), self.queue
        rows = torch.cat(roles)
        hands, near = self._hands(batch, rows), None
        if config.near.is_on or config.queue:
            near = NearMask(config.near, hands, pairs, queue.hands)
        points = points_for_weights(config.weighting, batch, rows, views, hands.vectors)
        points1, points2, further_points = torch.tensor_split(points, [pairs, 2 * pairs])
        z1, z2, *further = projections
        loss = nt_xent(
            z1,
            z2,
            temperature=config.temperature,
            weighting=config.weighting,
            keypoints1=points1,
            keypoints2=points2,
            negatives=further[0] if further else None,
            negative_keypoints=further_points,
            queue=queue.projections,
            queue_keypoints=queue.points,
            near=near,
        )
        self.near_negatives = float("nan") if near is None else near.found
        weighted = points[: 2 * pairs] if config.weighting.weights_negatives else None
        queue.push(torch.cat([z1, z2]), weighted, hands.first(2 * pairs))
        return loss

    def _hands(self, batch: PairBatch, rows: Tensor) -> Hands:
        """The hands of rows; of another index version than those before, they empty the queue."""
        hand_ids = torch.from_numpy(batch.hand_ids.astype(np.int64)).to(rows.device)
        hands = Hands(hand_ids[rows], batch.videos[rows], batch.vectors[rows])
        if not (self.config.loss.needs_vectors or self.config.loss.queue):
            return hands
        # A bit less than 64: torch has no unsigned numbers of 64 bits.
        version = hash64(batch.version.encode()) >> 1 if batch.version else 0
        hands, version = hands.of_one_version(version)
        self.queue.follow(version)
        return hands

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Also the queue."""
        super().on_save_checkpoint(checkpoint)
        if self.config.loss.queue:
            checkpoint["queue"] = self.queue.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Also the queue, if the run had one."""
        super().on_load_checkpoint(checkpoint)
        if self.config.loss.queue and "queue" in checkpoint:
            self.queue.load_state_dict(checkpoint["queue"], self.device)

    def _augment(self, batch: PairBatch, rows: Tensor, view: int) -> AugmentedViews:
        generator = torch.Generator().manual_seed(
            derived_seed(self.config.seed, _VIEWS, batch.epoch, batch.number, self.global_rank, view)
        )
        views = augment(batch.crops[rows], batch.keypoints[rows], self.config.augmentation, generator)
        if batch.turns_deg is None:
            return views
        if not self.config.loss.equivariant:
            raise HandsimError(
                "pairs are alike only up to a turn in the picture, which loss.equivariant false does not "
                "undo; set it true, or fit the embedding without --up-to-turn and build the index again"
            )
        return replace(views, hand_deg=batch.turns_deg[rows])

    def _project(self, views: list[AugmentedViews]) -> list[Tensor]:
        """Projections of all views in one pass, so that batch norm sees them together."""
        features = self.encoder(torch.cat([view.images for view in views]))
        return list(self.head(features).split([len(view.images) for view in views]))


def keypoints_for_weights(views: AugmentedViews) -> Tensor:
    """Keypoints [B, 21, 2] from which the published loss makes its weights, in pixels of a view 128 wide.

    Views of the papers are that wide, and the steepness of sigmoid weights depends on the unit. Where pairs
    are alike up to a turn of the hand, that is taken out, and the view's own turn stays.
    """
    keypoints = views.keypoints if views.hand_deg is None else turn_back(views.keypoints, views.hand_deg)
    return keypoints * _WEIGHTED_PX


def turn_deg(views: AugmentedViews) -> Tensor:
    """[B] by which the hands in views are turned: by the view, and where it is undone, in the crop before."""
    return views.angle_deg if views.hand_deg is None else views.angle_deg + views.hand_deg


def turn_back(keypoints: Tensor, angle_deg: Tensor) -> Tensor:
    """Keypoints [B, 21, 2] turned about their mean by minus ``angle_deg`` [B]."""
    mean = keypoints.mean(1, keepdim=True)
    x, y = (keypoints - mean).unbind(-1)
    angle = angle_deg.deg2rad()[:, None]
    cosine, sine = angle.cos(), angle.sin()
    return mean + torch.stack([cosine * x - sine * y, sine * x + cosine * y], dim=-1)


def points_for_weights(
    weighting: Weighting, batch: PairBatch, rows: Tensor, views: Sequence[AugmentedViews], vectors: Tensor
) -> Tensor:
    """What the loss makes weights of the hands at ``rows`` [n] from, in the order of their views.

    Keypoints [n, 21, 2] in pixels of a view, or of SiMHand's crop, 128 wide; or their ``vectors`` [n, D].
    """
    if weighting.reads_vectors:
        return vectors
    if weighting.source == "crops":
        keypoints = batch.keypoints[rows]
        if batch.turns_deg is not None:
            keypoints = turn_back(keypoints, batch.turns_deg[rows])
        return keypoints * (_WEIGHTED_PX * batch.crop_enlargement / CROP_ENLARGEMENT)
    return torch.cat(list(map(keypoints_for_weights, views)))


def _record_of(batch: PairBatch) -> dict[str, Any]:
    """The hands of a batch, for ``diverged.json``."""
    hand_ids = [format_hand_id(hand_id) for hand_id in batch.hand_ids.tolist()]
    return {
        "index_version": batch.version,
        "anchors": [hand_ids[row] for row in batch.anchors.tolist()],
        "positives": [hand_ids[row] for row in batch.positives.tolist()],
        "negatives": [hand_ids[row] for row in batch.negatives.tolist()],
    }

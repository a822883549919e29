"""One step of fine-tuning an estimator of hand poses on labelled hands."""

import math
from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor

from training.augmentation import Views, augment
from training.finetune.batch import HandBatch
from training.finetune.config import FinetuneConfig
from training.finetune.targets import targets_of
from training.models.estimator import build_estimator
from training.runs.divergence import DivergedError
from training.runs.module import RunModule
from training.runs.schedule import Schedule
from training.runs.seeds import derived_seed

_INITIAL_WEIGHTS: Final = 2
_VIEWS: Final = 3
"""What a seed is drawn for; each has a stream of random numbers of its own, apart from pre-training's."""


class FinetuneModule(RunModule):
    """A trunk and the estimator on top of it.

    Every random number is a function of the seed and of what is being done (epoch, batch, process), never of
    what was drawn before: a run that is resumed anywhere goes on as if it had not been stopped.
    """

    def __init__(self, config: FinetuneConfig, schedule: Schedule, *, init: bool = True) -> None:
        """Build the network, its trunk with the weights that ``encoder.init`` names or random ones.

        Without ``init`` they are random, for a checkpoint to be loaded.
        """
        super().__init__(schedule, config.optimizer)
        self.config = config
        with torch.random.fork_rng():
            torch.manual_seed(derived_seed(config.seed, _INITIAL_WEIGHTS))
            encoder = config.encoder if init else replace(config.encoder, init=None)
            self.estimator = build_estimator(encoder, config.estimator)
        if config.trainer.freeze_trunk == "always":
            self.estimator.freeze_trunk()  # the optimizer does not get to know it
        self.parts: dict[str, Tensor] = {}
        """Of the last batch's loss, by name."""
        self.last: tuple[Views, Any] | None = None
        """The last batch's views and what the network said of them, for those who want to look at them."""

    def training_step(self, batch: HandBatch, batch_index: int) -> Tensor:
        """The loss of one batch; raises DivergedError if it is no number, before a weight moves."""
        if self.config.trainer.freeze_trunk != "always":
            self._freeze_or_free(self.config.trainer.freezes(batch.epoch))
        views = self._views(batch)
        said = self.estimator(views.images)
        losses = self.estimator.loss(said, targets_of(batch, views))
        loss = losses.pop("loss")
        self.loss, self.parts = float(loss.detach()), {name: part.detach() for name, part in losses.items()}
        if not math.isfinite(self.loss):
            raise DivergedError(self.loss, batch, {"sample_ids": list(batch.sample_ids)})
        self.last = (views, said)
        self.batches_done = batch_index + 1
        return loss

    def _views(self, batch: HandBatch) -> Views:
        drawn = torch.Generator().manual_seed(
            derived_seed(self.config.seed, _VIEWS, batch.epoch, batch.number, self.global_rank)
        )
        return augment(batch.crops, batch.keypoints, self.config.augmentation, drawn)

    def _freeze_or_free(self, frozen: bool) -> None:
        """Neither gradients nor running statistics reach a trunk that is frozen.

        A frozen weight has no gradient, and what has none the optimizer passes over, its decay too.
        """
        self.estimator.encoder.requires_grad_(not frozen).train(not frozen)

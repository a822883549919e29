"""One step of contrastive pre-training: SimCLR, PeCLR, TempCLR or SiMHand, whichever the recipe makes it."""

import math
from dataclasses import dataclass, replace
from typing import Any, Final

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from training.augmentation import Views, augment
from training.equivariance import undo_motion
from training.losses import nt_xent
from training.models.encoder import build_encoder
from training.models.projection_head import ProjectionHead
from training.pairs import PairBatch
from training.pretrain.config import PretrainConfig
from training.pretrain.divergence import DivergedError
from training.pretrain.optimizer import make_optimizer, warmup_cosine

_INITIAL_WEIGHTS: Final = 0
_VIEWS: Final = 1
"""What a seed is drawn for; each has a stream of random numbers of its own."""

_WEIGHED_PX: Final = 128


@dataclass(frozen=True)
class Schedule:
    """How long a run is."""

    batches_an_epoch: int
    """Batches of each process in which every anchor is seen once."""
    batches: int
    """In the whole run."""
    full_batches: int
    """In all its epochs: what the learning rate is laid out for, even where a run is cut short."""
    pairs_a_step: int
    """Pairs behind one optimizer step, over all processes and accumulated batches."""
    accumulate: int
    """Batches behind one optimizer step."""

    @property
    def steps(self) -> int:
        """Optimizer steps in the whole run; batches left over at its end make one, too."""
        return -(-self.batches // self.accumulate)

    @property
    def full_steps(self) -> int:
        """Optimizer steps in all its epochs."""
        return -(-self.full_batches // self.accumulate)


class PretrainModule(lightning.LightningModule):
    """An encoder and its projection head, trained to tell pairs apart.

    Every random number is a function of the seed and of what is being done (epoch, batch, process), never of
    what was drawn before: a run that is resumed anywhere goes on as if it had not been stopped.
    """

    def __init__(self, config: PretrainConfig, schedule: Schedule, *, init: bool = True) -> None:
        """Build the networks, with the weights that the recipe's ``encoder.init`` names or random ones.

        Without ``init`` they are random, for a checkpoint to be loaded.
        """
        super().__init__()
        self.config, self.schedule = config, schedule
        with torch.random.fork_rng():
            torch.manual_seed(_seed(config.seed, _INITIAL_WEIGHTS))
            self.encoder = build_encoder(config.encoder if init else replace(config.encoder, init=None))
            self.head = ProjectionHead(self.encoder.features, config.head.hidden, config.head.out)
        self.facts: dict[str, Any] = {}
        """What a checkpoint says of the run, beside its weights: config, pool, index."""
        self.batches_done = 0
        """Batches that were trained on, this run's earlier sessions counted in."""
        self.loss = float("nan")
        """Of the last batch: the mean over this process's rows."""
        self.views: tuple[Views, Views] | None = None
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
            raise DivergedError(self.loss, batch)
        self.batches_done = batch_index + 1
        return loss

    def _views(self, batch: PairBatch, rows: Tensor, view: int) -> Views:
        drawn = torch.Generator().manual_seed(
            _seed(self.config.seed, _VIEWS, batch.epoch, batch.number, self.global_rank, view)
        )
        return augment(batch.crops[rows], batch.keypoints[rows], self.config.augmentation, drawn)

    def _project(self, views: list[Views]) -> list[Tensor]:
        """Projections of all views in one pass, so that batch norm sees them together."""
        features = self.encoder(torch.cat([view.images for view in views]))
        return list(self.head(features).split([len(view.images) for view in views]))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The recipe's optimizer and its schedule, stepped with every optimizer step."""
        settings, schedule = self.config.optimizer, self.schedule
        optimizer = make_optimizer(self, settings, schedule.pairs_a_step)
        warmup = settings.warmup_epochs * schedule.batches_an_epoch / schedule.accumulate
        rates = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: warmup_cosine(step, warmup, schedule.full_steps)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": rates, "interval": "step"}}

    def transfer_batch_to_device(
        self, batch: PairBatch, device: torch.device, dataloader_idx: int
    ) -> PairBatch:
        """Copies overlap with what the GPU is doing: the batch lies in pinned memory."""
        return batch.to(device, non_blocking=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Beside Lightning's own state, what the run is and how far it is."""
        checkpoint["handsim"] = {**self.facts, "batches_done": self.batches_done}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from the batch after the last one."""
        self.batches_done = int(checkpoint["handsim"]["batches_done"])
        # A run that was over can be given more steps: its last batch is then no longer the last one.
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        progress["is_last_batch"] = self.batches_done == self.schedule.batches


def weighed_keypoints(views: Views) -> Tensor:
    """Keypoints [B, 21, 2] of views as the loss weighs them: in pixels of a view 128 wide, whatever its size.

    So the paper's, in whose unit the steepness of sigmoid weights is told.
    """
    return views.keypoints * _WEIGHED_PX


def _seed(*numbers: int) -> int:
    """63 bits that any of the numbers changes wholly; the same ones on every machine."""
    state = 0
    for number in numbers:
        state = (state ^ (number + 0x9E3779B97F4A7C15)) & 0xFFFFFFFFFFFFFFFF
        # The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state >> 1

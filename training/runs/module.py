"""What the loop needs to know of a network in training, and what a checkpoint keeps beside its weights.

A loss that is no number: what is said, and what is kept for whoever looks into it.
"""

import json
from pathlib import Path
from typing import Any, Protocol, TypeVar

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler

from handsim.errors import HandsimError
from handsim.files import write_text_atomically
from training.runs.optimizer import OptimizerSettings, Schedule, make_optimizer, warmup_cosine

BatchT = TypeVar("BatchT", bound="Batch")


class Batch(Protocol):
    """A batch on its way to a device."""

    @property
    def epoch(self) -> int:
        """From 0."""

    @property
    def number(self) -> int:
        """Of the batch in its epoch, from 0."""

    def to(self: BatchT, device: torch.device | str, *, non_blocking: bool = False) -> BatchT:
        """The same batch with its tensors on a device."""


class RunModule(lightning.LightningModule):
    """A network in training; what is trained, and towards what, is its subclass's ``training_step``.

    That sets ``loss`` and ``batches_done``, and raises `DivergedError` for a loss that is no number.
    """

    def __init__(self, schedule: Schedule, optimizer: OptimizerSettings) -> None:
        """How long it is trained, and how its weights follow the gradient."""
        super().__init__()
        self.schedule = schedule
        self._optimizer_settings = optimizer
        self.facts: dict[str, Any] = {}
        """What a checkpoint says of the run, beside its weights."""
        self.batches_done = 0
        """Batches that were trained on, this run's earlier sessions counted in."""
        self.loss = float("nan")
        """Of the last batch: the mean over this process's samples."""

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The recipe's optimizer and its schedule, stepped with every optimizer step."""
        settings, schedule = self._optimizer_settings, self.schedule
        optimizer = make_optimizer(self, settings, schedule.samples_a_step)
        warmup = settings.warmup_epochs * schedule.batches_an_epoch / schedule.accumulate
        rates = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: warmup_cosine(step, warmup, schedule.full_steps)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": rates, "interval": "step"}}

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
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

    def is_whole(self) -> bool:
        """Whether all of its weights and running statistics are numbers."""
        return all(bool(torch.isfinite(tensor).all()) for tensor in self.state_dict().values())


class DivergedError(HandsimError):
    """The loss became NaN or infinite; no weight was moved by it."""

    def __init__(self, loss: float, batch: Batch, samples: dict[str, Any]) -> None:
        """``batch`` is the one that gave this ``loss``; ``samples`` says in JSON's values what is in it."""
        super().__init__(
            f"the loss is {loss} in batch {batch.number} of epoch {batch.epoch}; "
            f"resume from the last checkpoint with a lower --optimizer.lr, or look at the hands of that batch"
        )
        self._facts = {"loss": str(loss), "epoch": batch.epoch, "batch": batch.number, **samples}

    def write(self, path: Path) -> None:
        """Write which batch it was, with the hands in it, as JSON."""
        write_text_atomically(path, json.dumps(self._facts, indent=1) + "\n")

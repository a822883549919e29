"""The network in training: what the loop needs to know of it, and what a checkpoint says beside its weights.

Random numbers are functions of the seed and of what is being done (epoch, batch, process), through
`derived_seed`, never of what was drawn before: so a run that is resumed anywhere is equal to the bit to one
that was not stopped.
"""

import json
from pathlib import Path
from typing import Any, Protocol, TypeVar

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn

from handsim.errors import HandsimError
from handsim.files import write_text_atomically
from handsim.hashing import GOLDEN_GAMMA, mix64
from training.runs.optimizer import OptimizerSettings, make_optimizer, warmup_cosine
from training.runs.settings import Schedule

BatchT = TypeVar("BatchT", bound="Batch")


def derived_seed(*numbers: int) -> int:
    """63 bits that any of the numbers changes wholly; the same ones on every machine."""
    state = 0
    for number in numbers:
        state = mix64((state ^ (number + GOLDEN_GAMMA)) & 0xFFFFFFFFFFFFFFFF)
    return state >> 1


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
    """A network in training; a subclass's ``training_step`` says what is trained, and towards what.

    That sets ``loss`` and ``batches_done``, and raises `DivergedError` for a loss that is NaN or infinite.
    """

    def __init__(self, schedule: Schedule, optimizer: OptimizerSettings) -> None:
        super().__init__()
        self.schedule = schedule
        self._optimizer_settings = optimizer
        self.metadata: dict[str, Any] = {}
        """What a checkpoint and ``facts.json`` say of the run."""
        self.batches_done = 0
        """Batches that were trained on, in this session of the run and in earlier ones."""
        self.loss = float("nan")
        """Of the last batch: the mean over this process's samples."""

    @property
    def slow_part(self) -> tuple[nn.Module | None, float]:
        """A part of the network that is trained more slowly, and its learning rate in those of the rest."""
        return None, 1.0

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The recipe's optimizer and its schedule, which advances with every optimizer step."""
        settings, schedule = self._optimizer_settings, self.schedule
        slow_part, slow_factor = self.slow_part
        optimizer = make_optimizer(
            self,
            settings,
            schedule.samples_a_step,
            schedule.accumulate,
            slow_part=slow_part,
            slow_factor=slow_factor,
        )
        warmup = settings.warmup_epochs * schedule.batches_an_epoch / schedule.accumulate
        rates = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: warmup_cosine(step, warmup, schedule.full_steps)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": rates, "interval": "step"}}

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Copy from pinned memory, while the GPU works."""
        return batch.to(device, non_blocking=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["handsim"] = {**self.metadata, "batches_done": self.batches_done}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.batches_done = int(checkpoint["handsim"]["batches_done"])
        # A run that was over can be given more steps: its last batch is then no longer the last one.
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        progress["is_last_batch"] = self.batches_done == self.schedule.batches

    def is_finite(self) -> bool:
        """Whether all weights and running statistics are finite numbers."""
        return all(bool(torch.isfinite(tensor).all()) for tensor in self.state_dict().values())


class DivergedError(HandsimError):
    """The loss became NaN or infinite; no weight was moved by it."""

    def __init__(self, loss: float, batch: Batch, samples: dict[str, Any]) -> None:
        """``samples`` says in JSON's values what is in the batch that had this loss."""
        super().__init__(
            f"the loss is {loss} in batch {batch.number} of epoch {batch.epoch}; "
            f"resume from the last checkpoint with a lower --optimizer.lr, or look at the hands of that batch"
        )
        self._record = {"loss": str(loss), "epoch": batch.epoch, "batch": batch.number, **samples}

    def write(self, path: Path) -> None:
        """Write which batch it was, with the hands in it, as JSON."""
        write_text_atomically(path, json.dumps(self._record, indent=1) + "\n")

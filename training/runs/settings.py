"""What the recipes of all kinds of training have in common, as frozen dataclasses."""

from dataclasses import dataclass
from typing import Literal

from handsim.errors import HandsimError

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


@dataclass(frozen=True)
class TrainerSettings:
    """How long, on what, and in what portions."""

    epochs: int = 100
    """How often every sample (in pre-training: every anchor) is seen."""
    batch_size: int = 1024
    """Samples (in pre-training: pairs) in each process's batch."""
    accumulate: int = 1
    """Batches whose gradients are added up before a step; pairs have their negatives in one batch."""
    precision: Precision = "bf16-mixed"
    """``32-true`` for results that are equal to the bit on a CPU."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """``auto``: GPUs where there are any."""
    devices: int | Literal["auto"] = "auto"
    """Processes on this machine, each with a GPU of its own (on a CPU: ``auto`` is one)."""
    nodes: int = 1
    """Machines; `torchrun` or the cluster's scheduler starts a process for each device."""
    workers: int = 8
    """Processes that decode pictures, for each training process; 0 decodes on threads."""
    sync_batch_norm: bool = True
    """With several GPUs, take batch norm's statistics over all of them."""
    max_steps: int | None = None
    """Stop after so many optimizer steps; the learning rate is cut there, not squeezed."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate", "nodes"):
            check_at_least(f"trainer.{name}", getattr(self, name), 1)
        check_at_least("trainer.workers", self.workers, 0)
        if self.devices != "auto":
            check_at_least("trainer.devices", self.devices, 1)
        if self.max_steps is not None:
            check_at_least("trainer.max_steps", self.max_steps, 1)


@dataclass(frozen=True)
class LogSettings:
    """What is written while it trains, counted in optimizer steps."""

    metrics_every_steps: int = 20
    """A line of numbers: loss, rate, shares of time spent waiting."""
    figures_every_steps: int = 1000
    """A picture of what it trains on; 0 draws none."""
    checkpoint_every_steps: int = 1000
    """How much a killed run loses at most. Each epoch's end keeps one, too."""
    tensorboard: bool = True
    """Write the same numbers and pictures for TensorBoard."""

    def __post_init__(self) -> None:
        check_at_least("log.metrics_every_steps", self.metrics_every_steps, 1)
        check_at_least("log.figures_every_steps", self.figures_every_steps, 0)
        check_at_least("log.checkpoint_every_steps", self.checkpoint_every_steps, 1)


def check_at_least(name: str, value: int, least: int) -> None:
    """Raises HandsimError for a setting below its bound."""
    if value < least:
        raise HandsimError(f"{name} is {value}; it is at least {least}")

"""Settings that all kinds of training have in common, and the length of a run that follows from them.

Lengths are counted in batches of each process and in optimizer steps; a step takes ``accumulate`` batches.
"""

from dataclasses import dataclass
from typing import Literal

from handsim.errors import HandsimError

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


@dataclass(frozen=True)
class TrainerSettings:
    """How long to train, on what, and in what portions."""

    epochs: int = 100
    """How often every sample (in pre-training: every anchor) is trained on."""
    steps: int | None = None
    """The length in optimizer steps, in place of ``epochs``: runs on different numbers of samples are then
    equally long. The learning rate is laid out for it."""
    batch_size: int = 1024
    """Samples (in pre-training: pairs) in each process's batch."""
    accumulate: int = 1
    """Batches whose gradients are added up before a step; pairs have their negatives in one batch."""
    precision: Precision = "bf16-mixed"
    """``32-true`` for results that are equal to the bit on a CPU."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """``auto``: GPUs where there are any."""
    devices: int | Literal["auto"] = "auto"
    """Processes on this machine, each with a device of its own. ``auto``: as many as `torchrun` or `srun`
    started, else one for each GPU, else one."""
    nodes: int = 1
    """Machines; `torchrun` or the cluster's scheduler starts a process for each device."""
    workers: int = 8
    """Processes that decode pictures, for each training process; 0 decodes on threads."""
    sync_batch_norm: bool = True
    """With several GPUs, take batch norm's statistics over all of them."""
    max_steps: int | None = None
    """Stop after so many optimizer steps, before the end: the learning rate is cut there, not squeezed."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate", "nodes"):
            check_at_least(f"trainer.{name}", getattr(self, name), 1)
        check_at_least("trainer.workers", self.workers, 0)
        if self.devices != "auto":
            check_at_least("trainer.devices", self.devices, 1)
        for name in ("steps", "max_steps"):
            if getattr(self, name) is not None:
                check_at_least(f"trainer.{name}", getattr(self, name), 1)


@dataclass(frozen=True)
class LogSettings:
    """What is written during training, counted in optimizer steps."""

    metrics_every_steps: int = 20
    """A line of numbers: loss, rate, shares of time spent waiting."""
    figures_every_steps: int = 1000
    """A picture of what is trained on; 0 draws none."""
    checkpoint_every_steps: int = 1000
    """How much a killed run loses at most. A checkpoint is written at the end of each epoch, too."""
    tensorboard: bool = True
    """Write the same numbers and pictures for TensorBoard."""

    def __post_init__(self) -> None:
        check_at_least("log.metrics_every_steps", self.metrics_every_steps, 1)
        check_at_least("log.figures_every_steps", self.figures_every_steps, 0)
        check_at_least("log.checkpoint_every_steps", self.checkpoint_every_steps, 1)


def check_at_least(name: str, value: int, least: int) -> None:
    """Raise HandsimError for a setting below its bound."""
    if value < least:
        raise HandsimError(f"{name} is {value}; it is at least {least}")


def check_fraction(fraction: float) -> None:
    """Raise HandsimError for what is no share of the labels."""
    if not 0 < fraction <= 1:
        raise HandsimError(
            f"data.label_fraction is {fraction}; it lies above 0 and goes to 1, where all labels are used"
        )


@dataclass(frozen=True)
class Schedule:
    """The length of a run."""

    batches_an_epoch: int
    """Batches of each process in which every sample occurs once."""
    batches: int
    """Batches of each process in the whole run."""
    full_batches: int
    """Those of the whole length: the learning rate is laid out for them, even where a run is cut short."""
    samples_a_step: int
    """Samples (in pre-training: pairs) in one optimizer step, over all processes and accumulated batches."""
    accumulate: int
    """Batches in one optimizer step."""

    @classmethod
    def of(cls, settings: TrainerSettings, batches_an_epoch: int, processes: int) -> "Schedule":
        """The schedule of a run whose epochs have so many batches on each of ``processes``."""
        full = settings.epochs * batches_an_epoch
        if settings.steps is not None:
            full = settings.steps * settings.accumulate
        cut = full if settings.max_steps is None else settings.max_steps * settings.accumulate
        return cls(
            batches_an_epoch=batches_an_epoch,
            batches=min(full, cut),
            full_batches=full,
            samples_a_step=settings.batch_size * processes * settings.accumulate,
            accumulate=settings.accumulate,
        )

    @property
    def steps(self) -> int:
        """Optimizer steps in the whole run; batches that are left over at its end make one, too."""
        return -(-self.batches // self.accumulate)

    @property
    def full_steps(self) -> int:
        """Optimizer steps in the whole length."""
        return -(-self.full_batches // self.accumulate)

    def ends_step(self, done: int) -> bool:
        """Whether batch ``done`` (counted from 1) is the last one of an optimizer step."""
        return done % self.accumulate == 0 or done >= self.batches

    def ends_epoch(self, done: int, every: int = 1) -> bool:
        """Whether an epoch, or ``every`` of them, ends in the step whose last batch is ``done``."""
        before = max(0, done - self.accumulate)
        return done // (every * self.batches_an_epoch) > before // (every * self.batches_an_epoch)

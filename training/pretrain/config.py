"""What a recipe says: everything that decides a pre-training run, as frozen dataclasses."""

from dataclasses import dataclass, field
from typing import Literal

from handsim.errors import HandsimError
from training.augmentation import AugmentationSettings
from training.losses import Weighting
from training.models.encoder import EncoderSettings
from training.pairs import PairSettings
from training.pretrain.feedback_settings import FeedbackSettings
from training.pretrain.optimizer import OptimizerSettings

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


@dataclass(frozen=True)
class HeadSettings:
    """The projection head: linear, batch norm, ReLU, linear (PeCLR: 2048-512-128)."""

    hidden: int = 512
    """Width of the hidden layer."""
    out: int = 128
    """M, the length of a projection; even, because PeCLR reads it as M/2 points."""

    def __post_init__(self) -> None:
        _at_least("head.hidden", self.hidden, 1)
        if self.out < 2 or self.out % 2:
            raise HandsimError(f"head.out is {self.out}; it is even and at least 2")


@dataclass(frozen=True)
class LossSettings:
    """What the projections are trained towards."""

    temperature: float = 0.5
    """Divides the cosine of two projections."""
    equivariant: bool = True
    """Undo each view's translation and rotation in its projection first (PeCLR, SiMHand); SimCLR does not."""
    weighting: Weighting = field(default_factory=Weighting)
    """SiMHand's adaptive weights; off by default."""

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise HandsimError(f"loss.temperature is {self.temperature}; it is above 0")


@dataclass(frozen=True)
class TrainerSettings:
    """How long, on what, and in what portions."""

    epochs: int = 100
    """How often every anchor is seen."""
    batch_size: int = 1024
    """Pairs in each process's batch; the negatives are the whole batch over all processes."""
    accumulate: int = 1
    """Batches whose gradients are added up before a step; negatives stay within one batch."""
    precision: Precision = "bf16-mixed"
    """``32-true`` for results that are equal to the bit on a CPU."""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """``auto``: GPUs where there are any."""
    devices: int | Literal["auto"] = "auto"
    """Processes on this machine, each with a GPU of its own (on a CPU: ``auto`` is one)."""
    nodes: int = 1
    """Machines; `torchrun` or the cluster's scheduler starts a process for each device."""
    workers: int = 8
    """Processes that decode crops, for each training process; 0 decodes on threads."""
    sync_batch_norm: bool = True
    """With several GPUs, take batch norm's statistics over all of them."""
    max_steps: int | None = None
    """Stop after so many optimizer steps; the learning rate is cut there, not squeezed."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulate", "nodes"):
            _at_least(f"trainer.{name}", getattr(self, name), 1)
        _at_least("trainer.workers", self.workers, 0)
        if self.devices != "auto":
            _at_least("trainer.devices", self.devices, 1)
        if self.max_steps is not None:
            _at_least("trainer.max_steps", self.max_steps, 1)


@dataclass(frozen=True)
class LogSettings:
    """What is written while it trains, counted in optimizer steps."""

    metrics_every_steps: int = 20
    """A line of numbers: loss, rate, shares of time spent waiting."""
    figures_every_steps: int = 1000
    """A picture of the pairs it trains on; 0 draws none."""
    checkpoint_every_steps: int = 1000
    """How much a killed run loses at most. Each epoch's end keeps one, too."""
    tensorboard: bool = True
    """Write the same numbers and pictures for TensorBoard."""

    def __post_init__(self) -> None:
        _at_least("log.metrics_every_steps", self.metrics_every_steps, 1)
        _at_least("log.figures_every_steps", self.figures_every_steps, 0)
        _at_least("log.checkpoint_every_steps", self.checkpoint_every_steps, 1)


@dataclass(frozen=True)
class PretrainConfig:
    """A recipe."""

    encoder: EncoderSettings = field(default_factory=EncoderSettings)
    """The network that is pre-trained."""
    head: HeadSettings = field(default_factory=HeadSettings)
    """What is put on top of it meanwhile, and thrown away afterwards."""
    pairs: PairSettings = field(default_factory=PairSettings)
    """Where positives and negatives come from."""
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    """How a view is made of a crop."""
    loss: LossSettings = field(default_factory=LossSettings)
    """What the projections are trained towards."""
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    """How the weights follow the gradient."""
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    """How long, on what, and in what portions."""
    log: LogSettings = field(default_factory=LogSettings)
    """What is written while it trains."""
    feedback: FeedbackSettings = field(default_factory=FeedbackSettings)
    """Mining in what was learned so far; off by default."""
    seed: int = 1
    """Decides the initial weights, the batches, the choice of positives and the augmentations."""

    def __post_init__(self) -> None:
        if self.trainer.batch_size < 2:
            raise HandsimError("trainer.batch_size is 1; contrast needs at least 2 pairs in a batch")
        if self.feedback.every_epochs:
            self._check_feedback()

    def _check_feedback(self) -> None:
        """What it publishes must be heard of, and understood."""
        pairs = self.pairs
        if pairs.policy.max_distance is not None or pairs.negatives_per_anchor:
            raise HandsimError(
                "feedback publishes index versions whose distances mean something else each time; "
                "leave pairs.policy.max_distance and pairs.negatives_per_anchor out, or feedback.every_epochs"
            )
        if pairs.positives != "neighbours" or pairs.table is not None:
            why = f"pairs come from {pairs.table or pairs.positives}"
        elif pairs.pin_version is not None:
            why = f"pairs.pin_version is {pairs.pin_version}"
        else:
            return
        raise HandsimError(
            f"feedback publishes index versions, but {why}, so that nobody asks them; "
            f"set feedback.every_epochs to 0, or take pairs from the live index"
        )


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise HandsimError(f"{name} is {value}; it is at least {least}")

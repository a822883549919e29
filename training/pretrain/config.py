"""Settings of a pre-training run, as frozen dataclasses that recipes (YAML files) fill."""

from dataclasses import dataclass, field
from typing import Final, Literal

from handsim.embedding.networks import check_size
from handsim.errors import HandsimError
from training.augmentation import AugmentationSettings
from training.losses import NearNegatives, Weighting
from training.models.encoder import EncoderSettings
from training.pairs import PairSettings
from training.runs.optimizer import OptimizerSettings
from training.runs.recipes import SHIPPED, Recipes
from training.runs.settings import LogSettings, TrainerSettings, check_at_least


@dataclass(frozen=True)
class HeadSettings:
    """The projection head: linear, batch norm, ReLU, linear (PeCLR: 2048-512-128)."""

    hidden: int = 512
    """Width of the hidden layer."""
    out: int = 128
    """M, the length of a projection; even, because PeCLR reads it as M/2 points."""

    def __post_init__(self) -> None:
        check_at_least("head.hidden", self.hidden, 1)
        if self.out < 2 or self.out % 2:
            raise HandsimError(f"head.out is {self.out}; it is even and at least 2")


@dataclass(frozen=True)
class LossSettings:
    """The contrastive loss of the projections."""

    temperature: float = 0.5
    """Divides the cosine of two projections."""
    equivariant: bool = True
    """Undo each view's translation and rotation in its projection first (PeCLR, SiMHand); SimCLR does not."""
    negatives: Literal["all_processes", "own_process"] = "all_processes"
    """What a view is compared with: the batches of all processes, or that of its own alone, as probably in
    SiMHand's code, where each of eight GPUs has 1,024 of the 8,192 pairs. A queue is of all processes."""
    weighting: Weighting = field(default_factory=Weighting)
    """SiMHand's adaptive weights; off by default."""
    near: NearNegatives = field(default_factory=NearNegatives)
    """Negatives in nearly the pose of the anchor, which are left out or count less; off by default."""
    queue: int = 0
    """Projections of earlier steps that are further negatives, over all processes; each view is one."""

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise HandsimError(f"loss.temperature is {self.temperature}; it is above 0")
        check_at_least("loss.queue", self.queue, 0)

    @property
    def needs_vectors(self) -> bool:
        """Whether it is made from the vectors of a batch's hands in the index."""
        return self.weighting.reads_vectors or self.near.within > 0


@dataclass(frozen=True)
class PretrainConfig:
    """A recipe."""

    encoder: EncoderSettings = field(default_factory=EncoderSettings)
    """The network that is pre-trained."""
    head: HeadSettings = field(default_factory=HeadSettings)
    """The projection head on top of it, which is dropped after pre-training."""
    pairs: PairSettings = field(default_factory=PairSettings)
    """Where positives and negatives come from."""
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    """How a view is made from a crop."""
    loss: LossSettings = field(default_factory=LossSettings)
    """The contrastive loss of the projections."""
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    """How the weights follow the gradient."""
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    """How long to train, on what, and in what portions."""
    log: LogSettings = field(default_factory=LogSettings)
    """What is written during training."""
    seed: int = 1
    """Decides the initial weights, the batches, the choice of positives and the augmentations."""

    def __post_init__(self) -> None:
        check_size(self.encoder.architecture, self.augmentation.size_px, "augmentation.size_px")
        if self.trainer.batch_size < 2:
            raise HandsimError("trainer.batch_size is 1; contrast needs at least 2 pairs in a batch")
        if self.loss.needs_vectors and not self._searches_index:
            setting = "loss.weighting.source" if self.loss.weighting.reads_vectors else "loss.near.within"
            raise HandsimError(
                f"{setting} needs the vectors of a live index, but pairs come from "
                f"{self.pairs.table or self.pairs.positives}; leave it out, or take neighbours from an index"
            )

    @property
    def _searches_index(self) -> bool:
        return self.pairs.positives == "neighbours" and self.pairs.table is None


FORMER: Final = {
    "feedback.every_epochs": "mining with the encoder that is being trained was taken out, because it made "
    "encoders worse and training twice as long (docs/results.md)"
}
"""Settings that runs and recipes were written with, and why one that used them is refused."""
RECIPES: Final = Recipes(PretrainConfig, SHIPPED, "handsim pretrain", former=FORMER)

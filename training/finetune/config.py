"""What a recipe says: everything that decides a fine-tuning run, as frozen dataclasses.

What a fine-tuning recipe says of its data and of how long the trunk stays as it came.

The recipes of fine-tuning: YAML files that fill a `FinetuneConfig`.
"""

from dataclasses import dataclass, field, replace
from typing import Final, Literal

from handsim.errors import HandsimError
from training.augmentation import AugmentationSettings
from training.finetune.data import check_fraction
from training.models.encoder import EncoderSettings
from training.models.estimator import STRIDE_PX, EstimatorSettings
from training.runs.optimizer import LogSettings, OptimizerSettings, TrainerSettings, check_at_least
from training.runs.recipes import SHIPPED, Recipes

MOST_FACTOR: Final = 10.0


@dataclass(frozen=True)
class DataSettings:
    """Which labelled hands are trained on, and how they are cut out of their pictures."""

    dataset: str = "synthetic"
    """freihand, dexycb, assemblyhands or synthetic."""
    root: str | None = None
    """The folder it lies in, as downloaded."""
    train_split: str = "train"
    """What is trained on."""
    val_split: str = "val"
    """What each epoch is judged by."""
    label_fraction: float = 1.0
    """Share of the training split's annotations that are used; a smaller one is part of every larger one."""
    crop_factor: float = 1.75
    """A picture is judged by the square around its 2D joints, this many times as long as the longer side of
    their box (DetNet's)."""
    training_crop_factor: float = 2.6
    """The same, of what views for training are taken from: large enough that turning and moving them shows
    the picture, not repeated edges."""
    training_crop_px: int = 224
    """Side of that, in pixels of the crop."""

    def __post_init__(self) -> None:
        check_fraction(self.label_fraction)
        for name in ("crop_factor", "training_crop_factor"):
            if not 1 <= getattr(self, name) <= MOST_FACTOR:
                raise HandsimError(f"data.{name} is {getattr(self, name)}; it goes from 1 to {MOST_FACTOR:g}")
        check_at_least("data.training_crop_px", self.training_crop_px, 8)


@dataclass(frozen=True)
class FinetuneTrainerSettings(TrainerSettings):
    """How long, on what, in what portions, and whether the trunk takes part."""

    batch_size: int = 128
    """Hands in each process's batch."""
    freeze_trunk: int | Literal["never", "always"] = "never"
    """For how many epochs the ResNet is left as it came, its batch norms' running statistics too, while what
    is on top of it is trained."""

    validate_every_epochs: int = 1
    """How often the validation split is estimated, and the best checkpoint chosen; at the very end, too.
    Where few labels make short epochs, it would take longer than they do."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("trainer.validate_every_epochs", self.validate_every_epochs, 1)
        if isinstance(self.freeze_trunk, int):
            check_at_least("trainer.freeze_trunk", self.freeze_trunk, 0)

    def freezes(self, epoch: int) -> bool:
        """Whether the trunk is left alone in an epoch, from 0."""
        if isinstance(self.freeze_trunk, int):
            return epoch < self.freeze_trunk
        return self.freeze_trunk == "always"


def finetuning_views() -> AugmentationSettings:
    """Views for fine-tuning: PeCLR's turns, moved either way around DetNet's crop, colours changed mildly.

    PeCLR's own changes of colour, which may take away any hue, are for contrast.
    """
    return replace(
        AugmentationSettings(),
        margin=(1.4, 2.1),
        jitter_px=(-15.0, 15.0),
        hue=(0.9, 1.0),
        saturation=(0.6, 1.4),
        value=(0.7, 1.2),
        brightness=(-15.0, 15.0),
    )


def _optimizer() -> OptimizerSettings:
    return OptimizerSettings("adamw", lr=5e-4, scale="none", weight_decay=1e-4, warmup_epochs=1.0)


@dataclass(frozen=True)
class FinetuneConfig:
    """A recipe."""

    encoder: EncoderSettings = field(default_factory=EncoderSettings)
    """The trunk, and in ``init`` the pre-training that it comes from."""
    estimator: EstimatorSettings = field(default_factory=EstimatorSettings)
    """What is put on top of it to tell joints."""
    data: DataSettings = field(default_factory=DataSettings)
    """Which labelled hands are trained on, and how they are cut out of their pictures."""
    augmentation: AugmentationSettings = field(default_factory=finetuning_views)
    """How a view is made of a crop; ``size_px`` is also that of the crops that are judged."""
    optimizer: OptimizerSettings = field(default_factory=_optimizer)
    """How the weights follow the gradient."""
    trainer: FinetuneTrainerSettings = field(default_factory=FinetuneTrainerSettings)
    """How long, on what, in what portions, and whether the trunk takes part."""
    log: LogSettings = field(default_factory=LogSettings)
    """What is written while it trains."""
    seed: int = 1
    """Decides the initial weights, which labels are used, the batches and the augmentations."""

    def __post_init__(self) -> None:
        if self.augmentation.size_px % STRIDE_PX:
            raise HandsimError(
                f"augmentation.size_px is {self.augmentation.size_px}; for an estimator it is a multiple of "
                f"{STRIDE_PX}"
            )


RECIPES: Final = Recipes(FinetuneConfig, SHIPPED / "finetune", "handsim finetune")
"""Those that come with handsim, and how any is read."""

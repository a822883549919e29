"""Settings of a fine-tuning run, as frozen dataclasses that recipes (YAML files) fill."""

from dataclasses import dataclass, field, replace
from typing import Final, Literal

from handsim.embedding.networks import check_size, stride_px
from handsim.errors import HandsimError
from training.augmentation import AugmentationSettings
from training.models.encoder import EncoderSettings
from training.models.estimator import EstimatorSettings
from training.runs.optimizer import OptimizerSettings
from training.runs.recipes import SHIPPED, Recipes
from training.runs.settings import LogSettings, TrainerSettings, check_at_least, check_fraction

_MAX_FACTOR: Final = 10.0


@dataclass(frozen=True)
class DataSettings:
    """The labelled hands, and how they are cut out of their pictures."""

    dataset: str = "synthetic"
    """freihand, dexycb, assemblyhands, ho3d, interhand, generic or synthetic."""
    root: str | None = None
    """The folder it lies in, as downloaded."""
    train_split: str = "train"
    """The split to train on."""
    val_split: str = "val"
    """The split for validation."""
    label_fraction: float = 1.0
    """Share of the training split's annotations that are used; a smaller one is part of every larger one."""
    label_subset: Literal["random", "first"] = "random"
    """Which ones. ``random``: drawn with the seed. ``first``: the first hands of the split in its order, as
    SiMHand and PeCLR take them; of FreiHAND's, a quarter and less are before the green screen alone."""
    skip_bad: str | None = None
    """A list of bad labels, bad.json of `handsim dataset check`: the hands that it names are left out of
    training, and of validation where it has the validation split."""
    crop_factor: float = 1.75
    """Side of the square around a hand in validation and prediction, in longer sides of the box of its 2D
    joints (DetNet's)."""
    training_crop_factor: float = 2.6
    """The same for crops from which views for training are made: large enough that a turned or moved view
    shows the picture, not repeated edges."""
    training_crop_px: int = 224
    """Side of these crops in their own pixels."""

    def __post_init__(self) -> None:
        check_fraction(self.label_fraction)
        for name in ("crop_factor", "training_crop_factor"):
            if not 1 <= getattr(self, name) <= _MAX_FACTOR:
                raise HandsimError(f"data.{name} is {getattr(self, name)}; it goes from 1 to {_MAX_FACTOR:g}")
        check_at_least("data.training_crop_px", self.training_crop_px, 8)


@dataclass(frozen=True)
class FinetuneTrainerSettings(TrainerSettings):
    """How long to train, on what, in what portions, and whether the trunk is trained."""

    batch_size: int = 128
    """Hands in each process's batch."""
    freeze_trunk: int | Literal["never", "always"] = "never"
    """For how many epochs the ResNet stays as it is, with the running statistics of its batch norms, while
    the head is trained."""
    trunk_lr_factor: float = 1.0
    """Learning rate of the trunk, in those of the head: a pre-trained one is kept better by a low one."""
    validate_every_epochs: int = 1
    """How often the error on the validation split is measured, and with it the best checkpoint chosen; at the
    end of the run, too. With few labels epochs are short, and validation can take longer than they do."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("trainer.validate_every_epochs", self.validate_every_epochs, 1)
        if not 0 < self.trunk_lr_factor <= _MAX_FACTOR:
            raise HandsimError(
                f"trainer.trunk_lr_factor is {self.trunk_lr_factor}; it lies above 0 and goes to "
                f"{_MAX_FACTOR:g} (trainer.freeze_trunk: always, for a trunk that stays as it is)"
            )
        if isinstance(self.freeze_trunk, int):
            check_at_least("trainer.freeze_trunk", self.freeze_trunk, 0)

    def freezes(self, epoch: int) -> bool:
        """Whether the trunk is frozen in an epoch, from 0."""
        if isinstance(self.freeze_trunk, int):
            return epoch < self.freeze_trunk
        return self.freeze_trunk == "always"


def finetuning_views() -> AugmentationSettings:
    """Views for fine-tuning: PeCLR's rotations, shifts around DetNet's crop, and mild changes of colour.

    DetNet's crop follows the box of the joints, in validation and prediction as well: so do these. PeCLR's
    changes of colour are for contrastive training: they may remove any hue.
    """
    return replace(
        AugmentationSettings(),
        margin=(1.4, 2.1),
        extent="box",
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
    """The head on top of it, which estimates joints."""
    data: DataSettings = field(default_factory=DataSettings)
    """The labelled hands, and how they are cut out of their pictures."""
    augmentation: AugmentationSettings = field(default_factory=finetuning_views)
    """How a view is made from a crop; ``size_px`` is also the size of crops in validation and prediction."""
    optimizer: OptimizerSettings = field(default_factory=_optimizer)
    """How the weights follow the gradient."""
    trainer: FinetuneTrainerSettings = field(default_factory=FinetuneTrainerSettings)
    """How long to train, on what, in what portions, and whether the trunk is trained."""
    log: LogSettings = field(default_factory=LogSettings)
    """What is written during training."""
    seed: int = 1
    """Decides the initial weights, which labels are used, the batches and the augmentations."""

    def __post_init__(self) -> None:
        size_px, stride = self.augmentation.size_px, stride_px(self.encoder.architecture)
        check_size(self.encoder.architecture, size_px, "augmentation.size_px")
        if size_px % stride:
            raise HandsimError(
                f"augmentation.size_px is {size_px}; for an estimator it is a multiple of {stride}"
            )


RECIPES: Final = Recipes(FinetuneConfig, SHIPPED / "finetune", "handsim finetune")

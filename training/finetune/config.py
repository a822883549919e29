"""What a recipe says: everything that decides a fine-tuning run, as frozen dataclasses."""

from dataclasses import dataclass, field

from handsim.errors import HandsimError
from training.augmentation import AugmentationSettings
from training.finetune.settings import DataSettings, FinetuneTrainerSettings, finetuning_views
from training.models.encoder import EncoderSettings
from training.models.estimator import STRIDE_PX, EstimatorSettings
from training.runs.optimizer import OptimizerSettings
from training.runs.settings import LogSettings


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

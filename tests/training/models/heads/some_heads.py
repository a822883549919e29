"""Every head, on the maps of no trunk."""

from typing import Any, Final

import torch
from torch import Tensor

from training.models.detnet import DetNetHead
from training.models.estimator import HeadName
from training.models.head import PoseHead
from training.models.regressor_25d import Regressor25DHead
from training.models.simple_head import SimpleHead

HANDS: Final = 4
CHANNELS: Final = 64

HEADS: Final[dict[HeadName, type[PoseHead[Any]]]] = {
    "detnet": DetNetHead,
    "regressor_25d": Regressor25DHead,
    "simple": SimpleHead,
}


def make_head(name: HeadName) -> PoseHead[Any]:
    """With the same random weights each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head: PoseHead[Any] = HEADS[name](CHANNELS)
    return head


def stages(seed: int = 0, hands: int = HANDS) -> tuple[Tensor, ...]:
    """What the four stages of a trunk could say of views of 64 pixels."""
    random = torch.Generator().manual_seed(seed)
    return tuple(
        torch.randn(hands, CHANNELS // 2**step, 2 * 2**step, 2 * 2**step, generator=random)
        for step in (3, 2, 1, 0)
    )


def fields(prediction: Any) -> dict[str, Tensor]:
    """The tensors of a prediction; each has [B, 21] first."""
    return dict(vars(prediction))

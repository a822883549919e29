"""What SiMHand's weights of pairs follow: how alike the hands are in 3D, or how their views happened to turn.

The published weights are taken from the augmented keypoints of both views. A view is turned by up to 45
degrees, which moves its keypoints further than another pose does.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from handsim.metrics.pairs import rank_correlation
from training.augmentation import AugmentationSettings, augment
from training.losses.simhand_weights import Weighting, positive_weights

_SMALLEST_PX: Final = 8
"""Pictures are of no account here, and so as small as they may be."""
_WEIGHTS: Final = Weighting(pairs="both")


@dataclass(frozen=True)
class WeightRanks:
    """Spearman's rank correlations of the weights of pairs; -1: the weight only falls with it."""

    pose: float
    """Of the published weights with the error in 3D."""
    turn: float
    """Of the published weights with the angle between both views."""
    pose_before: float
    """Of weights from the keypoints before augmentation with the error in 3D."""


def rank_weights(
    anchors: NDArray[np.floating],
    partners: NDArray[np.floating],
    errors_mm: NDArray[np.floating],
    *,
    augmentation: AugmentationSettings | None = None,
    seed: int = 0,
) -> WeightRanks:
    """Rank the weights of pairs of keypoints [N, 21, 2 or 3] beside their errors [N] in 3D.

    All N are weighed as one batch: for the linear form the ranks do not depend on the others. A pair of the
    denominator is weighed by the same distance, so random pairs tell of negatives.
    """
    settings = replace(augmentation or AugmentationSettings(), size_px=_SMALLEST_PX)
    generator = torch.Generator().manual_seed(seed)
    pictures = torch.zeros(len(anchors), _SMALLEST_PX, _SMALLEST_PX, 3, dtype=torch.uint8)
    hands = [torch.from_numpy(each[..., :2].astype(np.float32)) for each in (anchors, partners)]
    first, second = (augment(pictures, keypoints, settings, generator) for keypoints in hands)
    published = positive_weights(first.keypoints, second.keypoints, _WEIGHTS).numpy()
    before = positive_weights(hands[0], hands[1], _WEIGHTS).numpy()
    turn = (first.angle_deg - second.angle_deg).abs().numpy()
    return WeightRanks(
        pose=rank_correlation(published, errors_mm),
        turn=rank_correlation(published, turn),
        pose_before=rank_correlation(before, errors_mm),
    )

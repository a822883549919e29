"""How SiMHand weighs pairs by the distance between their keypoints."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from handsim.errors import HandsimError

WeightedPairs = Literal["none", "positives", "negatives", "both"]
WeightForm = Literal["linear", "sigmoid"]
KeypointDistance = Literal["mpjpe", "w_abs", "w_o_abs"]


@dataclass(frozen=True)
class Weighting:
    """Which pairs are weighted, and how: SiMHand's adaptive weights (arXiv 2502.15251).

    Raises HandsimError for a name that is none of those listed, and for a lambda that is not at least 0.
    """

    pairs: WeightedPairs = "none"
    """``positives``: the numerator alone; ``negatives``: every pair in the denominator, the positive there
    too; ``none``: plain NT-Xent, which looks at no keypoints."""
    form: WeightForm = "linear"
    """``linear``: from 1 for the nearest pair of the batch to 0 for the furthest; ``sigmoid``:
    1 / (1 + exp(lambda (d - mean d))), which needs keypoints in the unit that lambda is meant for."""
    distance: KeypointDistance = "mpjpe"
    """``mpjpe``: mean over joints of the distance between them; ``w_abs`` and ``w_o_abs``: two older ones, of
    absolute and of signed differences (see `training.losses.keypoint_distances`)."""
    lambda_positive: float = 0.1
    """Steepness of the sigmoid for positives, per unit of the keypoints. SiMHand's 0.1 is per pixel of a view
    128 pixels wide; for keypoints in the unit square that is 12.8."""
    lambda_negative: float = 0.05
    """The same for negatives; SiMHand's 0.05 per pixel is 6.4 in the unit square."""

    def __post_init__(self) -> None:
        known = {"pairs": WeightedPairs, "form": WeightForm, "distance": KeypointDistance}
        for name, names in known.items():
            value = getattr(self, name)
            if value not in get_args(names):
                raise HandsimError(f"{name} is {value!r}; it is one of {', '.join(get_args(names))}")
        for name in ("lambda_positive", "lambda_negative"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise HandsimError(f"{name} is {value}; it is a number of at least 0")

    @property
    def positives(self) -> bool:
        """Whether the numerator is weighted."""
        return self.pairs in ("positives", "both")

    @property
    def negatives(self) -> bool:
        """Whether the denominator is weighted."""
        return self.pairs in ("negatives", "both")

"""PCK: the share of joints within a threshold, over a range of thresholds, and the area under that curve."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError
from handsim.metrics.joint_errors import check_measured


@dataclass(frozen=True)
class PckRange:
    """Evenly spaced thresholds."""

    lowest_mm: float
    """The first threshold."""
    highest_mm: float
    """The last threshold, included."""
    steps: int
    """How many thresholds there are, both ends counted."""

    def __post_init__(self) -> None:
        if not 0 <= self.lowest_mm < self.highest_mm < np.inf or self.steps < 2:
            raise HandsimError(
                f"a PCK range of {self.lowest_mm:g} to {self.highest_mm:g} mm in {self.steps} steps is "
                "empty; it needs 0 <= lowest < highest and at least 2 steps"
            )

    @property
    def thresholds_mm(self) -> NDArray[np.float64]:
        """[steps] ascending."""
        return np.linspace(self.lowest_mm, self.highest_mm, self.steps)


PCK_0_50: Final = PckRange(0.0, 50.0, 100)
"""FreiHAND's and DexYCB's range."""

PCK_20_50: Final = PckRange(20.0, 50.0, 15)
"""The range of the one call that survives in SiMHand's code."""


def pck_curve(errors_mm: NDArray[np.float64], thresholds: PckRange) -> NDArray[np.float64]:
    """The share [steps] of errors [N, 21] that are at most each threshold, in 0 to 1.

    Taken for each joint over the hands that have it (NaN: it has not), then averaged over joints, as FreiHAND
    does. Raises HandsimError where nothing can be measured.
    """
    check_measured(errors_mm)
    joints, steps = errors_mm.shape[1], thresholds.steps
    # NaN sorts last, so it counts as reached by no threshold.
    first_reached = np.searchsorted(thresholds.thresholds_mm, errors_mm, side="left")
    places = first_reached + np.arange(joints) * (steps + 1)
    histogram = np.bincount(places.ravel(), minlength=joints * (steps + 1)).reshape(joints, steps + 1)
    counts = (~np.isnan(errors_mm)).sum(axis=0)
    seen = counts > 0
    within = histogram[seen, :steps].cumsum(axis=1) / counts[seen, None]
    curve: NDArray[np.float64] = within.mean(axis=0)
    return curve


def area_under_curve(curve: NDArray[np.float64], thresholds: PckRange) -> float:
    """Area under a PCK curve [steps] by the trapezoid rule, over the range's width: in 0 to 1."""
    width = thresholds.highest_mm - thresholds.lowest_mm
    return float(np.trapezoid(curve, thresholds.thresholds_mm) / width)

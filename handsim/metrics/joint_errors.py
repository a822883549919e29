"""How far predicted joints are from the true ones, and what is told of it.

FreiHAND, DexYCB and AssemblyHands agree (their official evaluations): a number is taken for each joint over
the hands that have it, and the mean over the joints is reported. Where every joint is valid, the mean is
the plain mean of all errors. Errors are float [N, 21] in mm, NaN where a joint is not to be measured.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from handsim.errors import HandsimError
from handsim.metrics.checked_joints import checked_joints


def joint_errors_mm(
    predicted_mm: ArrayLike, true_mm: ArrayLike, valid: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Euclidean distances [N, 21] of joints [N, 21, 3] in one frame; NaN where not ``valid`` [N, 21].

    Raises HandsimError as `checked_joints` does.
    """
    predicted, true = checked_joints(predicted_mm, true_mm, valid)
    return np.where(valid, np.linalg.norm(predicted - true, axis=-1), np.nan)


def mean_of_each_joint_mm(errors_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean error of each joint [21] over the hands that have it; NaN for a joint that none has."""
    check_measured(errors_mm)
    return _nan_mean(errors_mm, axis=0)


def mean_of_each_hand_mm(errors_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean error of each hand [N] over its joints, to rank hands by; NaN for a hand without any."""
    check_measured(errors_mm)
    return _nan_mean(errors_mm, axis=1)


def mpjpe_mm(errors_mm: NDArray[np.float64]) -> float:
    """Mean per-joint position error: the mean over joints of `mean_of_each_joint_mm`."""
    return float(np.nanmean(mean_of_each_joint_mm(errors_mm)))


def median_mm(errors_mm: NDArray[np.float64]) -> float:
    """The mean over joints of each joint's median error."""
    check_measured(errors_mm)
    seen = ~np.isnan(errors_mm).all(axis=0)
    return float(np.nanmedian(errors_mm[:, seen], axis=0).mean())


def check_measured(errors_mm: NDArray[np.float64]) -> None:
    """Raises HandsimError where no joint of any hand has an error."""
    if np.isnan(errors_mm).all():
        raise HandsimError(
            f"none of the joints of the {len(errors_mm)} hands can be measured: they are not valid, or their "
            "hands lack the joints to be aligned by; choose a split with annotated hands"
        )


def _nan_mean(errors: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    counts = (~np.isnan(errors)).sum(axis=axis)
    mean: NDArray[np.float64] = np.nansum(errors, axis=axis) / np.where(counts > 0, counts, np.nan)
    return mean

"""How far predicted 2D joints are from the true ones, in the picture's pixels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from handsim.errors import HandsimError
from handsim.skeleton import JOINT_COUNT


@dataclass(frozen=True)
class KeypointScores:
    """The numbers of a set of hands, each the mean over joints of the joint's own (see `joint_errors`)."""

    mean_px: float
    """Mean distance. Pictures of different sizes cannot be compared by it."""
    median_px: float
    """Mean over joints of the median distance."""


def score_keypoints(
    predicted_px: ArrayLike, true_px: ArrayLike, valid: NDArray[np.bool_]
) -> KeypointScores | None:
    """Measure 2D joints [N, 21, 2]; ``valid`` [N, 21] are the annotated ones, the others may be NaN.

    None where none is valid. Raises HandsimError for other shapes, for counts that do not match, and for
    predictions that are not finite where they are valid.
    """
    predicted, true = np.asarray(predicted_px, np.float64), np.asarray(true_px, np.float64)
    expected = (len(valid), JOINT_COUNT, 2)
    for joints, kind in ((predicted, "predicted"), (true, "true")):
        if joints.shape != expected:
            raise HandsimError(
                f"the {kind} 2D joints have shape {joints.shape}; expected {expected}, in pixels"
            )
    if not valid.any():
        return None
    errors = np.where(valid, np.linalg.norm(predicted - true, axis=-1), np.nan)
    broken = valid & ~np.isfinite(errors)
    if broken.any():
        raise HandsimError(
            f"the 2D joints of sample {int(broken.any(axis=1).argmax())} are not finite "
            f"({int(broken.any(axis=1).sum())} of {len(valid)} samples are not); predict again with a "
            "network that has not diverged, or mend the annotation"
        )
    seen = valid.any(axis=0)
    return KeypointScores(
        mean_px=float(np.nanmean(errors[:, seen], axis=0).mean()),
        median_px=float(np.nanmedian(errors[:, seen], axis=0).mean()),
    )

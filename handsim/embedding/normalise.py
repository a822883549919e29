"""What of a pose counts: where it lies in the crop, how large it is, or its shape alone."""

from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError
from handsim.skeleton import JOINT_COUNT

Normalisation = Literal["none", "centre", "centre-scale"]
NORMALISATIONS: Final[tuple[Normalisation, ...]] = get_args(Normalisation)


_NO_EXTENT: Final = 1e-9
"""Rounding leaves this much of a hand whose joints all coincide."""


def normalise(keypoints: NDArray[np.floating], normalisation: Normalisation) -> NDArray[np.float64]:
    """Flatten the 2D of keypoints [N, 21, 2 or 3] to [N, 42]: x0, y0, x1, y1, ...

    ``none`` keeps the coordinates (SiMHand, section 3.2), ``centre`` subtracts the mean joint, and
    ``centre-scale`` divides by the root mean square distance to it as well (a hand without extent
    stays as it is: zeros). Raises HandsimError for another shape, NaN or infinity.
    """
    if keypoints.ndim != 3 or keypoints.shape[1] != JOINT_COUNT or keypoints.shape[2] not in (2, 3):
        raise HandsimError(
            f"keypoints have shape {list(keypoints.shape)}; expected [N, {JOINT_COUNT}, 2 or 3]"
        )
    points = keypoints[..., :2].astype(np.float64)
    if not np.isfinite(points).all():
        hand, joint, _ = np.argwhere(~np.isfinite(points))[0]
        raise HandsimError(
            f"keypoints hold NaN or infinity (first in hand {hand}, joint {joint}); leave it out"
        )
    if normalisation != "none":
        points -= points.mean(axis=1, keepdims=True)
    if normalisation == "centre-scale":
        scale = np.sqrt(np.square(points).sum(axis=2).mean(axis=1))[:, None, None]
        np.divide(points, scale, out=points, where=scale > _NO_EXTENT)
    return points.reshape(len(points), -1)

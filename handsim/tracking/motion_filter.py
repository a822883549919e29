"""Which hands of a track are worth keeping: those that have moved since the last one that was kept."""

import math
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.detection.detector import Detection
from handsim.tracking.tracker import Track, mean_length

_USUAL_JITTER: Final = 0.01
"""What joints waver where frames are too far apart to tell, in hand sizes."""
_MAX_JITTER: Final = 0.03
"""What wavers more than this moves."""


class MotionFilter:
    """Chooses hands of the tracks of one video; it is asked in the order of the frames."""

    kept_px: dict[int, NDArray[np.float64]]
    """Number of a track -> joints [21, 2] of the last hand that was kept."""

    def __init__(self, min_motion: float, kept_px: Mapping[int, NDArray[np.float64]] | None = None) -> None:
        """A hand is kept once its joints have moved ``min_motion`` hand sizes, in the mean."""
        self._min_motion, self.kept_px = min_motion, dict(kept_px or {})

    def keeps(self, track: Track, detection: Detection) -> bool:
        """Whether a hand is the first of its track, or has moved since the last one kept.

        The detector's jitter is no motion: what it adds to a mean distance is taken off.
        """
        joints_px = detection.keypoints_px[:, :2].astype(np.float64)
        kept_px = self.kept_px.get(track.number)
        if kept_px is not None:
            box_px = detection.box_px
            moved = mean_length(joints_px - kept_px) / float((box_px[2:] - box_px[:2]).max())
            jitter = _USUAL_JITTER if track.jitter is None else min(track.jitter, _MAX_JITTER)
            # Two places of a resting joint are sqrt(pi) standard deviations apart, in the mean.
            if moved**2 - math.pi * jitter**2 < self._min_motion**2:
                return False
        self.kept_px[track.number] = joints_px
        return True

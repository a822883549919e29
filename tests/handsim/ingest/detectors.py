"""Detectors whose answer a test can foretell; they run in real worker processes."""

import os
import signal

import numpy as np
from numpy.typing import NDArray

from handsim.detection.detector import Detection
from handsim.errors import HandsimError


class BrightnessDetector:
    """Finds one hand in every picture that is not black; its keypoints tell the picture's brightness.

    A pure red picture kills the process, as a broken decoder would.
    """

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """See `HandDetector`."""
        red, green, _ = image.reshape(-1, 3).mean(axis=0)
        if red > 240 and green < 15:
            os.kill(os.getpid(), signal.SIGKILL)
        if image.mean() < 8:
            return []
        height, width = image.shape[:2]
        around = np.linspace(0, 2 * np.pi, 21, endpoint=False)
        size = 0.1 + 0.3 * image.mean() / 255
        points = np.stack(
            [width * (0.5 + size * np.cos(around)), height * (0.5 + size * np.sin(around)), 0 * around], 1
        )
        return [Detection("right", 0.9, points.astype(np.float32))]

    def close(self) -> None:
        """See `HandDetector`."""


class BrokenDetector(BrightnessDetector):
    """Cannot be made."""

    def __init__(self) -> None:
        raise HandsimError("the hand model is not on this computer yet")

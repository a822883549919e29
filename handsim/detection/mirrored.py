"""Pictures of cameras that mirror what they see, as selfie cameras do."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from handsim.detection.detector import Detection, HandDetector, UndetectedError
from handsim.geometry import mirror_points


class MirroredDetector:
    """A `HandDetector` that shows another one each picture turned back.

    So the sides are the true ones. The detections lie in the pixels of the picture as it is, and are marked
    as `mirrored`: their crops come out as those of an unmirrored camera.
    """

    def __init__(self, detector: HandDetector) -> None:
        """``detector`` is closed with this one."""
        self._detector = detector

    def detect(self, pictures: Sequence[NDArray[np.uint8]]) -> list[list[Detection]]:
        """See `HandDetector.detect`."""
        try:
            found = self._detector.detect([np.ascontiguousarray(picture[:, ::-1]) for picture in pictures])
        except UndetectedError as error:
            raise UndetectedError(_mirror(error.found, pictures), error.failures) from error
        return _mirror(found, pictures)

    def close(self) -> None:
        """Close the detector."""
        self._detector.close()


def _mirror(
    found: Sequence[Sequence[Detection]], pictures: Sequence[NDArray[np.uint8]]
) -> list[list[Detection]]:
    return [
        [
            replace(hand, keypoints_px=mirror_points(hand.keypoints_px, picture.shape[1]), mirrored=True)
            for hand in hands
        ]
        for hands, picture in zip(found, pictures, strict=True)
    ]

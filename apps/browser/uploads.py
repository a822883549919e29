"""Hands in a picture that somebody sends."""

from pathlib import Path
from threading import Lock
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from apps.pictures import SeenHand, seen_hands
from handsim.errors import HandsimError
from handsim.keypoints.detector import HandDetector
from handsim.keypoints.ladder import open_detector
from handsim.keypoints.model_file import require_model
from handsim.media.images import decode_image

LIMIT_MB: Final = 25
"""Larger files are refused before they are read."""


_LONGEST_PX: Final = 3_000
"""Larger pictures are made smaller: the detector looks at parts of 192 px, and people wait for it in turn."""


class HandFinder:
    """Finds hands in encoded pictures; sessions share it and take turns."""

    def __init__(self, model: Path | None) -> None:
        """The model is looked for at the first picture; None takes the one in the cache."""
        self._model = model
        self._lock = Lock()
        self._detector: HandDetector | None = None

    def hands(self, data: bytes) -> list[SeenHand]:
        """The hands of a picture, best first; a large picture's boxes are those of the smaller one.

        Raises HandsimError for what is too large, is no picture or shows no hand, NotThereError without a
        model.
        """
        if len(data) > LIMIT_MB * 2**20:
            raise HandsimError(
                f"{len(data) / 2**20:.0f} MB are too many; send a picture of at most {LIMIT_MB} MB"
            )
        image = at_most(decode_image(data), _LONGEST_PX)
        with self._lock:
            if self._detector is None:
                self._detector = open_detector(require_model(self._model))
            seen = seen_hands(image, self._detector)
        if not seen:
            raise HandsimError("no hand was found in it; try a picture where one is larger or clearer")
        return seen


def at_most(image: NDArray[np.uint8], longest_px: int) -> NDArray[np.uint8]:
    """RGB [H, W, 3] with no side longer than that."""
    if max(image.shape[:2]) <= longest_px:
        return image
    smaller = Image.fromarray(image)
    smaller.thumbnail((longest_px, longest_px), Image.Resampling.BOX, reducing_gap=2.0)
    return np.asarray(smaller)

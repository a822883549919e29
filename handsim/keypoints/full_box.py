"""The landmark network alone, told that the whole picture is the hand's box.

MediaPipe's task offers no way past its palm detector, so OpenCV (which comes with mediapipe) runs the same
network out of the same bundle. The two agree to two hundredths of the hand's length (their boxes differ).
"""

import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError
from handsim.geometry import cut_crop, square_around
from handsim.hand import Side
from handsim.keypoints.detector import Detection
from handsim.keypoints.views import View, quarter_turns

if TYPE_CHECKING:
    import cv2

NETWORK = "hand_landmarks_detector.tflite"
OUTPUTS = ("Identity", "Identity_1", "Identity_2")
"""Landmarks [1, 63] in pixels of the input, presence [1, 1], right-handedness [1, 1]."""
INPUT_PX = 224
DEPTH_UNIT = 0.4
"""The network's z is in this unit of its x and y (MediaPipe's ``normalize_z``)."""
ENLARGEMENT = 1.1
"""The network was trained on boxes with some air around the hand."""


class FullBoxHands:
    """Finds at most one hand: the one that fills the picture, in whichever of four directions it points."""

    def __init__(self, model_path: Path, *, min_presence: float = 0.9) -> None:
        """Load the landmark network of a ``.task`` bundle.

        ``min_presence`` (0 to 1) is high because no palm was seen first: this network alone is easily
        persuaded. Raises HandsimError for a bundle without a network that OpenCV can read.
        """
        self._network = _read_network(model_path)
        self._min_presence = min_presence

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """See `HandDetector.detect`. The score is the network's presence."""
        height, width = image.shape[:2]
        square_px = square_around([0.0, 0.0, width, height], ENLARGEMENT)
        crop = cut_crop(image, square_px, INPUT_PX)
        scale = (square_px[2] - square_px[0]) / INPUT_PX
        to_picture = np.array([[scale, 0.0, square_px[0]], [0.0, scale, square_px[1]]])
        looks = [self._look(view) for view in quarter_turns(crop)]
        best = max(looks, key=lambda detection: detection.score)
        if best.score < self._min_presence:
            return []
        keypoints_px = View(crop, to_picture).keypoints_in_picture(best.keypoints_px)
        return [Detection(best.side, best.score, keypoints_px)]

    def close(self) -> None:
        """Nothing to give back."""

    def _look(self, view: View) -> Detection:
        """What the network draws in one view of the crop, in the crop's pixels."""
        pixels = view.image.astype(np.float32).transpose(2, 0, 1)[None] / 255
        self._network.setInput(pixels)
        landmarks, presence, right = (np.asarray(output).ravel() for output in self._network.forward(OUTPUTS))
        keypoints = landmarks.reshape(21, 3).astype(np.float32)
        keypoints[:, 2] = (keypoints[:, 2] - keypoints[0, 2]) / DEPTH_UNIT
        side: Side = "right" if right[0] > 0.5 else "left"
        return Detection(side, float(presence[0]), view.keypoints_in_picture(keypoints))


def _read_network(model_path: Path) -> "cv2.dnn.Net":
    import cv2

    try:
        with zipfile.ZipFile(model_path) as bundle, tempfile.TemporaryDirectory() as folder:
            # From a file: the network must not outlive a buffer that it may still look into.
            return cv2.dnn.readNetFromTFLite(bundle.extract(NETWORK, folder))
    except (OSError, KeyError, zipfile.BadZipFile, cv2.error) as error:
        raise HandsimError(
            f"the model {model_path} holds no {NETWORK} that OpenCV can read; `handsim models fetch` gets one"
        ) from error

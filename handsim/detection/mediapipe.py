"""MediaPipe's networks as two detectors: the hand landmarker (Tasks API), and its landmark network alone.

`MediaPipeHands` first looks for palms. MediaPipe offers no way past that, so for a picture that one hand
fills, `FullBoxHands` runs the landmark network of the same bundle with OpenCV (which comes with mediapipe).
The two agree to two hundredths of the hand's length (their boxes differ).

mediapipe takes most of a second to import, so it is imported when the first detector is made, not with
this module. One detector computes on one core whatever the number of cores (measured: processor time
equals wall-clock time); to use more cores, make one detector per process.
"""

import signal
import tempfile
import threading
import weakref
import zipfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from handsim.detection.detector import Detection
from handsim.detection.merge import drop_duplicates
from handsim.detection.search import CropView, quarter_turns
from handsim.errors import HandsimError
from handsim.geometry import cut_crop, square_around
from handsim.hand import Side
from handsim.processes import quiet_stderr

if TYPE_CHECKING:
    import cv2
    from mediapipe.tasks.python.vision.hand_landmarker import HandLandmarker

_NETWORK: Final = "hand_landmarks_detector.tflite"
_OUTPUTS: Final = ("Identity", "Identity_1", "Identity_2")
"""Landmarks [1, 63] in pixels of the input, presence [1, 1], right-handedness [1, 1]."""
_INPUT_PX: Final = 224
_DEPTH_UNIT: Final = 0.4
"""The network's z is in this unit of its x and y (MediaPipe's ``normalize_z``)."""
_ENLARGEMENT: Final = 1.1
"""The network was trained on boxes with some air around the hand."""
_FULL_BOX_MIN_SCORE: Final = 0.9
"""High, because no palm was found first: alone, the landmark network takes many things for a hand."""


class MediaPipeHands:
    """Finds hands with MediaPipe, for one thread at a time; closed at the latest when the process ends."""

    def __init__(self, model_path: Path) -> None:
        """Load a ``.task`` bundle (see `require_model`); raises HandsimError if MediaPipe cannot read it."""
        _survive_profiling_timers()
        with quiet_stderr():
            self._landmarker = _create(model_path)
        self._finalizer = weakref.finalize(self, _release, self._landmarker)
        self._has_found_hand = False

    def detect(self, pictures: Sequence[NDArray[np.uint8]]) -> list[list[Detection]]:
        """See `HandDetector.detect`. The score is MediaPipe's confidence in the side: it returns no other."""
        if not self._finalizer.alive:
            raise ValueError("this detector is closed")
        return [self._detect(picture) for picture in pictures]

    def _detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
            raise HandsimError(
                f"picture is {image.dtype} {list(image.shape)}; expected uint8 [H, W, 3] (RGB)"
            )
        from mediapipe.tasks.python.vision.core.image import Image, ImageFormat

        picture = Image(image_format=ImageFormat.SRGB, data=np.ascontiguousarray(image))
        # MediaPipe's warnings come once, the last of them when it first finds a hand.
        with nullcontext() if self._has_found_hand else quiet_stderr():
            result = self._landmarker.detect(picture)
        self._has_found_hand |= bool(result.hand_landmarks)
        height, width = image.shape[:2]
        return drop_duplicates(
            _to_detection(landmarks, handedness[0], width, height)
            for landmarks, handedness in zip(result.hand_landmarks, result.handedness, strict=True)
        )

    def close(self) -> None:
        """Release MediaPipe's threads and memory; calling it twice is harmless."""
        self._finalizer()


def _create(model_path: Path) -> "HandLandmarker":
    from mediapipe.tasks.python.core.base_options import BaseOptions
    from mediapipe.tasks.python.vision.hand_landmarker import HandLandmarker, HandLandmarkerOptions

    options = HandLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(model_path), delegate=BaseOptions.Delegate.CPU),
        num_hands=8,
        # Below this the landmark network does not look at a place that the palm detector found. Low: it only
        # costs time.
        min_hand_detection_confidence=0.1,
        min_hand_presence_confidence=0.6,  # below this it is no hand: decides the precision
    )
    try:
        return HandLandmarker.create_from_options(options)
    except (ValueError, RuntimeError, OSError) as error:
        raise HandsimError(
            f"MediaPipe cannot read the model {model_path}; get a good one with `handsim models fetch`"
        ) from error


def _survive_profiling_timers() -> None:
    """Ignore SIGPROF through Python's own `signal`.

    MediaPipe times its threads with SIGPROF, which ends a process that does not handle it. MediaPipe ignores
    the signal itself, but only once, and Python does not notice. After training, Lightning restores the
    handlers that Python knows; then the next detector would kill the process.
    """
    profiling = getattr(signal, "SIGPROF", None)  # Windows has none
    if profiling is None or threading.current_thread() is not threading.main_thread():
        return  # only the main thread may set handlers, and only there are they restored
    if signal.getsignal(profiling) == signal.SIG_DFL:
        signal.signal(profiling, signal.SIG_IGN)


def _release(landmarker: "HandLandmarker") -> None:
    try:
        with quiet_stderr():
            landmarker.close()
    except RuntimeError:
        # The interpreter is ending, and the thread in which MediaPipe closes itself is gone; the end of the
        # process frees the rest. Without its handle MediaPipe's __del__ does not try, and complain, again.
        landmarker._handle = None


def _to_detection(landmarks: list[Any], handedness: Any, width: int, height: int) -> Detection:
    # MediaPipe scales z like x: in picture widths.
    keypoints = np.array([(p.x * width, p.y * height, p.z * width) for p in landmarks], dtype=np.float32)
    keypoints[:, 2] -= keypoints[0, 2]
    side: Side = "left" if handedness.category_name == "Left" else "right"
    return Detection(
        side, float(handedness.score), keypoints, side_score=float(handedness.score), detector="mediapipe"
    )


class FullBoxHands:
    """Finds at most one hand: the one that fills the picture, in whichever of four directions it points."""

    def __init__(self, model_path: Path) -> None:
        """Load the landmark network of a ``.task`` bundle; raises HandsimError where OpenCV can read none."""
        self._network = _read_network(model_path)

    def detect(self, pictures: Sequence[NDArray[np.uint8]]) -> list[list[Detection]]:
        """See `HandDetector.detect`. The score is the network's presence."""
        return [self._detect(picture) for picture in pictures]

    def _detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        height, width = image.shape[:2]
        square_px = square_around([0.0, 0.0, width, height], _ENLARGEMENT)
        crop = cut_crop(image, square_px, _INPUT_PX)
        scale = (square_px[2] - square_px[0]) / _INPUT_PX
        to_picture = np.array([[scale, 0.0, square_px[0]], [0.0, scale, square_px[1]]])
        best = max(map(self._detect_in, quarter_turns(crop)), key=lambda detection: detection.score)
        if best.score < _FULL_BOX_MIN_SCORE:
            return []
        keypoints_px = CropView(crop, to_picture).keypoints_in_picture(best.keypoints_px)
        return [Detection(best.side, best.score, keypoints_px)]

    def close(self) -> None:
        """Nothing to release."""

    def _detect_in(self, view: CropView) -> Detection:
        """What the network finds in one view of the crop, in the crop's pixels."""
        pixels = view.image.astype(np.float32).transpose(2, 0, 1)[None] / 255
        self._network.setInput(pixels)
        landmarks, score, right = (np.asarray(output).ravel() for output in self._network.forward(_OUTPUTS))
        keypoints = landmarks.reshape(21, 3).astype(np.float32)
        keypoints[:, 2] = (keypoints[:, 2] - keypoints[0, 2]) / _DEPTH_UNIT
        side: Side = "right" if right[0] > 0.5 else "left"
        return Detection(side, float(score[0]), view.keypoints_in_picture(keypoints))


def _read_network(model_path: Path) -> "cv2.dnn.Net":
    import cv2

    try:
        with zipfile.ZipFile(model_path) as bundle, tempfile.TemporaryDirectory() as folder:
            # From a file: the network must not outlive a buffer that it may still look into.
            return cv2.dnn.readNetFromTFLite(bundle.extract(_NETWORK, folder))
    except (OSError, KeyError, zipfile.BadZipFile, cv2.error) as error:
        raise HandsimError(
            f"the model {model_path} holds no {_NETWORK} that OpenCV can read; "
            "`handsim models fetch` gets one"
        ) from error

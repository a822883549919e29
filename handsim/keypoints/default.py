"""The detector that ingest and query use."""

from pathlib import Path

from handsim.keypoints.detector import HandDetector
from handsim.keypoints.ladder import RetryLadder
from handsim.keypoints.mediapipe import MediaPipeHands


def open_detector(model_path: Path) -> HandDetector:
    """MediaPipe behind the retry ladder; the caller closes it. Raises HandsimError for what is no model."""
    return RetryLadder(MediaPipeHands(model_path))

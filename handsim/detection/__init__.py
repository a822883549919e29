"""Finding hands in pictures. MediaPipe itself is only loaded when a detector is opened."""

from handsim.detection.detector import (
    DetectedHand,
    Detection,
    HandDetector,
    detect_hands,
    hand_in_crop,
    read_keypoints,
)
from handsim.detection.model import fetch_model, require_model
from handsim.detection.options import DETECTORS, DetectorOptions, describe_detector, open_detector

__all__ = [
    "DETECTORS",
    "DetectedHand",
    "Detection",
    "DetectorOptions",
    "HandDetector",
    "describe_detector",
    "detect_hands",
    "fetch_model",
    "hand_in_crop",
    "open_detector",
    "read_keypoints",
    "require_model",
]

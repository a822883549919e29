"""Keypoints that people bring along in a file."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError, NotThereError
from handsim.hand import Side
from handsim.keypoints.crop import hand_in_crop
from handsim.keypoints.detector import Detection
from handsim.skeleton import JOINT_COUNT


def read_keypoints(path: Path, side: Side = "right") -> NDArray[np.float32]:
    """Keypoints [N, 21, 3] in the unit square of a hand's crop, as right hands, from a JSON or .npy file.

    The file holds [21, 2 or 3] or [N, 21, 2 or 3] in our joint order, x right and y down in any unit
    (pixels, or fractions of a picture as high as it is wide): the crop is laid around the hand anew.
    ``side`` says whose hands they are; left ones are mirrored. Raises NotThereError, or HandsimError for
    another shape, NaN, or a hand without extent.
    """
    if not path.exists():
        raise NotThereError(f"{path} does not exist; --keypoints takes a JSON or .npy file")
    try:
        is_array = path.suffix == ".npy"
        loaded = np.load(path, allow_pickle=False) if is_array else json.loads(path.read_text("utf-8"))
        keypoints = np.array(loaded, dtype=np.float32)
    except (OSError, ValueError, TypeError) as error:
        raise HandsimError(f"{path} cannot be read as keypoints ({error}); give JSON or .npy") from error
    hands = keypoints[None] if keypoints.ndim == 2 else keypoints
    if hands.ndim != 3 or hands.shape[1] != JOINT_COUNT or hands.shape[2] not in (2, 3):
        shape = list(keypoints.shape)
        raise HandsimError(
            f"{path} holds an array {shape}; expected [{JOINT_COUNT}, 2 or 3] or [N, {JOINT_COUNT}, 2 or 3]"
        )
    depth = np.zeros((len(hands), JOINT_COUNT, 3 - hands.shape[2]), dtype=np.float32)
    detections = [Detection(side, 1.0, hand) for hand in np.concatenate([hands, depth], axis=2)]
    return np.stack([hand_in_crop(detection)[1] for detection in detections])

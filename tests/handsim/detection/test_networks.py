"""MediaPipe's networks beside MediaPipe itself."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from handsim.detection.networks import HandNetworks, TurnedSquare

# What the HandLandmarker of mediapipe 1.2.3 finds in the photograph below with the same model. It is
# recorded, because that package brings an OpenCV that lies in the same folder as ours.
MEDIAPIPE_JOINTS = [
    *[(58.1, 88.5), (65.6, 79.5), (71.0, 67.0), (78.9, 59.1), (86.3, 55.4), (58.2, 48.2), (58.2, 31.8)],
    *[(58.3, 20.6), (57.9, 11.3), (51.4, 50.0), (46.4, 32.5), (43.3, 21.0), (40.5, 11.8), (46.1, 56.1)],
    *[(40.1, 40.7), (36.1, 30.4), (32.7, 21.9), (42.1, 65.3), (34.1, 57.9), (29.3, 52.0), (25.3, 46.4)],
]


def test_joints_are_those_of_mediapipe_itself(model_path: Path, shared_data: Path) -> None:
    picture = np.asarray(Image.open(shared_data / "sign_digits" / "p000" / "5.jpg").convert("RGB"))
    networks = HandNetworks(model_path)
    (palm,) = networks.find_palms(picture, TurnedSquare(np.array([50.0, 50.0]), 100.0), min_score=0.5)
    hand = networks.predict_joints(picture, palm.hand)
    expected = np.array(MEDIAPIPE_JOINTS)
    errors = np.linalg.norm(hand.keypoints_px[:, :2] - expected, axis=1) / np.ptp(expected, axis=0).max()
    assert errors.mean() < 0.015
    assert errors.max() < 0.04
    assert hand.presence > 0.9
    assert hand.rightness > 0.9


@pytest.mark.parametrize("quarters", [0, 1])
def test_world_landmarks_are_a_hand_in_millimetres_as_the_picture_shows_it(
    model_path: Path, shared_data: Path, quarters: int
) -> None:
    photograph = Image.open(shared_data / "sign_digits" / "p000" / "5.jpg").convert("RGB")
    picture = np.ascontiguousarray(np.rot90(np.asarray(photograph), quarters))
    networks = HandNetworks(model_path)
    (palm,) = networks.find_palms(picture, TurnedSquare(np.array([50.0, 50.0]), 100.0), min_score=0.5)
    hand = networks.predict_joints(picture, palm.hand)
    assert hand.world_mm is not None
    assert 60 < np.linalg.norm(hand.world_mm[9] - hand.world_mm[0]) < 120
    world, seen = (joints - joints.mean(axis=0) for joints in (hand.world_mm, hand.keypoints_px))
    scale = (world[:, :2] * seen[:, :2]).sum() / (world[:, :2] ** 2).sum()
    apart = np.linalg.norm(scale * world[:, :2] - seen[:, :2], axis=1).mean()
    assert apart < 0.06 * np.ptp(seen[:, :2], axis=0).max()  # not turned: by 20 degrees it would be 0.1
    assert np.corrcoef(world[:, 2], seen[:, 2])[0, 1] > 0.8

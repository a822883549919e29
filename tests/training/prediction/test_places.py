"""What of a picture the estimator sees."""

import numpy as np
import pytest

from handsim.detection import Detection
from handsim.errors import HandsimError
from tests.training.finetune.drawn_hands import DrawnHands
from training.finetune.predictor import Inference
from training.predict import place_of_box, place_of_detection, whole_picture


def test_a_detected_hand_is_cut_as_in_training(untrained: Inference) -> None:
    hand = DrawnHands(1).label(0)
    keypoints = np.concatenate([hand.keypoints_2d_px, np.zeros((21, 1), np.float32)], axis=1)
    place = place_of_detection(Detection("left", 0.8, keypoints), hand.size_px, untrained)
    assert (place.side, place.score) == ("left", 0.8)
    box = np.concatenate([hand.keypoints_2d_px.min(axis=0), hand.keypoints_2d_px.max(axis=0)])
    np.testing.assert_allclose(place.box_px, box)
    # DetNet's 1.75, as the recipe says.
    side = 1.75 * max(box[2] - box[0], box[3] - box[1])
    np.testing.assert_allclose(place.square_px[2:] - place.square_px[:2], side, rtol=1e-5)
    np.testing.assert_allclose(place.square_px[:2] + place.square_px[2:], box[:2] + box[2:], rtol=1e-5)


def test_a_box_is_enlarged_as_in_training(untrained: Inference) -> None:
    place = place_of_box([40, 50, 80, 70], "right", (200, 100), untrained)
    np.testing.assert_allclose(place.square_px, [60 - 35, 60 - 35, 60 + 35, 60 + 35])
    assert (place.side, place.score) == ("right", None)


def test_a_whole_picture_is_seen_to_its_longer_side() -> None:
    np.testing.assert_allclose(whole_picture("right", (80, 100)).square_px, [-10, 0, 90, 100])


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ([10, 10, 10, 20], r"box \[10.0, 10.0, 10.0, 20.0\] is not"),
        ([10, 10, 5, 20], "with x1 > x0"),
        ([200, 10, 240, 20], "lies outside the picture of 200 x 100 pixels; give x0,y0,x1,y1"),
        ([10, -40, 30, -20], "lies outside the picture"),
    ],
)
def test_bad_boxes_are_told(untrained: Inference, box: list[float], said: str) -> None:
    with pytest.raises(HandsimError, match=said):
        place_of_box(box, "right", (200, 100), untrained)

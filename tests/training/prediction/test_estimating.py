"""Left hands are estimated as the right hands that they are in a mirror."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.training.finetune.drawn_hands import DrawnHands
from training.finetune.predictor import Inference
from training.predict import HandPlace, estimate_hands, place_of_box

FOCAL_PX = 150.0


@pytest.fixture(scope="module")
def picture() -> NDArray[np.uint8]:
    return DrawnHands(1)[0].image


def _place(x0: float, x1: float, side: str, inference: Inference, picture: NDArray[np.uint8]) -> HandPlace:
    size = (picture.shape[1], picture.shape[0])
    return place_of_box([x0, 20, x1, 70], "left" if side == "left" else "right", size, inference)


def test_a_right_hand_is_what_the_estimator_says(untrained: Inference, picture: NDArray[np.uint8]) -> None:
    place = _place(30, 70, "right", untrained, picture)
    (hand,) = estimate_hands(untrained, picture, [place], FOCAL_PX)
    k = np.array([[FOCAL_PX, 0, 48], [0, FOCAL_PX, 40], [0, 0, 1]])
    said = untrained.predict([picture], place.square_px[None], k[None])
    np.testing.assert_array_equal(hand.keypoints_2d_px, said.keypoints_2d_px[0])
    np.testing.assert_array_equal(hand.joints_3d_mm, said.joints_3d_mm[0])
    np.testing.assert_array_equal(hand.confidence, said.confidence[0])
    assert said.camera_3d_mm is not None
    np.testing.assert_array_equal(hand.camera_3d_mm, said.camera_3d_mm[0])


def test_a_left_hand_is_the_right_one_of_the_mirrored_picture(
    untrained: Inference, picture: NDArray[np.uint8]
) -> None:
    mirrored = np.ascontiguousarray(picture[:, ::-1])
    (left,) = estimate_hands(untrained, picture, [_place(20, 60, "left", untrained, picture)], FOCAL_PX)
    place = _place(96 - 60, 96 - 20, "right", untrained, picture)
    (right,) = estimate_hands(untrained, mirrored, [place], FOCAL_PX)
    np.testing.assert_allclose(left.keypoints_2d_px[:, 0], 96 - right.keypoints_2d_px[:, 0], atol=1e-3)
    np.testing.assert_allclose(left.keypoints_2d_px[:, 1], right.keypoints_2d_px[:, 1], atol=1e-3)
    flip = np.array([-1, 1, 1])
    np.testing.assert_allclose(left.joints_3d_mm, right.joints_3d_mm * flip, atol=1e-3)
    assert left.camera_3d_mm is not None
    assert right.camera_3d_mm is not None
    np.testing.assert_allclose(left.camera_3d_mm, right.camera_3d_mm * flip, atol=0.1)


def test_the_focal_length_of_a_camera_puts_hands_in_it(
    untrained: Inference, picture: NDArray[np.uint8]
) -> None:
    """Seen by a camera of twice the focal length, the same picture shows a hand about twice as far away."""
    place = _place(30, 70, "left", untrained, picture)
    depths = []
    for focal_px in (5_000.0, 10_000.0):
        (hand,) = estimate_hands(untrained, picture, [place], focal_px)
        assert hand.camera_3d_mm is not None
        relative = hand.camera_3d_mm - hand.camera_3d_mm[0]
        np.testing.assert_allclose(relative, hand.joints_3d_mm - hand.joints_3d_mm[0], atol=0.1)
        depths.append(float(hand.camera_3d_mm[0, 2]))
    assert depths[1] / depths[0] == pytest.approx(2, rel=0.1)
    (unplaced,) = estimate_hands(untrained, picture, [place])
    assert unplaced.camera_3d_mm is None


def test_hands_of_both_sides_keep_their_order(untrained: Inference, picture: NDArray[np.uint8]) -> None:
    places = [
        _place(20 + 5 * n, 60 + 5 * n, "left" if n % 2 else "right", untrained, picture) for n in range(4)
    ]
    together = estimate_hands(untrained, picture, places)
    for hand, place in zip(together, places, strict=True):
        assert hand.place is place
        (alone,) = estimate_hands(untrained, picture, [place])
        np.testing.assert_allclose(hand.keypoints_2d_px, alone.keypoints_2d_px, atol=0.01)
        np.testing.assert_allclose(hand.joints_3d_mm, alone.joints_3d_mm, atol=0.01)


def test_without_a_place_there_is_no_hand(untrained: Inference, picture: NDArray[np.uint8]) -> None:
    assert estimate_hands(untrained, picture, []) == []

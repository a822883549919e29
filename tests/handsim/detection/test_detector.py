"""Detections and their crops."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from handsim.detection.detector import Detection, detect_hands, hand_in_crop
from handsim.geometry import apply_affine, crop_affine, cut_crop, invert_affine
from handsim.images import encode_crop, encode_jpeg
from tests.handsim.builders import make_detection

COORDINATES = st.floats(-500, 2000, width=32)
LENGTHS = st.floats(4, 900, width=32)


def test_a_hand_of_unknown_side_is_not_mirrored_and_asked_for_as_either() -> None:
    class OneHand:
        def detect(self, pictures: Sequence[NDArray[np.uint8]]) -> list[list[Detection]]:
            return [[make_detection(10, 10, 40, 50, side="unknown")] for _ in pictures]

        def close(self) -> None:
            """Nothing to release."""

    image = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    (found,) = OneHand().detect([image])[0]
    square, keypoints = hand_in_crop(found)
    seen, mirrored = detect_hands(image, OneHand())
    assert (seen.side, mirrored.side) == ("unknown", "unknown")
    assert (seen.seen_as, mirrored.seen_as) == ("right", "left")
    np.testing.assert_array_equal(seen.keypoints, keypoints)
    np.testing.assert_array_equal(seen.crop, cut_crop(image, square))
    assert encode_crop(image, square, mirrored=found.looks_left) == encode_jpeg(seen.crop)
    np.testing.assert_array_equal(mirrored.crop, seen.crop[:, ::-1])
    np.testing.assert_allclose(mirrored.keypoints[:, 0], 1 - keypoints[:, 0], atol=1e-6)


@given(COORDINATES, COORDINATES, LENGTHS, LENGTHS, st.sampled_from(["left", "right"]))
def test_keypoints_in_the_crop_lead_back_to_the_picture(
    x: float, y: float, width: float, height: float, side: str
) -> None:
    detection = make_detection(x, y, x + width, y + height, side="left" if side == "left" else "right")
    square, keypoints = hand_in_crop(detection)
    to_picture = invert_affine(crop_affine(square, size=1.0, mirrored=side == "left"))
    back = apply_affine(to_picture, keypoints.astype(np.float64))
    np.testing.assert_allclose(back[:, :2], detection.keypoints_px[:, :2], atol=2e-3)
    depth = keypoints[:, 2] * (square[2] - square[0])
    np.testing.assert_allclose(depth, detection.keypoints_px[:, 2], atol=1e-3)
    # 1.3 times the longer side, centred: the hand keeps a margin of 0.15 / 1.3 of the crop on either side.
    tight = 0.15 / 1.3
    assert keypoints[:, :2].min() == pytest.approx(tight, abs=1e-3)
    assert keypoints[:, :2].max() == pytest.approx(1 - tight, abs=1e-3)


def test_a_left_hand_becomes_the_right_hand_it_mirrors() -> None:
    right = make_detection(10, 20, 110, 60)
    assert right.box_px == pytest.approx([10, 20, 110, 60], abs=1e-4)
    mirrored = right.keypoints_px.copy()
    mirrored[:, 0] = 300 - mirrored[:, 0]
    left = Detection("left", 0.9, mirrored)
    np.testing.assert_allclose(hand_in_crop(left)[1], hand_in_crop(right)[1], atol=1e-5)

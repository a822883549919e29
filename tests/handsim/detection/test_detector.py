import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handsim.detection.detector import Detection, covered_share, drop_duplicates, hand_in_crop
from handsim.errors import HandsimError
from handsim.geometry import apply_affine, crop_affine, invert_affine
from tests.handsim.builders import make_detection

coordinates = st.floats(-500, 2000, width=32)
lengths = st.floats(4, 900, width=32)


def test_box_is_tight_around_the_keypoints() -> None:
    assert make_detection(10, 20, 110, 60).box_px == pytest.approx([10, 20, 110, 60], abs=1e-4)


def test_detection_refuses_what_is_no_hand() -> None:
    keypoints = np.zeros((21, 3), np.float32)
    with pytest.raises(ValueError, match="neither 'left' nor 'right'"):
        Detection("both", 0.5, keypoints)  # type: ignore[arg-type]  # what is refused is the point
    keypoints[3, 1] = np.nan
    with pytest.raises(HandsimError, match="first at joint 3"):
        Detection("left", 0.5, keypoints)


def test_a_small_hand_inside_a_large_one_goes_even_when_surer() -> None:
    hand = make_detection(0, 0, 100, 100, score=0.7)
    finger = make_detection(20, 20, 40, 40, score=0.99, side="left")
    assert drop_duplicates([finger, hand]) == [hand]


def test_the_same_hand_in_two_tiles_counts_once() -> None:
    assert len(drop_duplicates([make_detection(0, 0, 100, 100), make_detection(3, 2, 99, 101)])) == 1


def test_crossed_hands_both_stay_best_first() -> None:
    left = make_detection(0, 0, 100, 100, score=0.8, side="left")
    right = make_detection(60, 10, 160, 90, score=0.9)
    assert drop_duplicates([left, right]) == [right, left]


def test_covered_against_counting_pixels() -> None:
    rng = np.random.default_rng(3)
    for _ in range(50):
        (ax, bx), (ay, by) = (np.sort(rng.integers(0, 20, (2, 2)), axis=0) for _ in range(2))
        a = np.array([ax[0], ay[0], ax[0] + 5, ay[0] + 7], np.float32)
        b = np.array([bx[1], by[1], bx[1] + 9, by[1] + 4], np.float32)
        masks = np.zeros((2, 40, 40), bool)
        for mask, box in zip(masks, (a, b), strict=True):
            x0, y0, x1, y1 = box.astype(int)
            mask[y0:y1, x0:x1] = True
        assert covered_share(a, b) == pytest.approx((masks[0] & masks[1]).sum() / masks[0].sum())


@given(coordinates, coordinates, lengths, lengths, st.sampled_from(["left", "right"]))
def test_keypoints_in_the_crop_lead_back_to_the_picture(
    x: float, y: float, width: float, height: float, side: str
) -> None:
    detection = make_detection(x, y, x + width, y + height, side="left" if side == "left" else "right")
    square, keypoints = hand_in_crop(detection)
    to_picture = invert_affine(crop_affine(square, size=1.0, mirrored=side == "left"))
    back = apply_affine(to_picture, keypoints.astype(np.float64))
    np.testing.assert_allclose(back[:, :2], detection.keypoints_px[:, :2], atol=2e-3)
    np.testing.assert_allclose(
        keypoints[:, 2] * (square[2] - square[0]), detection.keypoints_px[:, 2], atol=1e-3
    )
    # 1.3 times the longer side, centred: the hand keeps a margin of 0.15 / 1.3 of the crop on either side.
    tight = 0.15 / 1.3
    assert keypoints[:, :2].min() == pytest.approx(tight, abs=1e-3)
    assert keypoints[:, :2].max() == pytest.approx(1 - tight, abs=1e-3)


def test_a_left_hand_becomes_the_right_hand_it_mirrors() -> None:
    right = make_detection(10, 20, 110, 60)
    mirrored = right.keypoints_px.copy()
    mirrored[:, 0] = 300 - mirrored[:, 0]
    np.testing.assert_allclose(
        hand_in_crop(Detection("left", 0.9, mirrored))[1], hand_in_crop(right)[1], atol=1e-5
    )

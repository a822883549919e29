"""Detections and their crops, and the ways to look again where nothing was found."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from handsim.detection.detector import FIRST_TRY, Detection, detect_hands, hand_in_crop
from handsim.detection.merge import covered_share, drop_duplicates
from handsim.detection.search import (
    RETRY_STAGES,
    CropView,
    RetryingDetector,
    RetryStage,
    enlarge,
    fill,
    frame,
    pad,
    quarter_turns,
    rotate,
)
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


def test_a_smaller_hand_inside_a_larger_one_goes_even_when_surer() -> None:
    hand = make_detection(0, 0, 100, 100, score=0.7)
    finger = make_detection(20, 20, 40, 40, score=0.99, side="left")
    in_next_tile = make_detection(3, 2, 99, 99)
    crossing = make_detection(60, 10, 160, 90, score=0.9, side="left")
    assert drop_duplicates([finger, hand, in_next_tile]) == [hand]
    assert drop_duplicates([hand, crossing]) == [crossing, hand]


def test_the_covered_share_is_that_of_counted_pixels() -> None:
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


class MarkerDetector:
    """Finds a "hand" wherever the picture's one white pixel is, at the looks (from 0) of ``finds_at``."""

    def __init__(self, finds_at: set[int]) -> None:
        self.finds_at = finds_at
        self.looks = 0
        self.closed = 0

    def detect(self, pictures: Sequence[NDArray[np.uint8]]) -> list[list[Detection]]:
        return [self.detect_in(picture) for picture in pictures]

    def detect_in(self, image: NDArray[np.uint8]) -> list[Detection]:
        self.looks += 1
        rows, columns = np.nonzero(image.min(axis=2) == 255)
        if self.looks - 1 not in self.finds_at or len(rows) == 0:
            return []
        x, y = columns.mean() + 0.5, rows.mean() + 0.5
        return [make_detection(x - 5, y - 5, x + 5, y + 5, score=0.95)]

    def close(self) -> None:
        self.closed += 1


def picture_with_marker(width: int, height: int, column: int, row: int) -> NDArray[np.uint8]:
    """Dark, with one white pixel away from the border (so that no margin repeats it)."""
    image = np.zeros((height, width, 3), np.uint8)
    image[row, column] = 255
    return image


@pytest.mark.parametrize("make_views", [frame, pad, enlarge, rotate, fill, quarter_turns])
@given(st.integers(3, 500), st.integers(3, 500), st.data())
@settings(max_examples=25)
def test_every_view_leads_back_to_the_very_pixel(
    make_views: Callable[[NDArray[np.uint8]], Iterable[CropView]], width: int, height: int, data: Any
) -> None:
    column, row = data.draw(st.integers(1, width - 2)), data.draw(st.integers(1, height - 2))
    image = picture_with_marker(width, height, column, row)
    for view in make_views(image):
        rows, columns = np.nonzero(view.image[..., 0])
        if len(rows) == 0:
            continue  # a tile that the marker is not in
        keypoints = np.tile(np.array([columns[0] + 0.5, rows[0] + 0.5, 3.0], np.float32), (21, 1))
        back = view.keypoints_in_picture(keypoints)
        np.testing.assert_allclose(back, np.tile([column + 0.5, row + 0.5, 3.0], (21, 1)), atol=1e-3)


@given(st.integers(200, 1500), st.integers(200, 1500), st.data())
@settings(max_examples=25)
def test_tiles_show_any_spot_of_a_large_picture_enlarged(width: int, height: int, data: Any) -> None:
    column, row = data.draw(st.integers(1, width - 2)), data.draw(st.integers(1, height - 2))
    longer = max(width, height)
    views = list(enlarge(picture_with_marker(width, height, column, row)))
    if round(0.6 * longer) >= 160:
        assert any(view.image.any() for view in views)
    assert all(max(view.image.shape[:2]) <= round(0.6 * longer) for view in views)


def test_depth_is_scaled_as_the_picture_is() -> None:
    view = CropView(np.zeros((4, 4, 3), np.uint8), np.array([[0.0, -2.5, 9.0], [2.5, 0.0, 1.0]]))
    keypoints = np.tile(np.array([1.0, 2.0, 4.0], np.float32), (21, 1))
    np.testing.assert_allclose(view.keypoints_in_picture(keypoints)[0], [4.0, 3.5, 10.0])


STAGES = (RetryStage(FIRST_TRY, frame), *RETRY_STAGES)


@pytest.mark.parametrize("number", range(len(STAGES)))
@pytest.mark.parametrize("size", [(300, 280), (900, 600)])
def test_each_stage_is_reached_in_turn_and_maps_back(number: int, size: tuple[int, int]) -> None:
    width, height = size
    image = picture_with_marker(width, height, width // 2, height // 2)
    first = sum(len(list(stage.views(image))) for stage in STAGES[:number])
    detector = MarkerDetector(set(range(first, first + 40)))
    found = RetryingDetector(detector).detect([image])[0]
    assert [hand.stage for hand in found] == [STAGES[number].name]
    assert (detector.looks == 1) == (number == 0)  # a hand found at once costs one look
    centre = (found[0].box_px[:2] + found[0].box_px[2:]) / 2
    np.testing.assert_allclose(centre, [width // 2 + 0.5, height // 2 + 0.5], atol=1e-3)


def test_a_stage_ignores_what_it_is_not_sure_of() -> None:
    image = picture_with_marker(100, 100, 50, 50)
    sure, unsure = (RetryStage("again", frame, min_score=score) for score in (0.9, 0.99))
    assert RetryingDetector(MarkerDetector({1}), (unsure,)).detect([image])[0] == []
    assert len(RetryingDetector(MarkerDetector({1}), (sure,)).detect([image])[0]) == 1


def test_a_stages_own_detector_looks_and_all_are_closed() -> None:
    blind, seeing = MarkerDetector(set()), MarkerDetector({0})
    retrying = RetryingDetector(blind, (RetryStage("other eyes", frame, seeing),))
    assert [hand.stage for hand in retrying.detect([picture_with_marker(60, 60, 20, 30)])[0]] == [
        "other eyes"
    ]
    retrying.close()
    assert (blind.closed, seeing.closed) == (1, 1)


def test_crops_get_a_margin_in_the_first_look_and_long_pictures_are_never_taken_for_one_hand() -> None:
    crop, picture = np.zeros((100, 80, 3), np.uint8), np.zeros((400, 601, 3), np.uint8)
    assert next(iter(frame(crop))).image.shape == (200, 180, 3)
    assert next(iter(frame(picture))).image is picture
    assert list(fill(picture)) == []
    assert len(list(fill(picture[:, :600]))) == 1

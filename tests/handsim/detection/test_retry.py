from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from handsim.detection.detector import FIRST_TRY, Detection
from handsim.detection.retry import (
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
from tests.handsim.builders import make_detection


class MarkerDetector:
    """Finds a "hand" wherever the picture's one white pixel is, at the looks (from 0) of ``finds_at``."""

    def __init__(self, finds_at: set[int]) -> None:
        self.finds_at = finds_at
        self.looks = 0
        self.closed = 0

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        self.looks += 1
        rows, columns = np.nonzero(image.min(axis=2) == 255)
        if self.looks - 1 not in self.finds_at or len(rows) == 0:
            return []
        x, y = columns.mean() + 0.5, rows.mean() + 0.5
        return [make_detection(x - 5, y - 5, x + 5, y + 5, score=0.95)]

    def close(self) -> None:
        self.closed += 1


VIEW_MAKERS = (frame, pad, enlarge, rotate, fill, quarter_turns)


def picture_with_marker(width: int, height: int, column: int, row: int) -> NDArray[np.uint8]:
    """Dark, with one white pixel away from the border (so that no margin repeats it)."""
    image = np.zeros((height, width, 3), np.uint8)
    image[row, column] = 255
    return image


@pytest.mark.parametrize("make_views", VIEW_MAKERS)
@given(st.integers(3, 500), st.integers(3, 500), st.data())
@settings(max_examples=25, deadline=None)
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
@settings(max_examples=25, deadline=None)
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


def test_a_hand_found_at_once_costs_one_look() -> None:
    detector = MarkerDetector({0})
    found = RetryingDetector(detector).detect(picture_with_marker(900, 600, 450, 300))
    assert detector.looks == 1
    assert [hand.stage for hand in found] == [FIRST_TRY]


def looks_before(stage: str, image: NDArray[np.uint8]) -> int:
    """The looks that come before a stage."""
    names = [each.name for each in RETRY_STAGES]
    return 1 + sum(len(list(each.views(image))) for each in RETRY_STAGES[: names.index(stage)])


@pytest.mark.parametrize("stage", [stage.name for stage in RETRY_STAGES])
@pytest.mark.parametrize("size", [(300, 280), (900, 600)])
def test_each_stage_is_reached_in_turn_and_maps_back(stage: str, size: tuple[int, int]) -> None:
    width, height = size
    image = picture_with_marker(width, height, width // 2, height // 2)
    first = looks_before(stage, image)
    detector = MarkerDetector(set(range(first, first + 40)))
    found = RetryingDetector(detector).detect(image)
    assert [hand.stage for hand in found] == [stage]
    centre = (found[0].box_px[:2] + found[0].box_px[2:]) / 2
    np.testing.assert_allclose(centre, [width // 2 + 0.5, height // 2 + 0.5], atol=1e-3)


def test_a_stage_ignores_what_it_is_not_sure_of() -> None:
    image = picture_with_marker(100, 100, 50, 50)
    sure, unsure = (RetryStage("again", frame, min_score=score) for score in (0.9, 0.99))
    assert RetryingDetector(MarkerDetector({1}), (unsure,)).detect(image) == []
    assert len(RetryingDetector(MarkerDetector({1}), (sure,)).detect(image)) == 1


def test_a_stages_own_detector_looks_and_all_are_closed() -> None:
    blind, seeing = MarkerDetector(set()), MarkerDetector({0})
    retrying = RetryingDetector(blind, (RetryStage("other eyes", frame, seeing),))
    assert [hand.stage for hand in retrying.detect(picture_with_marker(60, 60, 20, 30))] == ["other eyes"]
    retrying.close()
    assert (blind.closed, seeing.closed) == (1, 1)


def test_crops_get_a_margin_in_the_first_look_and_pictures_none() -> None:
    crop, picture = np.zeros((100, 80, 3), np.uint8), np.zeros((400, 600, 3), np.uint8)
    assert next(iter(frame(crop))).image.shape == (200, 180, 3)
    assert next(iter(frame(picture))).image is picture


def test_long_pictures_are_never_taken_for_one_hand() -> None:
    assert list(fill(np.zeros((100, 151, 3), np.uint8))) == []
    assert len(list(fill(np.zeros((100, 150, 3), np.uint8)))) == 1

"""Hands are drawn where they are, and nothing else is changed."""

import numpy as np
import pytest

from handsim.drawing import LONGEST_SIDE_PX, HandDrawing, draw_hands
from handsim.skeleton import FINGER_COLOURS

GREY = 120


def _picture(width: int, height: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.full((height, width, 3), GREY, np.uint8)


def _hand(left: float, top: float, size: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """A wrist below, and each finger's joints in a column above it."""
    points = np.zeros((21, 2), np.float32)
    points[0] = (left + size / 2, top + size)
    for finger in range(5):
        for joint in range(4):
            points[1 + 4 * finger + joint] = (left + size * finger / 4, top + size * (3 - joint) / 4)
    return points


def test_a_finger_has_its_colour_where_its_joints_are() -> None:
    points = _hand(60, 50, 80)
    picture = np.asarray(draw_hands(_picture(300, 200), [HandDrawing(points)]))
    assert picture.shape == (200, 300, 3)
    x, y = points[10:12].mean(axis=0).round().astype(int)  # the middle finger, between pip and dip
    np.testing.assert_allclose(picture[y, x], FINGER_COLOURS["middle"], atol=12)
    changed = np.argwhere((picture != GREY).any(axis=2))
    assert (changed.min(axis=0) >= [50 - 8, 60 - 8]).all()
    assert (changed.max(axis=0) <= [130 + 8, 140 + 8]).all()


def test_every_hand_is_drawn_and_a_caption_above_it() -> None:
    one, other = _hand(20, 60, 60), _hand(200, 60, 60)
    plain = np.asarray(draw_hands(_picture(300, 200), [HandDrawing(one), HandDrawing(other)]))
    named = np.asarray(draw_hands(_picture(300, 200), [HandDrawing(one), HandDrawing(other, "left 0.98")]))
    assert (plain[:, :150] != GREY).any()
    assert (plain[:, 150:] != GREY).any()
    changed = np.argwhere((plain != named).any(axis=2))
    assert len(changed) > 100
    assert changed[:, 0].max() < 60
    assert changed[:, 1].min() > 150


def test_a_large_picture_is_drawn_on_a_smaller_copy() -> None:
    points = _hand(1000, 1000, 1600)
    picture = np.asarray(draw_hands(_picture(4000, 3000), [HandDrawing(points)]))
    assert picture.shape == (LONGEST_SIDE_PX * 3 // 4, LONGEST_SIDE_PX, 3)
    x, y = (points[10:12].mean(axis=0) * LONGEST_SIDE_PX / 4000).round().astype(int)
    np.testing.assert_allclose(picture[y, x], FINGER_COLOURS["middle"], atol=12)


@pytest.mark.parametrize("corner", [(-40, -40), (270, 170), (-500, 20)])
def test_what_lies_outside_is_cut_off(corner: tuple[int, int]) -> None:
    picture = np.asarray(draw_hands(_picture(300, 200), [HandDrawing(_hand(*corner, 80), "right")]))
    assert picture.shape == (200, 300, 3)
    assert (picture != GREY).any() == (corner != (-500, 20))


def test_nearer_bones_cover_farther_ones() -> None:
    points = np.concatenate([_hand(60, 50, 80), np.zeros((21, 1), np.float32)], axis=1)
    points[9:13, :2] = points[5:9, :2]  # the middle finger behind the index, then before it
    colours = []
    for depth in (50, -50):
        points[9:13, 2] = depth
        picture = np.asarray(draw_hands(_picture(300, 200), [HandDrawing(points)]))
        x, y = points[6:8, :2].mean(axis=0).round().astype(int)
        colours.append(picture[y, x])
    np.testing.assert_allclose(colours, [FINGER_COLOURS["index"], FINGER_COLOURS["middle"]], atol=12)

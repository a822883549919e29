"""Where palms are looked for, and how the part of a picture that is looked at maps back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handsim.detection.networks import TurnedSquare, cut_turned, square_around_joints
from handsim.detection.search import coarse_regions, fill, retry_regions, tile_regions, without_hand
from tests.handsim.detection.test_merge import draw_hand

SIZES = st.integers(3, 900)


@given(SIZES, SIZES, st.floats(0, 1), st.floats(0, 1), st.floats(-4, 4), st.floats(0.2, 12))
@settings(max_examples=60)
def test_a_turned_square_leads_back_to_the_very_spot(
    width: int, height: int, x: float, y: float, angle: float, shrink: float
) -> None:
    """A soft spot in the picture, as wide as a few pixels of the cut, against where the cut shows it."""
    spot = np.array([x * width, y * height])
    rows, columns = np.mgrid[0:height, 0:width] + 0.5
    wide = 3 * max(shrink, 1.0)
    level = np.exp(-((columns - spot[0]) ** 2 + (rows - spot[1]) ** 2) / (2 * wide**2))
    picture = np.repeat((255 * level).astype(np.uint8)[..., None], 3, axis=2)
    square = TurnedSquare(spot + shrink * np.array([6.4, -3.2]), shrink * 64, angle)
    cut = cut_turned(picture, square, 64)
    assert cut.shape == (64, 64, 3)
    to_picture = square.to_picture(64)
    brightest = np.array(np.unravel_index(cut[..., 0].argmax(), (64, 64)))[::-1] + 0.5
    back = to_picture[:, :2] @ brightest + to_picture[:, 2]
    assert cut.max() == 0 or level[*np.clip(back[::-1], 0, [height - 1, width - 1]).astype(int)] > 0.6


def test_beside_the_picture_its_edge_goes_on() -> None:
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:, -1] = 200
    cut = cut_turned(picture, TurnedSquare(np.array([90.0, 20.0]), 40.0), 20)
    assert (cut == 200).all()


@pytest.mark.parametrize("degrees", [-170, -90, 0, 35, 120])
def test_the_square_around_joints_holds_the_hand_fingers_up(degrees: float) -> None:
    hand = draw_hand((300, 200), 100, degrees)
    square = square_around_joints(hand.keypoints_px)
    to_picture = square.to_picture(1.0)
    inside = np.linalg.solve(to_picture[:, :2], hand.keypoints_px[:, :2].T - to_picture[:, 2:]).T
    assert (inside > 0.05).all()
    assert (inside < 0.95).all()
    x, y = inside[9] - inside[0]
    assert y < -0.2
    assert abs(x) < 0.1


@given(st.integers(400, 4000), st.integers(400, 4000), st.data())
@settings(max_examples=25)
def test_a_small_hand_anywhere_in_a_large_picture_is_whole_in_a_tile(
    width: int, height: int, data: st.DataObject
) -> None:
    """As long as a fifth of the tile, long enough for the network; tiles are bounded in number."""
    picture = np.tile(np.array([[0, 60], [60, 0]], np.uint8).repeat(100, 0).repeat(100, 1), (20, 20))
    picture = np.repeat(picture[:height, :width, None], 3, axis=2)
    length = max(60, max(width, height) / 4 / 5)
    x = data.draw(st.floats(length / 2, width - length / 2))
    y = data.draw(st.floats(length / 2, height - length / 2))
    regions = list(tile_regions(picture))
    rounding = 1e-6  # of a hand at the very edge
    assert any(
        (abs(region.square.centre - (x, y)) <= (region.square.side - length) / 2 + rounding).all()
        and length / region.square.side * 192 >= 34
        for region in regions
    )
    assert len(regions) <= 50


def test_nothing_is_looked_for_in_a_flat_wall_and_a_crop_gets_no_tiles() -> None:
    wall = np.full((1200, 1600, 3), 180, np.uint8)
    assert list(tile_regions(wall)) == []
    wall[900:960, 200:260] = 120
    assert 0 < len(list(tile_regions(wall))) < 8
    crop = np.random.default_rng(0).integers(0, 256, (200, 150, 3), dtype=np.uint8)
    assert list(tile_regions(crop)) == []
    (first,) = coarse_regions(crop)
    assert first.square.side == 2 * 200


def test_long_pictures_are_never_taken_for_one_hand() -> None:
    picture = np.zeros((400, 601, 3), np.uint8)
    assert list(fill(picture, 1.1)) == []
    assert len(list(fill(picture[:, :600], 1.1))) == 4
    assert {region.stage for region in retry_regions(picture)} == {"pad", "rotate"}


def test_a_hand_painted_over_leaves_all_else_as_it_was() -> None:
    hand = draw_hand((150, 150), 100, 30)
    picture = np.full((300, 300, 3), 90, np.uint8)
    picture[:, 250:] = 200
    original = picture.copy()
    for x, y in hand.keypoints_px[:, :2].astype(int):
        picture[y - 4 : y + 5, x - 4 : x + 5] = (220, 170, 140)
    assert (without_hand(picture, hand) == original).all()

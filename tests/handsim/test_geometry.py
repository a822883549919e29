import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handsim.errors import HandsimError
from handsim.geometry import (
    apply_affine,
    box_around,
    crop_affine,
    cut_crop,
    invert_affine,
    mirror_points,
    square_around,
)

coordinates = st.floats(-500, 500)
lengths = st.floats(0.5, 500)


@given(coordinates, coordinates, lengths, lengths, st.floats(0.5, 3))
def test_the_square_is_centred_on_the_box_and_holds_it(
    x: float, y: float, width: float, height: float, enlargement: float
) -> None:
    x0, y0, x1, y1 = square_around([x, y, x + width, y + height], enlargement)
    assert x1 - x0 == pytest.approx(max(width, height) * enlargement)
    assert y1 - y0 == pytest.approx(x1 - x0)
    assert (x0 + x1) / 2 == pytest.approx(x + width / 2, abs=1e-6)
    assert (y0 + y1) / 2 == pytest.approx(y + height / 2, abs=1e-6)


@given(coordinates, coordinates, lengths, st.booleans(), st.integers(0, 2**32 - 1))
def test_crop_affines_round_trip_and_keep_depth(
    x: float, y: float, length: float, mirrored: bool, seed: int
) -> None:
    affine = crop_affine([x, y, x + length, y + length], mirrored=mirrored)
    points = np.random.default_rng(seed).normal(size=(21, 3)) * 100
    there = apply_affine(affine, points)
    np.testing.assert_allclose(apply_affine(invert_affine(affine), there), points, atol=1e-6)
    assert (there[:, 2] == points[:, 2]).all()


def test_the_corners_of_the_square_become_the_corners_of_the_crop() -> None:
    corners = np.array([[10.0, 20.0], [60.0, 70.0]])
    assert apply_affine(crop_affine([10, 20, 60, 70], 224), corners).tolist() == [[0, 0], [224, 224]]
    mirrored = apply_affine(crop_affine([10, 20, 60, 70], 224, mirrored=True), corners)
    assert mirrored.tolist() == [[224, 0], [0, 224]]


@given(st.integers(0, 2**32 - 1), st.floats(1, 1000))
def test_mirroring_twice_changes_nothing(seed: int, width: float) -> None:
    points = np.random.default_rng(seed).random((21, 3)) * width
    np.testing.assert_allclose(mirror_points(mirror_points(points, width), width), points, atol=1e-9)


def test_a_dot_lands_where_the_affine_says() -> None:
    image = np.zeros((120, 160, 3), np.uint8)
    image[40:44, 100:104] = 255  # its middle is (102, 42) in continuous coordinates
    square = [70.0, 10.0, 130.0, 70.0]
    crop = cut_crop(image, square, 120).astype(float)[..., 0]
    rows, columns = np.mgrid[:120, :120] + 0.5
    centre = [(columns * crop).sum() / crop.sum(), (rows * crop).sum() / crop.sum()]
    expected = apply_affine(crop_affine(square, 120), np.array([[102.0, 42.0]]))[0]
    np.testing.assert_allclose(centre, expected, atol=0.05)


@pytest.mark.parametrize("square", [[-40, -30, 40, 50], [90, 70, 170, 150], [-200, -200, -100, -100]])
def test_crops_at_the_border_are_padded_with_the_edge_never_stretched(square: list[float]) -> None:
    gradient = np.broadcast_to(np.arange(128, dtype=np.uint8)[None, :, None], (96, 128, 3))
    crop = cut_crop(np.ascontiguousarray(gradient), square, 80)
    inside = np.clip(np.linspace(square[0] + 0.5, square[2] - 0.5, 80) - 0.5, 0, 127)
    span = (square[2] - square[0]) / 80
    np.testing.assert_allclose(crop[40, :, 0], inside, atol=max(1.0, span))


@given(st.integers(0, 2**32 - 1), st.integers(-120, 360), st.integers(-120, 280), st.integers(20, 240))
def test_a_crop_is_that_of_the_picture_with_its_edge_repeated(seed: int, x: int, y: int, side: int) -> None:
    """Squares lie at quarters of pixels, which are exact in either picture."""
    image = np.random.default_rng(seed).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    wide = np.pad(image, ((64, 64), (64, 64), (0, 0)), mode="edge")
    square = np.array([x, y, x + side, y + side]) / 4
    np.testing.assert_array_equal(cut_crop(image, square, 24), cut_crop(wide, square + 64, 24))
    flipped = [80 - square[2], square[1], 80 - square[0], square[3]]
    view = image[:, ::-1]  # of a picture that is not laid out in a row
    np.testing.assert_array_equal(cut_crop(view, flipped, 24), cut_crop(view.copy(), flipped, 24))


def test_boxes_without_extent_or_with_nan_are_refused() -> None:
    with pytest.raises(HandsimError, match="x1 > x0"):
        square_around([5, 5, 5, 9])
    with pytest.raises(HandsimError, match="finite"):
        box_around([[np.nan, 1.0]])
    with pytest.raises(HandsimError, match="inverted"):
        invert_affine([[1, 1, 0], [1, 1, 0]])

"""One hand: its id, its skeleton, the geometry of its crop, and its drawing."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from handsim.drawing import LONGEST_SIDE_PX, HandDrawing, draw_hands
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
from handsim.hand import MAX_HAND_ID, format_hand_id, make_hand_id, parse_hand_id
from handsim.skeleton import (
    FINGER_COLOURS,
    FINGER_JOINTS,
    FINGERTIPS,
    JOINT_NAMES,
    JOINT_ORDERS,
    PARENTS,
    from_handsim_order,
    joint_colour,
    to_handsim_order,
)
from tests.handsim.builders import make_hand, make_partial_hand

COORDINATES = st.floats(-500, 500)
LENGTHS = st.floats(0.5, 500)
SEEDS = st.integers(0, 2**32 - 1)
GREY = 120


@given(st.integers(0, MAX_HAND_ID))
def test_ids_round_trip_through_16_hex_digits(hand_id: int) -> None:
    text = format_hand_id(hand_id)
    assert len(text) == 16
    assert parse_hand_id(text) == hand_id


@pytest.mark.parametrize(
    "text", ["", "7", "xyz", "ffffffffffffffff", "0x00000000000001", "0000_00000000000", "00000000000000001"]
)
def test_other_texts_are_not_ids(text: str) -> None:
    with pytest.raises(HandsimError, match="16 hex digits"):
        parse_hand_id(text)


def test_ids_are_stable_and_depend_on_every_part() -> None:
    assert make_hand_id("ego4d", "v1", 30, 0) == 0x70B94D75BD3B1717  # on disk: it must never change
    ids = {
        make_hand_id("ego4d", "v1", 30, 0),
        make_hand_id("100doh", "v1", 30, 0),
        make_hand_id("ego4d", "v2", 30, 0),
        make_hand_id("ego4d", "v1", 60, 0),
        make_hand_id("ego4d", "v1", 30, 1),
        make_hand_id("ego4d", "v1", 30, 0, "digest"),
    }
    assert len(ids) == 6


def test_wrong_fields_are_named() -> None:
    keypoints = np.zeros((21, 3), np.float32)
    keypoints[2], keypoints[4, 1] = np.nan, np.nan
    scores = np.full(21, 0.5, np.float32)
    scores[3], scores[6] = np.nan, 1.5
    for field, value, message in (
        ("side", "up", "side 'up'"),
        ("keypoints", np.zeros((20, 3), np.float32), r"\[20, 3\]"),
        ("keypoints", keypoints, "first at joint 4.*an unlabelled joint is NaN in x, y and z"),
        ("keypoints", np.full((21, 3), np.inf, np.float32), "first at joint 0"),
        ("keypoints", np.full((21, 3), np.nan, np.float32), "none of the 21 joints is labelled"),
        ("joint_scores", scores, r"score of joint 6 is 1\.5"),
        ("joint_scores", scores[:20], r"joint_scores have shape \[20\]"),
        ("hand_id", 2**63, "2\\^63"),
        ("joints_mm", scores, r"joints_mm has shape \[21\]; expected \[21, 3\]"),
        ("visible", keypoints, r"visible has shape \[21, 3\]; expected \[21\]"),
    ):
        with pytest.raises(HandsimError, match=message):
            make_hand(7, **{field: value})


def test_the_mask_says_which_joints_are_labelled() -> None:
    assert make_hand(7).joint_mask.all()
    assert np.flatnonzero(~make_partial_hand(7, [2, 9]).joint_mask).tolist() == [2, 9]


def test_the_skeleton_is_a_tree_of_five_fingers_rooted_in_the_wrist() -> None:
    assert len(set(JOINT_NAMES)) == len(PARENTS) == 21
    assert all(parent < joint for joint, parent in enumerate(PARENTS))  # so a single pass walks the tree
    assert [JOINT_NAMES[tip] for tip in FINGERTIPS] == [f"{finger}_tip" for finger in FINGER_JOINTS]
    for joints in FINGER_JOINTS.values():
        assert [PARENTS[joint] for joint in joints] == [0, *joints[:3]]
        assert len({joint_colour(joint) for joint in joints}) == 1


@pytest.mark.parametrize("order", JOINT_ORDERS)
def test_orders_are_permutations_that_round_trip(order: str) -> None:
    joints = np.random.default_rng(0).random((3, 21, 2)).astype(np.float32)
    assert sorted(JOINT_ORDERS[order]) == list(range(21))
    assert (from_handsim_order(to_handsim_order(joints, order), order) == joints).all()
    assert (to_handsim_order(from_handsim_order(joints, order), order) == joints).all()


def test_assemblyhands_has_tips_first_and_the_wrist_last_and_mano_its_tips_last() -> None:
    theirs = np.arange(21)[:, None]
    ours = to_handsim_order(theirs, "assemblyhands")[:, 0]
    assert ours.tolist() == [20, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12, 19, 18, 17, 16]
    assert to_handsim_order(theirs, "mano")[[0, *FINGERTIPS], 0].tolist() == [0, 16, 17, 18, 19, 20]


@given(COORDINATES, COORDINATES, LENGTHS, LENGTHS, st.floats(0.5, 3))
def test_the_square_is_centred_on_the_box_and_holds_it(
    x: float, y: float, width: float, height: float, enlargement: float
) -> None:
    x0, y0, x1, y1 = square_around([x, y, x + width, y + height], enlargement)
    assert x1 - x0 == pytest.approx(max(width, height) * enlargement)
    assert y1 - y0 == pytest.approx(x1 - x0)
    assert (x0 + x1) / 2 == pytest.approx(x + width / 2, abs=1e-6)
    assert (y0 + y1) / 2 == pytest.approx(y + height / 2, abs=1e-6)


@given(COORDINATES, COORDINATES, LENGTHS, st.booleans(), SEEDS)
def test_crop_affines_round_trip_and_leave_depth_alone(
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
    np.testing.assert_array_equal(mirror_points(corners, 100), [[90, 20], [40, 70]])


def test_a_dot_lands_where_the_affine_says() -> None:
    image = np.zeros((120, 160, 3), np.uint8)
    image[40:44, 100:104] = 255  # its middle is (102, 42) in continuous coordinates
    square = [70.0, 10.0, 130.0, 70.0]
    crop = cut_crop(image, square, 120).astype(float)[..., 0]
    rows, columns = np.mgrid[:120, :120] + 0.5
    centre = [(columns * crop).sum() / crop.sum(), (rows * crop).sum() / crop.sum()]
    expected = apply_affine(crop_affine(square, 120), np.array([[102.0, 42.0]]))[0]
    np.testing.assert_allclose(centre, expected, atol=0.05)


@settings(max_examples=40)
@given(SEEDS, st.integers(-120, 360), st.integers(-120, 280), st.integers(20, 240))
def test_a_crop_is_that_of_the_picture_with_its_edge_repeated(seed: int, x: int, y: int, side: int) -> None:
    """Squares lie at quarters of pixels, which are exact in either picture."""
    image = np.random.default_rng(seed).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    wide = np.pad(image, ((64, 64), (64, 64), (0, 0)), mode="edge")
    square = np.array([x, y, x + side, y + side]) / 4
    np.testing.assert_array_equal(cut_crop(image, square, 24), cut_crop(wide, square + 64, 24))
    flipped = [80 - square[2], square[1], 80 - square[0], square[3]]
    view = image[:, ::-1]  # of a picture that is not laid out in a row
    np.testing.assert_array_equal(cut_crop(view, flipped, 24), cut_crop(view.copy(), flipped, 24))


def test_unknown_orders_other_shapes_boxes_without_extent_nan_and_flat_affines_are_refused() -> None:
    refused: list[tuple[str, Callable[[], object]]] = [
        ("'smpl'.*freihand", lambda: to_handsim_order(np.zeros((21, 3)), "smpl")),
        (r"\(20, 3\)", lambda: to_handsim_order(np.zeros((20, 3)), "mano")),
        ("x1 > x0", lambda: square_around([5, 5, 5, 9])),
        ("finite", lambda: box_around([[np.nan, 1.0]])),
        ("inverted", lambda: invert_affine([[1, 1, 0], [1, 1, 0]])),
    ]
    for message, call in refused:
        with pytest.raises(HandsimError, match=message):
            call()


def draw(*hands: HandDrawing, width: int = 300, height: int = 200) -> NDArray[np.uint8]:
    """The hands over a grey picture."""
    return np.asarray(draw_hands(np.full((height, width, 3), GREY, np.uint8), hands))


def upright_hand(left: float, top: float, size: float) -> NDArray[np.float32]:
    """A wrist below, and each finger's joints in a column above it."""
    points = np.zeros((21, 2), np.float32)
    points[0] = (left + size / 2, top + size)
    for finger in range(5):
        for joint in range(4):
            points[1 + 4 * finger + joint] = (left + size * finger / 4, top + size * (3 - joint) / 4)
    return points


@pytest.mark.parametrize(("width", "size"), [(300, 80), (3200, 1600)])
def test_a_finger_has_its_colour_where_its_joints_are(width: int, size: int) -> None:
    points = upright_hand(0.2 * width, size / 2, size)
    picture = draw(HandDrawing(points), width=width, height=3 * width // 4)
    scale = min(1, LONGEST_SIDE_PX / width)  # a large picture is drawn on a smaller copy
    assert picture.shape == (3 * width // 4 * scale, width * scale, 3)
    x, y = (points[10:12].mean(axis=0) * scale).round().astype(int)  # the middle finger, pip to dip
    np.testing.assert_allclose(picture[y, x], FINGER_COLOURS["middle"], atol=12)
    rows, columns, _ = np.nonzero(picture != GREY)
    drawn = np.array([columns.min(), rows.min(), columns.max(), rows.max()])
    assert ((drawn - box_around(points) * scale) * [1, 1, -1, -1] > -0.1 * size * scale).all()


def test_every_hand_is_drawn_and_a_caption_above_it() -> None:
    one, other = upright_hand(20, 60, 60), upright_hand(200, 60, 60)
    plain = draw(HandDrawing(one), HandDrawing(other))
    named = draw(HandDrawing(one), HandDrawing(other, "left 0.98"))
    assert (plain[:, :150] != GREY).any()
    assert (plain[:, 150:] != GREY).any()
    changed = np.argwhere((plain != named).any(axis=2))
    assert len(changed) > 100
    assert changed[:, 0].max() < 60
    assert changed[:, 1].min() > 150


@pytest.mark.parametrize("corner", [(-40, -40), (270, 170), (-500, 20)])
def test_what_lies_outside_is_cut_off(corner: tuple[int, int]) -> None:
    picture = draw(HandDrawing(upright_hand(*corner, 80), "right"))
    assert picture.shape == (200, 300, 3)
    assert (picture != GREY).any() == (corner != (-500, 20))


def test_unlabelled_joints_and_their_bones_are_not_drawn() -> None:
    points = np.concatenate([upright_hand(60, 50, 80), np.zeros((21, 1), np.float32)], axis=1)
    tip, bone = (points[joints, :2].mean(axis=0).round().astype(int) for joints in ([12], [10, 11]))
    points[12] = np.nan
    picture = draw(HandDrawing(points))
    assert (picture[tip[1], tip[0]] == GREY).all()
    np.testing.assert_allclose(picture[bone[1], bone[0]], FINGER_COLOURS["middle"], atol=12)


def test_nearer_bones_cover_farther_ones() -> None:
    points = np.concatenate([upright_hand(60, 50, 80), np.zeros((21, 1), np.float32)], axis=1)
    points[9:13, :2] = points[5:9, :2]  # the middle finger behind the index, then before it
    x, y = points[6:8, :2].mean(axis=0).round().astype(int)
    for depth, finger in ((50, "index"), (-50, "middle")):
        points[9:13, 2] = depth
        np.testing.assert_allclose(draw(HandDrawing(points))[y, x], FINGER_COLOURS[finger], atol=12)

"""The hands within an outline, their summary, and the colour codes of all hands."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.browser.map.selection import (
    HUES,
    MAX_CLASSES,
    MAX_CORNERS,
    OTHERS,
    SHADES,
    UNKNOWN,
    choose_rows,
    colour,
    find_rows_within,
    parse_outline,
    summarise,
)
from tests.apps.browser.builders import build_map

SQUARE = ((0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75))


def grid(side: int = 21) -> np.ndarray:
    steps = np.linspace(0, 1, side)
    return np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)


def test_a_square_holds_the_hands_between_its_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    pose_map = build_map(grid(20))  # none lies on the line
    rows = np.flatnonzero(((pose_map.places > 0.25) & (pose_map.places < 0.75)).all(axis=1))
    np.testing.assert_array_equal(find_rows_within(pose_map, SQUARE), rows)
    np.testing.assert_array_equal(find_rows_within(pose_map, SQUARE[::-1]), rows)
    monkeypatch.setattr("apps.browser.map.selection._CHUNK", 7)
    np.testing.assert_array_equal(find_rows_within(pose_map, SQUARE), rows)


def test_a_hollow_in_the_outline_is_outside() -> None:
    pose_map = build_map([[0.5, 0.3], [0.5, 0.8], [0.1, 0.8], [0.9, 0.8]])
    u_shape = ((0, 0), (1, 0), (1, 1), (0.7, 1), (0.7, 0.5), (0.3, 0.5), (0.3, 1), (0, 1))
    assert find_rows_within(pose_map, u_shape).tolist() == [0, 2, 3]


def winding_number(x: float, y: float, corners: np.ndarray) -> float:
    """How often the outline goes round a place, by the angles under which its corners are seen."""
    angles = np.arctan2(corners[:, 1] - y, corners[:, 0] - x)
    turns = np.diff(np.append(angles, angles[0]))
    return float(((turns + math.pi) % (2 * math.pi) - math.pi).sum()) / (2 * math.pi)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)  # of a busy machine
@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=3, max_size=9),
    st.integers(0, 2**32 - 1),
)
def test_a_hand_is_within_if_its_winding_number_is_odd(corners: list[tuple[int, int]], seed: int) -> None:
    outline = tuple((x / 40, y / 40) for x, y in corners)
    places = np.random.default_rng(seed).uniform(0, 1, (25, 2)).astype(np.float32)
    rows = set(find_rows_within(build_map(places), outline).tolist())
    for row, (x, y) in enumerate(places.astype(np.float64)):
        turns = winding_number(x, y, np.array(outline))
        if abs(turns - round(turns)) < 1e-6:  # not on the line
            assert (row in rows) == (round(turns) % 2 == 1)


@pytest.mark.parametrize(
    "outline",
    [
        ((2, 2), (3, 2), (3, 3)),
        ((0.5, 0.5), (0.5, 0.5), (0.5, 0.5)),
        ((0, 0.1), (1, 0.1), (0, 0.1)),
    ],
)
def test_an_outline_without_an_area_or_beside_the_map_holds_nothing(
    outline: tuple[tuple[float, float], ...],
) -> None:
    assert not len(find_rows_within(build_map(grid()), outline))


def test_chosen_rows_are_nearest_to_the_middle_or_random() -> None:
    pose_map = build_map(grid(20))
    rows = find_rows_within(pose_map, SQUARE)
    middle = choose_rows(pose_map, rows, 9, "middle")
    from_middle = np.linalg.norm(pose_map.places - 0.5, axis=1)
    assert from_middle[middle].max() <= np.sort(from_middle[rows])[8] + 1e-6
    random = choose_rows(pose_map, rows, 30, "random")
    assert len(set(random.tolist())) == 30
    assert set(random.tolist()) <= set(rows.tolist())
    np.testing.assert_array_equal(random, choose_rows(pose_map, rows, 30, "random"))
    assert from_middle[random].mean() > from_middle[choose_rows(pose_map, rows, 30, "middle")].mean()
    assert sorted(choose_rows(pose_map, rows, 10_000, "random").tolist()) == rows.tolist()


def test_a_summary_counts_hands_videos_and_labels() -> None:
    pose_map = build_map(
        np.zeros((5, 2)),
        videos=["a", "a", "b", "c", "c"],
        labels=["one", "one", "two", None, "one"],
        distances=[1, 2, np.nan, 4, 9],
    )
    some = summarise(pose_map, np.array([0, 1, 2, 3]))
    assert (some.hands, some.videos, some.median_distance) == (4, 3, 2.0)
    assert some.labels == (("one", 0.5), ("two", 0.25))
    none = summarise(pose_map, np.array([], dtype=np.intp))
    assert (none.hands, none.videos, none.labels, none.median_distance) == (0, 0, (), None)


@pytest.mark.parametrize(
    "message",
    [
        *(None, 3, "[[0,0],[1,0],[1,1]]", {}, [], [[0, 0], [1, 1]]),
        *([[0, 0], [1, 0], [1]], [[0, 0], [1, 0], [1, "x"]], [[0, 0], [1, 0], [1, None]]),
        *([[0, 0], [1, 0], [1, math.inf]], [[0, 0], [1, 0], [math.nan, 1]]),
        [[0, 0]] * (MAX_CORNERS + 1),
    ],
)
def test_a_malformed_outline_is_ignored(message: object) -> None:
    assert parse_outline(message) is None


def test_an_outline_is_parsed() -> None:
    assert parse_outline([[0, 0], [1, 0.5], [0.25, 1]]) == ((0.0, 0.0), (1.0, 0.5), (0.25, 1.0))


def test_labels_are_classes_in_alphabetical_order() -> None:
    labels = ["two", None, "one", "two", "two"]
    colouring = colour(build_map(np.zeros((5, 2)), labels=labels), "label")
    assert colouring.kind == "classes"
    assert colouring.classes == (("one", 1), ("two", 3))
    assert colouring.codes.tolist() == [1, UNKNOWN, 0, 1, 1]
    assert (colouring.name_count, colouring.others, colouring.unknown) == (2, 0, 1)


def test_without_labels_all_hands_are_unknown() -> None:
    colouring = colour(build_map(np.zeros((3, 2))), "label")
    assert (colouring.classes, colouring.unknown) == ((), 3)
    assert (colouring.codes == UNKNOWN).all()


def test_rare_labels_share_a_code() -> None:
    labels: list[str | None] = [
        f"label {number:02}" for number in range(MAX_CLASSES + 3) for _ in range(number + 1)
    ]
    colouring = colour(build_map(np.zeros((len(labels), 2)), labels=labels), "label")
    assert [name for name, _ in colouring.classes] == [
        f"label {number:02}" for number in range(3, MAX_CLASSES + 3)
    ]
    assert colouring.others == int((colouring.codes == OTHERS).sum()) == 1 + 2 + 3
    assert sum(count for _, count in colouring.classes) + colouring.others == len(labels)
    for (name, _), code in zip(colouring.classes, range(MAX_CLASSES), strict=True):
        assert {labels[row] for row in np.flatnonzero(colouring.codes == code)} == {name}


def test_many_videos_have_hues_that_depend_on_their_names_alone() -> None:
    few = [f"v{row % MAX_CLASSES}" for row in range(24)]
    assert colour(build_map(np.zeros((24, 2)), videos=few), "video").kind == "classes"
    videos = [f"v{row % 100}" for row in range(300)]
    many = colour(build_map(np.zeros((300, 2)), videos=videos), "video")
    assert (many.kind, many.classes, many.name_count) == ("hues", (), 100)
    np.testing.assert_array_equal(many.codes[:100], many.codes[100:200])
    assert len(np.unique(many.codes)) > HUES / 2
    assert many.codes.max() < HUES
    other_map = colour(build_map(np.zeros((100, 2)), videos=videos[100:200]), "video")
    np.testing.assert_array_equal(other_map.codes, many.codes[:100])


def test_distances_have_a_scale_that_outliers_do_not_stretch() -> None:
    distances = np.append(np.linspace(1, 3, 1000), [np.nan, 500.0])
    colouring = colour(build_map(np.zeros((1002, 2)), distances=distances), "distance")
    assert colouring.kind == "scale"
    assert colouring.ends == pytest.approx((1.04, 2.96), abs=0.01)
    assert (np.diff(colouring.codes[:1000].astype(int)) >= 0).all()
    assert set(colouring.codes[:1000].tolist()) == set(range(SHADES))
    assert colouring.codes[1000:].tolist() == [UNKNOWN, SHADES - 1]
    assert colouring.unknown == 1


@pytest.mark.parametrize("distance", [np.nan, 0.0, 2.0])
def test_equal_distances_have_one_code(distance: float) -> None:
    colouring = colour(build_map(np.zeros((3, 2)), distances=[distance] * 3), "distance")
    assert len(set(colouring.codes.tolist())) == 1
    assert colouring.unknown == (3 if np.isnan(distance) else 0)

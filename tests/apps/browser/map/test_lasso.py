"""Hands within an outline."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.browser.map.selection import MOST_CORNERS, chosen_rows, gathered, outline_of, rows_within
from tests.apps.browser.map.some_maps import a_map

SQUARE = ((0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75))


def grid(side: int = 21) -> np.ndarray:
    steps = np.linspace(0, 1, side)
    return np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)


def test_a_square() -> None:
    of = a_map(grid(20))  # none lies on the line
    inside = ((of.places > 0.25) & (of.places < 0.75)).all(axis=1)
    np.testing.assert_array_equal(rows_within(of, SQUARE), np.flatnonzero(inside))
    np.testing.assert_array_equal(rows_within(of, SQUARE[::-1]), np.flatnonzero(inside))


def test_a_hollow_in_the_outline_is_outside() -> None:
    of = a_map([[0.5, 0.3], [0.5, 0.8], [0.1, 0.8], [0.9, 0.8]])
    u_shape = ((0, 0), (1, 0), (1, 1), (0.7, 1), (0.7, 0.5), (0.3, 0.5), (0.3, 1), (0, 1))
    assert rows_within(of, u_shape).tolist() == [0, 2, 3]


def winding(x: float, y: float, corners: np.ndarray) -> float:
    """How often the outline goes round a place, by the angles it is seen under."""
    angles = np.arctan2(corners[:, 1] - y, corners[:, 0] - x)
    turns = np.diff(np.append(angles, angles[0]))
    return float(((turns + math.pi) % (2 * math.pi) - math.pi).sum()) / (2 * math.pi)


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=3, max_size=9),
    st.integers(0, 2**32 - 1),
)
def test_as_by_the_winding_number(corners: list[tuple[int, int]], seed: int) -> None:
    outline = tuple((x / 40, y / 40) for x, y in corners)
    places = np.random.default_rng(seed).uniform(0, 1, (25, 2)).astype(np.float32)
    found = set(rows_within(a_map(places), outline).tolist())
    for row, (x, y) in enumerate(places.astype(np.float64)):
        turns = winding(x, y, np.array(outline))
        if abs(turns - round(turns)) < 1e-6:  # not upon the line
            assert (row in found) == (round(turns) % 2 == 1)


def test_more_hands_than_are_compared_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    of = a_map(grid())
    whole = rows_within(of, SQUARE)
    monkeypatch.setattr("apps.browser.map.selection._CHUNK", 7)
    np.testing.assert_array_equal(rows_within(of, SQUARE), whole)


def test_outlines_around_nothing() -> None:
    of = a_map(grid())
    for outline in (
        ((2, 2), (3, 2), (3, 3)),
        ((0.5, 0.5), (0.5, 0.5), (0.5, 0.5)),
        ((0, 0.1), (1, 0.1), (0, 0.1)),
    ):
        assert not len(rows_within(of, outline))


def test_the_chosen_are_nearest_to_the_middle_or_random() -> None:
    of = a_map(grid(20))
    rows = rows_within(of, SQUARE)
    middle = chosen_rows(of, rows, 9, "middle")
    far = np.linalg.norm(of.places - 0.5, axis=1)
    assert far[middle].max() <= np.sort(far[rows])[8] + 1e-6
    random = chosen_rows(of, rows, 30, "random")
    assert len(set(random.tolist())) == 30
    assert set(random.tolist()) <= set(rows.tolist())
    np.testing.assert_array_equal(random, chosen_rows(of, rows, 30, "random"))
    assert far[random].mean() > far[chosen_rows(of, rows, 30, "middle")].mean()
    assert sorted(chosen_rows(of, rows, 10_000, "random").tolist()) == rows.tolist()


def test_what_is_gathered() -> None:
    of = a_map(
        np.zeros((5, 2)),
        videos=["a", "a", "b", "c", "c"],
        labels=["one", "one", "two", None, "one"],
        distances=[1, 2, np.nan, 4, 9],
    )
    found = gathered(of, np.array([0, 1, 2, 3]))
    assert (found.hands, found.videos, found.median_distance) == (4, 3, 2.0)
    assert found.labels == (("one", 0.5), ("two", 0.25))
    nothing = gathered(of, np.array([], dtype=np.intp))
    assert (nothing.hands, nothing.videos, nothing.labels, nothing.median_distance) == (0, 0, (), None)


@pytest.mark.parametrize(
    "said",
    [
        *(None, 3, "[[0,0],[1,0],[1,1]]", {}, [], [[0, 0], [1, 1]]),
        *([[0, 0], [1, 0], [1]], [[0, 0], [1, 0], [1, "x"]], [[0, 0], [1, 0], [1, None]]),
        *([[0, 0], [1, 0], [1, math.inf]], [[0, 0], [1, 0], [math.nan, 1]]),
        [[0, 0]] * (MOST_CORNERS + 1),
    ],
)
def test_what_is_no_outline(said: object) -> None:
    assert outline_of(said) is None


def test_what_is_one() -> None:
    assert outline_of([[0, 0], [1, 0.5], [0.25, 1]]) == ((0.0, 0.0), (1.0, 0.5), (0.25, 1.0))

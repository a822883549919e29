import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.browser.training.curves import Curve, smooth


def test_as_long_as_there_is_room_each_point_is_there() -> None:
    curve = Curve(most=10)
    for step in range(9):
        curve.add(step, step * step)
    steps, values = curve.points()
    assert steps.tolist() == list(range(9))
    assert values.tolist() == [step * step for step in range(9)]


@given(st.integers(1, 500), st.sampled_from([2, 4, 10, 64]))
def test_portions_are_the_means_of_equal_portions(count: int, most: int) -> None:
    curve = Curve(most)
    added = np.cumsum(np.sin(np.arange(count)))
    for step, value in enumerate(added.tolist()):
        curve.add(step, value)
    portion = 1
    while count // portion >= most:
        portion *= 2
    expected = [added[first : first + portion].mean() for first in range(0, count, portion)]
    steps, values = curve.points()
    assert len(curve) == len(values) <= most
    np.testing.assert_allclose(values, expected, atol=1e-9)
    np.testing.assert_allclose(
        steps, [np.arange(count)[first : first + portion].mean() for first in range(0, count, portion)]
    )


def test_a_curve_of_a_million_steps_takes_no_more_room() -> None:
    curve = Curve()
    for step in range(1_000_000):
        curve.add(step, 1.0)
    steps, values = curve.points()
    assert 500 <= len(steps) <= 1000
    assert (np.diff(steps) > 0).all()
    assert (values == 1.0).all()


def test_smoothing_is_the_weighted_mean_of_what_came_before() -> None:
    values = np.array([3.0, -1.0, 4.0, 1.0, -5.0])
    weight = 0.7
    for place, found in enumerate(smooth(values, weight)):
        weights = weight ** np.arange(place, -1, -1)
        assert found == pytest.approx((weights * values[: place + 1]).sum() / weights.sum())


def test_no_smoothing_changes_nothing() -> None:
    values = np.array([3.0, -1.0, 4.0])
    np.testing.assert_array_equal(smooth(values, 0.0), values)

"""The One Euro filter: against the paper's formulas, one number at a time, and by what it promises."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from handsim.errors import HandsimError
from handsim.tracking import OneEuroFilter
from handsim.tracking.smoothing import HZ_PER_SPEED, RESTING_HZ


def smooth(
    times_s: Sequence[float], moments: NDArray[np.float64], strength: float, size: float = 1.0
) -> NDArray[np.float64]:
    """Points [T, N, D] smoothed."""
    smoothing = OneEuroFilter(strength)
    return np.stack(
        [smoothing.smooth(time_s, points, size) for time_s, points in zip(times_s, moments, strict=True)]
    )


def smooth_by_hand(
    times_s: Sequence[float], xs: Sequence[float], strength: float, size: float
) -> list[float]:
    """Algorithm 1 of the paper for one coordinate, with the difference of what was given as the speed."""
    result, speed = [xs[0]], 0.0
    for k in range(1, len(xs)):
        step_s = times_s[k] - times_s[k - 1]
        share = step_s / (step_s + 1 / (2 * math.pi * 1.0))
        speed = share * (xs[k] - xs[k - 1]) / step_s + (1 - share) * speed
        cutoff_hz = (RESTING_HZ + HZ_PER_SPEED * abs(speed) / size) / strength
        share = step_s / (step_s + 1 / (2 * math.pi * cutoff_hz))
        result.append(share * xs[k] + (1 - share) * result[-1])
    return result


STEPS_S = st.lists(st.floats(0.001, 2.0), min_size=1, max_size=12)


@given(STEPS_S, st.floats(0.1, 5.0), st.integers(0, 1000))
def test_it_is_the_papers_filter_at_any_times(steps_s: list[float], strength: float, seed: int) -> None:
    times_s = np.cumsum([0.0, *steps_s]).tolist()
    xs = np.random.default_rng(seed).normal(0, 80, len(times_s)).tolist()
    expected = smooth_by_hand(times_s, xs, strength, 80.0)
    points = np.array(xs)[:, None, None]
    assert smooth(times_s, points, strength, 80.0)[:, 0, 0] == pytest.approx(expected, rel=1e-6, abs=1e-6)


@given(STEPS_S, st.integers(0, 1000))
def test_strength_0_changes_nothing(steps_s: list[float], seed: int) -> None:
    times_s = np.cumsum([0.0, *steps_s]).tolist()
    points = np.random.default_rng(seed).normal(0, 80, (len(times_s), 21, 3))
    np.testing.assert_array_equal(smooth(times_s, points, 0.0, 80.0), points)


def test_a_resting_hand_wavers_less_the_stronger_it_is_smoothed() -> None:
    times_s = (np.arange(150) / 30).tolist()
    points = 0.01 * np.random.default_rng(0).standard_normal((150, 21, 2))
    wavers = [smooth(times_s, points, strength)[30:].std() for strength in (0.0, 0.5, 1.0, 4.0)]
    assert wavers == sorted(wavers, reverse=True)
    assert wavers[2] < 0.55 * wavers[0]


@given(st.floats(0.01, 20.0), st.floats(0.02, 1.0), st.floats(0.1, 4.0))
def test_a_steadily_moving_hand_lags_by_less_than_the_bound(
    speed: float, step_s: float, strength: float
) -> None:
    """Speed in hand sizes a second. The last of many moments: the speed is known by then."""
    times_s = (step_s * np.arange(150)).tolist()
    points = speed * np.array(times_s)[:, None, None] * np.array([0.6, 0.8])
    lag = points[-1] - smooth(times_s, points, strength)[-1]
    assert 0 <= np.linalg.norm(lag) < strength / (2 * math.pi * HZ_PER_SPEED)


def test_frames_out_of_order_and_strengths_below_0_are_refused() -> None:
    smoothing = OneEuroFilter(1.0)
    smoothing.smooth(2.0, np.zeros((21, 2)), 1.0)
    with pytest.raises(HandsimError, match=r"2 s is not after 2 s; give the frames in order"):
        smoothing.smooth(2.0, np.zeros((21, 2)), 1.0)
    with pytest.raises(HandsimError, match=r"smoothing is -1; it is 0 \(none\) or more"):
        OneEuroFilter(-1)

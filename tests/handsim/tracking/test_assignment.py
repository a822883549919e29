"""The assignment of detections to tracks against all assignments there are."""

from itertools import permutations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from handsim.tracking.assignment import assign


@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 2**32), st.booleans())
def test_no_assignment_costs_less(rows: int, columns: int, seed: int, has_ties: bool) -> None:
    costs = 5 * np.random.default_rng(seed).standard_normal((rows, columns))
    costs, limit = (costs.round() if has_ties else costs), 2.0
    pairs = assign(costs, limit)
    assert pairs == sorted(pairs)
    assert len({row for row, _ in pairs}) == len({column for _, column in pairs}) == len(pairs)
    assert all(costs[pair] < limit for pair in pairs)
    gains = np.minimum(costs - limit, 0)
    gains = gains.T if rows > columns else gains
    least = min(
        sum(gains[row, column] for row, column in enumerate(chosen))
        for chosen in permutations(range(gains.shape[1]), gains.shape[0])
    )
    np.testing.assert_allclose(sum(costs[pair] - limit for pair in pairs), least, atol=1e-9)

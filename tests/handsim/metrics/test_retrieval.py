"""Precision, recall and pose distance: small cases by hand, ties, and bad input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handsim import HandsimError
from handsim.metrics.retrieval import pose_distance, precision_at_k, recall_at_k


def test_precision_counts_matching_labels() -> None:
    queries, neighbours = np.array([0, 1]), np.array([[0, 0, 1], [0, -1, 1]])
    assert [precision_at_k(queries, neighbours, k) for k in (1, 2, 3)] == [0.5, 0.5, 0.5]
    assert precision_at_k(queries[:1], neighbours[:1], 3) == pytest.approx(2 / 3)


def test_recall_forgives_ties_and_places_left_over() -> None:
    true = np.array([[1.0, 1.0, 2.0], [1.0, np.inf, np.inf], [np.inf] * 3])
    assert recall_at_k(true, true, 3) == 1
    tied = np.array([[1.00001, 1.0, 2.0], [1.0, np.inf, np.inf], [np.inf] * 3])
    assert recall_at_k(tied, true, 3) == 1
    missed = np.array([[1.0, 2.0, 3.0], [5.0, np.inf, np.inf], [np.inf] * 3])
    assert recall_at_k(missed, true, 1) == 0.5
    assert recall_at_k(missed, true, 3) == pytest.approx((2 / 3 + 0) / 2)


@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_recall_is_the_share_found_where_nothing_is_tied(k: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    candidates = random.permutation(np.arange(1.0, 21.0))
    results = np.sort(candidates[:10])[None, :k]
    true = np.arange(1.0, k + 1.0)[None]
    assert recall_at_k(results, true, k) == pytest.approx(np.isin(results, true).sum() / k)


def test_pose_distance_is_the_mean_over_joints() -> None:
    first, second = np.random.default_rng(0).random((2, 4, 21, 3))
    x, y, _ = np.moveaxis(first - second, -1, 0)
    np.testing.assert_allclose(pose_distance(first, second), np.hypot(x, y).mean(axis=1))
    np.testing.assert_array_equal(pose_distance(first, first), np.zeros(4))


def test_no_query_a_query_without_a_label_and_k_out_of_reach_are_refused() -> None:
    codes = np.zeros((2, 3), dtype=int)
    for k in (0, 4):
        with pytest.raises(HandsimError, match=f"k is {k}, but each query has 3 neighbours"):
            precision_at_k(codes[:, 0], codes, k)
        with pytest.raises(HandsimError, match=f"k is {k}"):
            recall_at_k(np.zeros((2, 3)), np.zeros((2, 3)), k)
    with pytest.raises(HandsimError, match="no queries"):
        precision_at_k(codes[:0, 0], codes[:0], 1)
    with pytest.raises(HandsimError, match="no label"):
        precision_at_k(codes[:, 0] - 1, codes - 1, 1)

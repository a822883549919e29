"""Precision, recall and pose distance: small cases by hand, ties, and bad input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handsim import HandsimError
from handsim.metrics.retrieval import pose_distance, precision_at_k, recall_at_k


def test_precision_counts_matching_labels() -> None:
    queries = np.array([0, 1])
    neighbours = np.array([[0, 0, 1], [0, -1, 1]])
    assert precision_at_k(queries, neighbours, 1) == 0.5
    assert precision_at_k(queries, neighbours, 2) == 0.5
    assert precision_at_k(queries, neighbours, 3) == 0.5
    assert precision_at_k(queries[:1], neighbours[:1], 3) == pytest.approx(2 / 3)


def test_a_query_without_a_label_matches_nobody_without_one() -> None:
    with pytest.raises(HandsimError, match="no label"):
        precision_at_k(np.array([-1]), np.array([[-1]]), 1)


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
    random = np.random.default_rng(0)
    first, second = random.random((2, 4, 21, 3))
    slow = [
        np.mean([np.hypot(*(first[hand, joint, :2] - second[hand, joint, :2])) for joint in range(21)])
        for hand in range(4)
    ]
    np.testing.assert_allclose(pose_distance(first, second), slow)
    np.testing.assert_array_equal(pose_distance(first, first), np.zeros(4))


@pytest.mark.parametrize("k", [0, 4])
def test_k_out_of_reach(k: int) -> None:
    with pytest.raises(HandsimError, match=f"k is {k}, but each query has 3 neighbours"):
        precision_at_k(np.zeros(2, dtype=int), np.zeros((2, 3), dtype=int), k)
    with pytest.raises(HandsimError, match=f"k is {k}"):
        recall_at_k(np.zeros((2, 3)), np.zeros((2, 3)), k)


def test_nothing_to_measure() -> None:
    with pytest.raises(HandsimError, match="no queries"):
        precision_at_k(np.zeros(0, dtype=int), np.zeros((0, 3), dtype=int), 1)

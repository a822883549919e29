"""Numbers, histograms and hands of a small sample made by hand."""

from dataclasses import replace

import numpy as np
import pytest

from apps.browser.mining.measure import (
    TrialResult,
    distance_quantiles,
    figures,
    hands_without_positive,
    histogram,
    pairs_in_order,
)
from apps.browser.mining.page import distances_chart
from index import NO_HAND

TRIED = TrialResult(
    anchors=np.array([11, 12, 13, 14, 15], dtype=np.uint64),
    positives=np.array([21, NO_HAND, 21, 13, 22], dtype=np.uint64),
    distances=np.array([0.2, np.inf, 0.4, 0.6, 0.8], dtype=np.float32),
    pose_distances=np.array([0.3, np.nan, 0.1, 0.3, 0.2]),
    crosses=np.array([True, False, True, False, True]),
    random_distances=np.array([0.4, 0.5]),
    hubs=np.array([21, 13, 22], dtype=np.uint64),
    hub_counts=np.array([2, 1, 1]),
    all_positives=4,
    unique_positives=3,
    same_label=0.25,
    not_in_index=0,
    to_relax=(),
    one_video=None,
)
ALONE = replace(
    TRIED,
    positives=np.full(5, NO_HAND, dtype=np.uint64),
    distances=np.full(5, np.inf, dtype=np.float32),
    pose_distances=np.full(5, np.nan),
    random_distances=np.empty(0),
    hubs=np.empty(0, dtype=np.uint64),
    hub_counts=np.empty(0, dtype=np.int64),
)


def test_numbers() -> None:
    found = figures(TRIED)
    assert found.with_positive == 0.8
    assert found.cross_video == 0.75
    assert found.pose_distance == pytest.approx(0.225)
    assert found.random_pose_distance == pytest.approx(0.45)
    assert found.distance == pytest.approx(0.5)
    assert found.different == 0.75
    assert found.most_chosen == 2
    assert found.same_label == 0.25


def test_numbers_of_no_pairs() -> None:
    found = figures(ALONE)
    assert found.with_positive == 0
    assert (found.cross_video, found.pose_distance, found.random_pose_distance) == (None, None, None)
    assert (found.distance, found.different, found.most_chosen) == (None, None, None)


def test_orders() -> None:
    assert pairs_in_order(TRIED, "worst", 9).tolist() == [0, 3, 4, 2]
    assert pairs_in_order(TRIED, "best", 2).tolist() == [2, 4]
    drawn = [pairs_in_order(TRIED, "random", 9, seed).tolist() for seed in range(20)]
    assert all(sorted(places) == [0, 2, 3, 4] for places in drawn)
    assert len(set(map(tuple, drawn))) > 5
    assert pairs_in_order(ALONE, "worst", 9).tolist() == []


def test_hands_without_a_positive() -> None:
    assert hands_without_positive(TRIED, 3).tolist() == [12]
    assert hands_without_positive(ALONE, 3).tolist() == [11, 13, 15]
    assert hands_without_positive(ALONE, 9).tolist() == [11, 12, 13, 14, 15]
    assert hands_without_positive(replace(TRIED, positives=TRIED.anchors), 3).tolist() == []


def test_quantiles() -> None:
    assert distance_quantiles(TRIED) == pytest.approx((0.5, 0.77))
    assert distance_quantiles(ALONE) is None


def test_a_histogram_counts_what_is_finite() -> None:
    random = np.random.default_rng(0)
    first, second = random.random(500), random.random(70) * 2
    drawn = histogram({"a": np.append(first, [np.nan, np.inf]), "none": np.array([np.nan]), "b": second}, 7)
    assert list(drawn.shares) == ["a", "b"]
    assert drawn.edges[0] == 0
    assert drawn.edges[-1] == second.max()
    for name, distances in (("a", first), ("b", second)):
        for left, right, share in zip(drawn.edges, drawn.edges[1:], drawn.shares[name], strict=False):
            last = right == drawn.edges[-1]
            inside = sum(left <= each < right or (last and each == right) for each in distances.tolist())
            assert share == pytest.approx(inside / len(distances))
        assert drawn.shares[name].sum() == pytest.approx(1)


def test_a_histogram_of_nothing_and_of_zeros() -> None:
    assert histogram({"none": np.empty(0)}).shares == {}
    zeros = histogram({"a": np.zeros(3)}, 4)
    assert zeros.shares["a"].tolist() == [1, 0, 0, 0]


def test_the_chart_tells_lines_apart_by_more_than_colour() -> None:
    said = distances_chart(histogram({"a": np.array([0.1]), "b": np.array([0.2])})).to_dict()
    assert said["encoding"]["strokeDash"]["field"] == said["encoding"]["color"]["field"] == "pairs"
    (rows,) = said["datasets"].values()
    assert len(rows) == 80

"""A policy tried on a sample, against slow and obvious answers: numbers, histogram, examples and weights."""

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from apps.browser.library import Library
from apps.browser.mining import measure
from apps.browser.mining.measure import (
    POSITIVE_STREAM,
    TrialResult,
    WeightForm,
    cached_trial,
    distance_quantiles,
    figures,
    hands_without_positive,
    histogram,
    pair_weights,
    pairs_in_order,
    to_relax,
    try_policy,
)
from apps.browser.mining.page import distances_chart
from apps.browser.mining.policy import MiningTrial
from apps.browser.serve import BrowserSettings
from handsim import Pool, PoolWriter, PoseEmbedding
from handsim.errors import HandsimError, NotThereError
from handsim.metrics.retrieval import pose_distance
from index import NO_HAND, ExactIndex, IndexVersion, MiningPolicy
from tests.index.builders import write_pool
from training.losses import Weighting, positive_weights
from training.pairs.live import LiveNeighbors, PinnedVersion
from training.pairs.settings import PairSettings
from training.pairs.sources import HandSet
from training.pretrain.module import _WEIGHTED_PX

POLICIES = [
    MiningPolicy(),
    MiningPolicy(top_k=4),
    MiningPolicy(top_k=5, first_rank=3),
    MiningPolicy(other_video=False),
    MiningPolicy(top_k=3, one_per_video=True),
    MiningPolicy(top_k=6, max_distance=0.4),
]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    """450 hands of 30 videos, fewer than the smallest sample."""
    return write_pool(tmp_path_factory.mktemp("mining") / "pool", videos=30)


@pytest.fixture(scope="module")
def version(pool: Pool) -> IndexVersion:
    return ExactIndex(pool, PoseEmbedding.fit(pool))


@pytest.fixture(scope="module")
def apart(version: IndexVersion, pool: Pool) -> NDArray[np.float64]:
    """[450, 450] distances in the embedding, of every hand to every other."""
    vectors = version.vectors(pool.hand_ids).astype(np.float64)
    return np.asarray(np.linalg.norm(vectors[:, None] - vectors, axis=2))


def allowed(apart: NDArray[np.float64], pool: Pool, row: int, policy: MiningPolicy) -> dict[int, float]:
    """The positives of one hand and their distances, by looking at every hand."""
    distances = apart[row]
    ranked: list[int] = []
    videos = set()
    for other in np.argsort(distances, kind="stable").tolist():
        if other == row or (policy.other_video and pool.videos[other] == pool.videos[row]):
            continue
        if policy.one_per_video and pool.videos[other] in videos:
            continue
        videos.add(pool.videos[other])
        ranked.append(other)
        if len(ranked) == policy.top_k:
            break
    most = np.inf if policy.max_distance is None else policy.max_distance
    within = [other for other in ranked[policy.first_rank - 1 :] if distances[other] <= most]
    return {int(pool.hand_ids[other]): float(distances[other]) for other in within}


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_a_trial_agrees_with_exhaustive_search(
    version: IndexVersion, pool: Pool, apart: NDArray[np.float64], policy: MiningPolicy
) -> None:
    result = try_policy(version, pool, MiningTrial(policy, 500))
    np.testing.assert_array_equal(result.anchors, pool.hand_ids)
    chosen: Counter[int] = Counter()
    for place, row in enumerate(pool.rows(result.anchors).tolist()):
        positives = allowed(apart, pool, row, policy)
        chosen.update(positives.keys())
        assert result.paired[place] == bool(positives)
        if not positives:
            assert np.isinf(result.distances[place])
            assert np.isnan(result.pose_distances[place])
            continue
        positive = int(result.positives[place])
        other = int(pool.rows(positive)[0])
        assert result.distances[place] == pytest.approx(positives[positive], abs=1e-5)
        steps = (pool.keypoints[row] - pool.keypoints[other])[:, :2]
        mean = np.hypot(*steps.T.astype(np.float64)).mean()
        assert result.pose_distances[place] == pytest.approx(mean, rel=1e-5)
        assert result.crosses[place] == (pool.videos[row] != pool.videos[other])
    assert result.all_positives == chosen.total()
    assert result.unique_positives == len(chosen)
    expected = sorted(chosen.items(), key=lambda each: (-each[1], each[0]))[: len(result.hubs)]
    assert list(zip(result.hubs.tolist(), result.hub_counts.tolist(), strict=True)) == expected


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_pre_training_draws_the_same_pairs(version: IndexVersion, pool: Pool, policy: MiningPolicy) -> None:
    result = try_policy(version, pool, MiningTrial(policy, 500, seed=3))
    source = LiveNeighbors(PinnedVersion(version), PairSettings(policy=policy), HandSet(pool.hand_ids))
    shown = source.draw(result.anchors, np.random.default_rng([3, POSITIVE_STREAM]))
    own = np.where(result.paired, result.positives, result.anchors)
    np.testing.assert_array_equal(shown.positives, own)
    assert shown.without_positive == (~result.paired).sum()
    np.testing.assert_array_equal(shown.distances[result.paired], result.distances[result.paired])


def test_a_sample_is_the_same_for_every_policy(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool", videos=40)
    version = ExactIndex(pool, PoseEmbedding.fit(pool))
    first = try_policy(version, pool, MiningTrial(sample=500))
    second = try_policy(version, pool, MiningTrial(MiningPolicy(top_k=7, max_distance=0.3), 500))
    other = try_policy(version, pool, MiningTrial(sample=500, seed=1))
    assert len(first) == len(set(first.anchors.tolist())) == 500
    np.testing.assert_array_equal(first.anchors, second.anchors)
    np.testing.assert_array_equal(first.random_distances, second.random_distances)
    assert (first.anchors != other.anchors).any()


def test_random_pairs_are_further_apart(version: IndexVersion, pool: Pool) -> None:
    result = try_policy(version, pool, MiningTrial())
    everything = [
        pose_distance(pool.keypoints[[row]], pool.keypoints[pool.videos.codes != pool.videos.codes[row]])
        for row in range(0, len(pool), 9)
    ]
    assert result.random_distances.mean() == pytest.approx(np.concatenate(everything).mean(), rel=0.05)
    assert 400 < len(result.random_distances) < len(pool)
    assert result.pose_distances.mean() < result.random_distances.mean() / 3


def test_same_label_is_the_share_of_labelled_pairs(version: IndexVersion, pool: Pool) -> None:
    result = try_policy(version, pool, MiningTrial())
    rows, others = pool.rows(result.anchors).tolist(), pool.rows(result.positives).tolist()
    labels = [(pool.labels[row], pool.labels[other]) for row, other in zip(rows, others, strict=True)]
    same = [first == second for first, second in labels if first is not None and second is not None]
    assert result.same_label == pytest.approx(np.mean(same))


def test_of_one_video_only_another_video_helps(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool", videos=1)
    version = ExactIndex(pool, PoseEmbedding.fit(pool, components=4))
    result = try_policy(version, pool, MiningTrial())
    assert not result.paired.any()
    assert (result.positives == NO_HAND).all()
    assert result.to_relax == (("other_video", 1.0),)
    assert result.one_video == "video 0"
    assert len(result.random_distances) == 0
    assert (result.all_positives, result.same_label) == (0, None)
    # Where two conditions stand in the way, leaving out one of them does not help.
    assert try_policy(version, pool, MiningTrial(MiningPolicy(max_distance=0.0))).to_relax == ()


def test_the_condition_whose_removal_helps_most_comes_first(
    version: IndexVersion, pool: Pool, apart: NDArray[np.float64]
) -> None:
    policy = MiningPolicy(top_k=2, first_rank=2, max_distance=0.4)
    result = try_policy(version, pool, MiningTrial(policy, 500))
    alone = result.anchors[~result.paired]
    assert 200 < len(alone) < 450  # so many that not all are searched again
    relaxed_shares = dict(result.to_relax)
    assert relaxed_shares["max_distance"] == 1
    assert list(relaxed_shares.values()) == sorted(relaxed_shares.values(), reverse=True)
    relaxed = MiningPolicy(top_k=2, max_distance=0.4)
    hands = alone[:: -(-len(alone) // 200)]
    having = [bool(allowed(apart, pool, int(pool.rows(hand)[0]), relaxed)) for hand in hands]
    assert relaxed_shares["first_rank"] == pytest.approx(np.mean(having))
    assert to_relax(version, alone[:0], policy) == ()


def test_hands_that_index_or_pool_lacks_are_no_anchors_or_positives(tmp_path: Path) -> None:
    small = write_pool(tmp_path / "small", videos=5)
    large = write_pool(tmp_path / "large", videos=7)
    of_large = try_policy(ExactIndex(small, PoseEmbedding.fit(small)), large, MiningTrial(sample=500))
    assert of_large.not_in_index == 30
    assert set(of_large.anchors.tolist()) == set(small.hand_ids.tolist())
    index_of_large = ExactIndex(large, PoseEmbedding.fit(large))
    of_small = try_policy(index_of_large, small, MiningTrial(MiningPolicy(top_k=9)))
    assert set(of_small.positives[of_small.paired].tolist()) <= set(small.hand_ids.tolist())


def test_what_cannot_be_tried_is_refused(version: IndexVersion, pool: Pool, tmp_path: Path) -> None:
    with PoolWriter(tmp_path / "empty"):
        pass
    with pytest.raises(HandsimError, match="the pool has no hands yet"):
        try_policy(version, Pool.open(tmp_path / "empty"), MiningTrial())
    strangers = write_pool(tmp_path / "strangers", videos=2, seed=9)
    with pytest.raises(NotThereError, match="no hand"):
        try_policy(version, strangers, MiningTrial())
    few = write_pool(tmp_path / "few", videos=2)
    index_of_few = ExactIndex(few, PoseEmbedding.fit(few, components=4))
    with pytest.raises(HandsimError, match="k is 32; this index of 30 hands"):
        try_policy(index_of_few, few, MiningTrial(MiningPolicy(top_k=32)))


RESULT = TrialResult(
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
WITHOUT_PAIRS = replace(
    RESULT,
    positives=np.full(5, NO_HAND, dtype=np.uint64),
    distances=np.full(5, np.inf, dtype=np.float32),
    pose_distances=np.full(5, np.nan),
    random_distances=np.empty(0),
    hubs=np.empty(0, dtype=np.uint64),
    hub_counts=np.empty(0, dtype=np.int64),
)


def test_figures_are_means_and_quantiles_over_the_pairs() -> None:
    assert figures(RESULT) == {
        "with_positive": 0.8,
        "cross_video": 0.75,
        "pose_distance": pytest.approx(0.225),
        "times_nearer": pytest.approx(2.0),
        "distance": pytest.approx(0.5),
        "different": 0.75,
        "most_chosen": 2,
        "same_label": 0.25,
    }
    assert figures(WITHOUT_PAIRS) == {"with_positive": 0, "same_label": 0.25}
    assert distance_quantiles(RESULT) == pytest.approx((0.5, 0.77))
    assert distance_quantiles(WITHOUT_PAIRS) is None


def test_pairs_are_ordered_by_pose_distance_or_at_random() -> None:
    assert pairs_in_order(RESULT, "worst", 9).tolist() == [0, 3, 4, 2]
    assert pairs_in_order(RESULT, "best", 2).tolist() == [2, 4]
    shown = [pairs_in_order(RESULT, "random", 9, seed).tolist() for seed in range(20)]
    assert all(sorted(places) == [0, 2, 3, 4] for places in shown)
    assert len(set(map(tuple, shown))) > 5
    assert pairs_in_order(WITHOUT_PAIRS, "worst", 9).tolist() == []


def test_hands_without_a_positive_are_spread_over_the_sample() -> None:
    assert hands_without_positive(RESULT, 3).tolist() == [12]
    assert hands_without_positive(WITHOUT_PAIRS, 3).tolist() == [11, 13, 15]
    assert hands_without_positive(WITHOUT_PAIRS, 9).tolist() == [11, 12, 13, 14, 15]
    assert hands_without_positive(replace(RESULT, positives=RESULT.anchors), 3).tolist() == []


def test_a_histogram_counts_what_is_finite() -> None:
    random = np.random.default_rng(0)
    first, second = random.random(500), random.random(70) * 2
    rows = histogram({"a": np.append(first, [np.nan, np.inf]), "none": np.array([np.nan]), "b": second}, 7)
    assert [row["pairs"] for row in rows] == ["a"] * 7 + ["b"] * 7
    assert (rows[0]["distance"], rows[-1]["to"]) == (0, second.max())
    for name, distances in (("a", first), ("b", second)):
        bins = [row for row in rows if row["pairs"] == name]
        for row in bins:
            inside = (distances >= row["distance"]) & ((distances < row["to"]) | (row is bins[-1]))
            assert row["share"] == pytest.approx(inside.mean())
        assert sum(row["share"] for row in bins) == pytest.approx(1)
    assert histogram({"none": np.empty(0)}) == []
    assert [row["share"] for row in histogram({"a": np.zeros(3)}, 4)] == [1, 0, 0, 0]


def test_the_lines_of_the_chart_differ_by_more_than_colour() -> None:
    chart = distances_chart(histogram({"a": np.array([0.1]), "b": np.array([0.2])})).to_dict()
    assert chart["encoding"]["strokeDash"]["field"] == chart["encoding"]["color"]["field"] == "pairs"
    (rows,) = chart["datasets"].values()
    assert len(rows) == 80


def test_a_trial_is_computed_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library, pool = Library(BrowserSettings(home)), Pool.open(home / "pool")
    measure._cached.clear()
    with library.open_version() as version:
        first = cached_trial(library, pool, version, MiningTrial(seed=1))
        with monkeypatch.context() as meanwhile:
            meanwhile.setattr(measure, "try_policy", lambda *_: pytest.fail("it was computed again"))
            again = cached_trial(library, pool, version, MiningTrial(seed=1))
        other = cached_trial(library, pool, version, MiningTrial(seed=2))
    assert again.random_distances.tolist() == first.random_distances.tolist()
    assert other.random_distances.tolist() != first.random_distances.tolist()


@given(st.integers(1, 40), st.sampled_from(get_args(WeightForm)), st.integers(0, 2**31))
def test_pair_weights_are_those_of_the_loss(pairs: int, form: WeightForm, seed: int) -> None:
    random = np.random.default_rng(seed)
    first = random.random((pairs, 21, 2)).astype(np.float32)
    second = (first + random.normal(scale=random.random((pairs, 1, 1)), size=first.shape)).astype(np.float32)
    anchors, positives = (torch.from_numpy(points) * _WEIGHTED_PX for points in (first, second))
    expected = positive_weights(anchors, positives, Weighting("positives", form)).numpy()
    np.testing.assert_allclose(pair_weights(pose_distance(first, second), form), expected, atol=2e-5)


def test_an_anchor_without_a_positive_has_no_weight() -> None:
    weights = pair_weights(np.array([0.1, np.nan, 0.3, 0.2, np.inf]), "linear")
    np.testing.assert_allclose(weights, [1, np.nan, 0, 0.5, np.nan])
    assert len(pair_weights(np.empty(0), "sigmoid")) == 0


@pytest.mark.slow
def test_opening_the_page_does_not_load_torch() -> None:
    code = "import sys, apps.browser.mining.page; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""A policy tried on a sample, against slow and obvious answers."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from apps.browser.library import Library
from apps.browser.mining.measure import POSITIVE_STREAM, TrialResult, to_relax, try_policy
from apps.browser.mining.policy import MiningTrial
from handsim import Pool, PoolWriter, PoseEmbedding
from handsim.errors import HandsimError, NotThereError
from handsim.metrics.retrieval import pose_distance
from index import NO_HAND, ExactIndex, IndexVersion, MiningPolicy
from tests.index.builders import write_pool
from training.pairs.live import LiveNeighbors, PinnedVersion
from training.pairs.settings import PairSettings
from training.pairs.sources import HandSet

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
    distances: NDArray[np.float64] = np.linalg.norm(vectors[:, None] - vectors, axis=2)
    return distances


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
    within = [
        other
        for other in ranked[policy.first_rank - 1 : policy.top_k]
        if policy.max_distance is None or distances[other] <= policy.max_distance
    ]
    return {int(pool.hand_ids[other]): float(distances[other]) for other in within}


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_against_looking_at_every_hand(
    version: IndexVersion, pool: Pool, apart: NDArray[np.float64], policy: MiningPolicy
) -> None:
    tried = try_policy(version, pool, MiningTrial(policy, 500))
    np.testing.assert_array_equal(tried.anchors, pool.hand_ids)
    chosen: Counter[int] = Counter()
    for place, row in enumerate(pool.rows(tried.anchors).tolist()):
        positives = allowed(apart, pool, row, policy)
        chosen.update(positives.keys())
        assert tried.paired[place] == bool(positives)
        if not positives:
            assert np.isinf(tried.distances[place])
            assert np.isnan(tried.pose_distances[place])
            continue
        positive = int(tried.positives[place])
        other = int(pool.rows(positive)[0])
        assert tried.distances[place] == pytest.approx(positives[positive], abs=1e-5)
        steps = (pool.keypoints[row] - pool.keypoints[other])[:, :2].tolist()
        mean = sum(math.hypot(*step) for step in steps) / 21
        assert tried.pose_distances[place] == pytest.approx(mean, rel=1e-5)
        assert tried.crosses[place] == (pool.videos[row] != pool.videos[other])
    assert tried.all_positives == chosen.total()
    assert tried.unique_positives == len(chosen)
    expected = sorted(chosen.items(), key=lambda each: (-each[1], each[0]))[: len(tried.hubs)]
    assert list(zip(tried.hubs.tolist(), tried.hub_counts.tolist(), strict=True)) == expected


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_pre_training_draws_the_same_pairs(version: IndexVersion, pool: Pool, policy: MiningPolicy) -> None:
    tried = try_policy(version, pool, MiningTrial(policy, 500, seed=3))
    source = LiveNeighbors(PinnedVersion(version), PairSettings(policy=policy), HandSet(pool.hand_ids))
    drawn = source.draw(tried.anchors, np.random.default_rng([3, POSITIVE_STREAM]))
    own = np.where(tried.paired, tried.positives, tried.anchors)
    np.testing.assert_array_equal(drawn.positives, own)
    assert drawn.without_positive == (~tried.paired).sum()
    np.testing.assert_array_equal(drawn.distances[tried.paired], tried.distances[tried.paired])


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
    tried = try_policy(version, pool, MiningTrial())
    everything = [
        pose_distance(pool.keypoints[[row]], pool.keypoints[pool.videos.codes != pool.videos.codes[row]])
        for row in range(0, len(pool), 9)
    ]
    assert tried.random_distances.mean() == pytest.approx(np.concatenate(everything).mean(), rel=0.05)
    assert 400 < len(tried.random_distances) < len(pool)
    assert tried.pose_distances.mean() < tried.random_distances.mean() / 3


def test_labels(version: IndexVersion, pool: Pool) -> None:
    tried = try_policy(version, pool, MiningTrial())
    rows, others = pool.rows(tried.anchors).tolist(), pool.rows(tried.positives).tolist()
    labels = [(pool.labels[row], pool.labels[other]) for row, other in zip(rows, others, strict=True)]
    same = [first == second for first, second in labels if first is not None and second is not None]
    assert tried.same_label == pytest.approx(np.mean(same))


def test_one_video_says_what_to_relax(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool", videos=1)
    tried = try_policy(ExactIndex(pool, PoseEmbedding.fit(pool, components=4)), pool, MiningTrial())
    assert not tried.paired.any()
    assert (tried.positives == NO_HAND).all()
    assert tried.to_relax == (("other_video", 1.0),)
    assert tried.one_video == "video 0"
    assert len(tried.random_distances) == 0
    assert (tried.all_positives, tried.same_label) == (0, None)


def test_what_helps_most_comes_first(version: IndexVersion, pool: Pool, apart: NDArray[np.float64]) -> None:
    policy = MiningPolicy(top_k=2, first_rank=2, max_distance=0.4)
    tried = try_policy(version, pool, MiningTrial(policy, 500))
    alone = tried.anchors[~tried.paired]
    assert 200 < len(alone) < 450  # so that not all of them are asked about
    helped = dict(tried.to_relax)
    assert helped["max_distance"] == 1
    assert list(helped.values()) == sorted(helped.values(), reverse=True)
    relaxed = MiningPolicy(top_k=2, max_distance=0.4)
    asked = alone[:: -(-len(alone) // 200)]
    having = [bool(allowed(apart, pool, int(pool.rows(hand)[0]), relaxed)) for hand in asked]
    assert helped["first_rank"] == pytest.approx(np.mean(having))
    assert to_relax(version, alone[:0], policy) == ()


def test_nothing_helps_where_two_conditions_stand_in_the_way(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool", videos=1)
    version = ExactIndex(pool, PoseEmbedding.fit(pool, components=4))
    assert try_policy(version, pool, MiningTrial(MiningPolicy(max_distance=0.0))).to_relax == ()


def test_hands_that_the_index_lacks_are_no_anchors(tmp_path: Path) -> None:
    small = write_pool(tmp_path / "small", videos=20)
    large = write_pool(tmp_path / "large", videos=25)
    version = ExactIndex(small, PoseEmbedding.fit(small))
    tried = try_policy(version, large, MiningTrial(sample=500))
    assert tried.not_in_index == 75
    assert set(tried.anchors.tolist()) == set(small.hand_ids.tolist())


def test_hands_that_the_pool_lacks_are_no_positives(tmp_path: Path) -> None:
    small = write_pool(tmp_path / "small", videos=20)
    large = write_pool(tmp_path / "large", videos=25)
    tried = try_policy(ExactIndex(large, PoseEmbedding.fit(large)), small, MiningTrial(MiningPolicy(top_k=9)))
    assert set(tried.positives[tried.paired].tolist()) <= set(small.hand_ids.tolist())


def test_what_cannot_be_tried(version: IndexVersion, pool: Pool, tmp_path: Path) -> None:
    with PoolWriter(tmp_path / "empty"):
        pass
    with pytest.raises(HandsimError, match="the pool has no hands yet"):
        try_policy(version, Pool.open(tmp_path / "empty"), MiningTrial())
    strangers = write_pool(tmp_path / "strangers", videos=2, seed=9)
    with pytest.raises(NotThereError, match="no hand"):
        try_policy(version, strangers, MiningTrial())
    few = write_pool(tmp_path / "few", videos=2)
    with pytest.raises(HandsimError, match="k is 32; this index of 30 hands"):
        try_policy(
            ExactIndex(few, PoseEmbedding.fit(few, components=4)), few, MiningTrial(MiningPolicy(top_k=32))
        )


def test_a_real_index(library: Library) -> None:
    pool = library.open_pool()
    with library.open_version() as version:
        tried: TrialResult = try_policy(version, pool, MiningTrial())
    assert len(tried) == 60
    assert tried.crosses.all()
    np.testing.assert_array_equal(tried.anchors, pool.hand_ids)

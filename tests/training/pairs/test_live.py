"""Pairs from the index: while it stays, changes, or is away, from this process and from another one."""

import multiprocessing
from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest

from handsim import HandsimError, Pool, PoseEmbedding
from handsim.errors import NotThereError, UnavailableError
from index import Catalog, ExactIndex, LiveIndex, MinedPairs, MiningPolicy, mine
from tests.index.builders import memory_catalog
from tests.training.pairs.builders import SMALL_GRAPH, Away, Scripted, rng
from training.pairs import (
    HandSet,
    LiveNeighbors,
    PairDraw,
    PairSettings,
    PinnedVersion,
    QueryProcess,
    RetryingPairSource,
)

pytestmark = [
    pytest.mark.slow,
    # What the client's local mode warns of is known: it has no indexes, and needs none.
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact"),
]

BAND = PairSettings(negatives_per_anchor=2, negative_min_distance=5.4, negative_max_distance=5.8)


@pytest.fixture(params=["edge", "memory"])
def any_catalog(request: pytest.FixtureRequest, catalog: Catalog) -> Iterator[Catalog]:
    """Both engines."""
    with memory_catalog() if request.param == "memory" else catalog as chosen:
        yield chosen


def draw(
    catalog: Catalog, settings: PairSettings, pool_hands: HandSet, anchors: np.ndarray, seed: int = 0
) -> PairDraw:
    with closing(LiveNeighbors(LiveIndex(catalog), settings, pool_hands)) as source:
        return source.draw(anchors, rng(seed))


def test_an_index_that_compares_other_poses_than_the_recipe_asks_for_is_refused_with_the_way_to_one(
    catalog: Catalog, pool: Pool, pool_hands: HandSet
) -> None:
    """Also when it is published during training; what asks for less than the index gives is served."""
    catalog.build(pool, PoseEmbedding.fit(pool))
    both = PairSettings(depth=True, up_to_turn=True)
    remedy = "`handsim embedding fit --depth --up-to-turn` and `handsim index build`"
    with closing(LiveNeighbors(LiveIndex(catalog), both, pool_hands)) as source:
        with pytest.raises(HandsimError, match=f"v0001 finds neighbours by 2D poses, as they .*{remedy}"):
            source.draw(pool.hand_ids[:4], rng())
        catalog.build(pool, PoseEmbedding.fit(pool, depth=True, up_to_turn=True))
        assert source.draw(pool.hand_ids[:4], rng()).up_to_turn
        catalog.build(pool, PoseEmbedding.fit(pool, depth=True))
        with pytest.raises(HandsimError, match=r"v0003 finds .* 2.5D poses, .*pairs.up_to_turn ask.* set it"):
            source.draw(pool.hand_ids[:4], rng())
    assert not draw(catalog, PairSettings(depth=True), pool_hands, pool.hand_ids[:4]).up_to_turn


def test_a_quantile_is_that_of_the_versions_own_distances_whoever_asks(
    built: Catalog, exact: ExactIndex, pool: Pool, pool_hands: HandSet
) -> None:
    policy = MiningPolicy(max_quantile=0.5)
    nearest = MinedPairs.concatenate(mine(exact, pool.hand_ids)).distances[:, 0]
    for hands in (pool.hand_ids, pool.hand_ids[:20]):
        pairs = draw(built, PairSettings(policy=policy), pool_hands, hands)
        has_positive = nearest[: len(hands)] <= np.median(nearest)
        np.testing.assert_array_equal(pairs.positives != hands, has_positive)
    assert not pairs.up_to_turn


def test_a_positive_is_one_of_the_policys_ranks_all_equally_likely(
    built: Catalog, exact: ExactIndex, pool: Pool, pool_hands: HandSet
) -> None:
    policy = MiningPolicy(first_rank=2, top_k=4)
    expected = MinedPairs.concatenate(mine(exact, pool.hand_ids, policy))
    counts = np.zeros(3, dtype=np.int64)
    with closing(LiveNeighbors(LiveIndex(built), PairSettings(policy=policy, ef=200), pool_hands)) as source:
        for seed in range(30):
            pairs = source.draw(pool.hand_ids, rng(seed))
            rows, ranks = np.nonzero(expected.positives == pairs.positives[:, None])
            assert rows.tolist() == list(range(len(pool)))
            np.testing.assert_allclose(pairs.distances, expected.distances[rows, ranks], rtol=1e-4)
            counts += np.bincount(ranks, minlength=3)
    np.testing.assert_allclose(counts / counts.sum(), 1 / 3, atol=0.03)
    assert pairs.version == "v0001"
    assert pairs.without_positive == pairs.not_in_index == 0
    assert pairs.negatives.shape == (len(pool), 0)
    videos = pool.videos.codes
    assert (videos[pool.rows(pairs.positives)] != videos).all()


def test_an_anchor_whose_neighbours_are_too_far_is_its_own_positive(
    built: Catalog, exact: ExactIndex, pool: Pool, pool_hands: HandSet
) -> None:
    settings = PairSettings(policy=MiningPolicy(max_distance=0.58))
    nearest = exact.search_hands(pool.hand_ids, 1, other_video=True).distances[:, 0]
    alone = nearest > 0.58
    pairs = draw(built, settings, pool_hands, pool.hand_ids)
    assert 0 < pairs.without_positive == alone.sum() < len(pool)
    np.testing.assert_array_equal(pairs.positives == pool.hand_ids, alone)
    np.testing.assert_array_equal(np.isnan(pairs.distances), alone)


def test_negatives_lie_in_the_band(
    built: Catalog, exact: ExactIndex, pool: Pool, pool_hands: HandSet
) -> None:
    from_band = 0
    for seed in range(5):
        anchors = rng(seed).choice(pool.hand_ids, 16, replace=False)
        pairs = draw(built, BAND, pool_hands, anchors, seed)
        assert pairs.negatives.shape == (16, 2)
        vectors = exact.vectors(pairs.negatives.ravel()).reshape(16, 2, -1)
        own = np.linalg.norm(exact.vectors(anchors)[:, None] - vectors, axis=2)
        in_band = (own > 5.4 - 1e-4) & (own < 5.8 + 1e-4)
        videos = pool.videos.codes[pool.rows(pairs.negatives.ravel())].reshape(16, 2)
        in_band &= videos != pool.videos.codes[pool.rows(anchors)][:, None]
        assert (~in_band).sum() <= pairs.random_negatives
        from_band += int(in_band.sum())
        everyone = np.concatenate([anchors, pairs.positives])
        flat = pairs.negatives.ravel()
        assert len(set(flat.tolist())) == flat.size
        assert not np.isin(flat, everyone).any()
    assert from_band > 80


def test_an_empty_band_is_filled_at_random(built: Catalog, pool: Pool, pool_hands: HandSet) -> None:
    settings = PairSettings(negatives_per_anchor=3, negative_min_distance=100.0)
    pairs = draw(built, settings, pool_hands, pool.hand_ids[:20])
    assert pairs.random_negatives == 60 == len(set(pairs.negatives.ravel().tolist()))
    assert not np.isin(pairs.negatives, [pairs.anchors, pairs.positives]).any()
    assert pool_hands.contains(pairs.negatives).all()


def test_vectors_come_with_the_pairs_where_they_are_wanted(
    any_catalog: Catalog, pool: Pool, half: Pool, embedding: PoseEmbedding, pool_hands: HandSet
) -> None:
    any_catalog.build(half, embedding, SMALL_GRAPH)
    settings = PairSettings(negatives_per_anchor=2, negative_min_distance=5.0)
    anchors = pool.hand_ids[::8]
    assert draw(any_catalog, settings, pool_hands, anchors).vectors is None
    index = LiveIndex(any_catalog)
    with closing(LiveNeighbors(index, settings, pool_hands, with_vectors=True)) as source:
        pairs = source.draw(anchors, rng())
    hands = np.concatenate([pairs.anchors, pairs.positives, pairs.negatives.ravel()])
    expected = embedding.transform(pool.keypoints[pool.rows(hands)])
    expected[~np.isin(hands, half.hand_ids)] = np.nan
    assert pairs.vectors is not None
    assert 0 < np.isnan(expected).any(axis=1).sum() < len(hands)
    np.testing.assert_allclose(pairs.vectors, expected, atol=1e-5)


def test_negatives_are_drawn_among_the_nearest_of_the_band(
    built: Catalog, exact: ExactIndex, pool: Pool, pool_hands: HandSet
) -> None:
    settings = PairSettings(negatives_per_anchor=1, negative_min_distance=5.0, negative_top_k=4, ef=400)
    anchor = pool.hand_ids[:1]
    with closing(LiveNeighbors(LiveIndex(built), settings, pool_hands)) as source:
        negatives = {source.draw(anchor, rng(seed)).negatives.item() for seed in range(60)}
    far = exact.search_hands(anchor, 100, other_video=True)
    beyond = far.hand_ids[far.distances >= 5.0][:4]
    assert negatives == set(beyond.tolist())


def test_anchors_that_the_version_lacks_are_their_own_positives(
    any_catalog: Catalog, pool: Pool, half: Pool, embedding: PoseEmbedding, pool_hands: HandSet
) -> None:
    """The index is rolled back to one of half the hands, in the middle of everything."""
    any_catalog.build(half, embedding, SMALL_GRAPH)
    any_catalog.build(pool, embedding, SMALL_GRAPH)
    settings = PairSettings(policy=MiningPolicy(top_k=2), negatives_per_anchor=1, negative_min_distance=5.0)
    anchors = pool.hand_ids[::4]
    known = np.isin(anchors, half.hand_ids)
    with closing(LiveNeighbors(LiveIndex(any_catalog), settings, pool_hands)) as source:
        before = source.draw(anchors, rng())
        assert (before.version, before.without_positive, before.not_in_index) == ("v0002", 0, 0)
        any_catalog.rollback()
        for _ in range(2):
            back = source.draw(anchors, rng())
            assert back.version == "v0001"
            assert back.not_in_index == back.without_positive == (~known).sum() > 0
            np.testing.assert_array_equal(back.positives == anchors, ~known)
            assert np.isin(back.positives[known], half.hand_ids).all()
            np.testing.assert_array_equal(np.isnan(back.distances), ~known)
            assert len(set(back.negatives.ravel().tolist())) == len(anchors)
        lacking = source.draw(anchors[~known], rng())
        assert lacking.not_in_index == lacking.random_negatives == (~known).sum()
        any_catalog.publish("v0002")
        after = source.draw(anchors, rng())
    np.testing.assert_array_equal(after.positives, before.positives)
    np.testing.assert_array_equal(after.negatives, before.negatives)


def test_neighbours_that_the_pool_lacks_are_left_out(built: Catalog, half: Pool) -> None:
    """The index grew beyond the pool as it was when it was opened."""
    few = HandSet.trainable(half)
    settings = PairSettings(policy=MiningPolicy(top_k=8), negatives_per_anchor=1, negative_min_distance=5.0)
    pairs = draw(built, settings, few, half.hand_ids[:20])
    assert few.contains(pairs.positives).all()
    assert few.contains(pairs.negatives).all()
    assert pairs.not_in_index == 0
    narrow = draw(built, PairSettings(), few, half.hand_ids)
    assert 0 < narrow.without_positive == (narrow.positives == narrow.anchors).sum()


def test_a_pinned_version_stays(
    any_catalog: Catalog, pool: Pool, half: Pool, embedding: PoseEmbedding, pool_hands: HandSet
) -> None:
    any_catalog.build(half, embedding, SMALL_GRAPH)
    source = LiveNeighbors(PinnedVersion(any_catalog.open("v0001")), PairSettings(), pool_hands)
    any_catalog.build(pool, embedding, SMALL_GRAPH)
    assert source.draw(half.hand_ids[:5], rng()).version == "v0001"
    assert any_catalog.prune(1) == ([], ["v0001"])
    source.close()
    assert any_catalog.prune(1) == (["v0001"], [])


def test_what_the_index_cannot_answer_is_named(
    catalog: Catalog, pool: Pool, embedding: PoseEmbedding, pool_hands: HandSet
) -> None:
    source = LiveNeighbors(LiveIndex(catalog), PairSettings(policy=MiningPolicy(top_k=500)), pool_hands)
    with pytest.raises(NotThereError, match="`handsim index build` makes one"):
        source.draw(pool.hand_ids[:2], rng())
    catalog.build(pool, embedding, SMALL_GRAPH)
    with pytest.raises(HandsimError, match="k is 500; this index of 120 hands answers 1 to 120"):
        source.draw(pool.hand_ids[:2], rng())
    source.close()
    with pytest.raises(HandsimError, match="was closed"):
        source.draw(pool.hand_ids[:2], rng())
    catalog.drop()  # it is closed


ANCHORS = np.arange(4, dtype=np.uint64)


class Clock:
    """A clock that only pauses move."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.now = 100.0
        self.pauses: list[float] = []
        self._stop_after = stop_after

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> bool:
        self.pauses.append(seconds)
        self.now += seconds
        return len(self.pauses) == self._stop_after


Waits = list[tuple[str | None, float]]


def retrying(source: Away, timeout_s: float, clock: Clock, waits: Waits) -> RetryingPairSource:
    return RetryingPairSource(
        source,
        timeout_s,
        on_wait=lambda error, waited_s: waits.append((None if error is None else str(error), waited_s)),
        pause=clock.pause,
        clock=clock,
    )


def test_an_index_that_is_away_is_asked_again_after_longer_and_longer_pauses() -> None:
    clock, waits = Clock(), Waits()
    source = Away(range(1, 10))
    waiting = retrying(source, 600.0, clock, waits)
    waiting.draw(ANCHORS, rng(0))
    assert clock.pauses == []
    pairs = waiting.draw(ANCHORS, rng(8))
    assert clock.pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert waits == [("the server does not answer, for the 2th time", 0.0), (None, 121.5)]
    # Failed tries used no random numbers.
    assert pairs.version == f"{rng(8).random()}"
    waiting.draw(ANCHORS, rng(0))
    assert len(waits) == 2


def test_waiting_ends_after_the_timeout() -> None:
    clock, waits = Clock(), Waits()
    waiting = retrying(Away(range(100)), 20.0, clock, waits)
    with pytest.raises(UnavailableError) as error:
        waiting.draw(ANCHORS, rng(0))
    assert clock.pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 4.5]
    assert str(error.value) == (
        "the index did not answer for 20 s: the server does not answer, for the 7th time"
    )
    assert [waited_s for _, waited_s in waits] == [0.0]
    # The next batch waits anew.
    with pytest.raises(UnavailableError, match="did not answer for 20 s"):
        waiting.draw(ANCHORS, rng(0))


def test_a_timeout_of_0_does_not_wait() -> None:
    clock = Clock()
    with pytest.raises(UnavailableError, match="did not answer for 0 s"):
        retrying(Away([0]), 0.0, clock, []).draw(ANCHORS, rng(0))
    assert clock.pauses == []


def test_waiting_can_be_stopped() -> None:
    clock = Clock(stop_after=3)
    source = Away(range(100))
    with pytest.raises(UnavailableError, match="did not answer for 4 s"):
        retrying(source, 600.0, clock, []).draw(ANCHORS, rng(0))
    assert source.draws == 3
    # With the default pause, it ends before it begins.
    waiting = RetryingPairSource(source, 600.0)
    waiting.close()
    assert source.closed
    with pytest.raises(UnavailableError, match="did not answer for 0 s"):
        waiting.draw(ANCHORS, rng(0))


def test_other_errors_are_raised_at_once() -> None:
    def fail(number: int) -> None:
        raise KeyError(number)

    with pytest.raises(KeyError):
        RetryingPairSource(Scripted(fail), 600.0).draw(ANCHORS, rng(0))


QUERIES = PairSettings(policy=MiningPolicy(top_k=3), negatives_per_anchor=1, negative_min_distance=5.0)


@pytest.mark.slow
def test_another_process_answers_as_this_one(
    catalog: Catalog, pool: Pool, half: Pool, embedding: PoseEmbedding, pool_hands: HandSet
) -> None:
    with closing(QueryProcess(catalog.address, None, QUERIES, pool_hands, with_vectors=True)) as there:
        with pytest.raises(NotThereError, match="`handsim index build` makes one"):
            there.draw(pool.hand_ids[:2], rng())
        catalog.build(pool, embedding, SMALL_GRAPH)
        index = LiveIndex(catalog)
        with closing(LiveNeighbors(index, QUERIES, pool_hands, with_vectors=True)) as here:
            for seed in range(3):
                one, other = (source.draw(pool.hand_ids[seed::5], rng(seed)) for source in (here, there))
                for name in ("anchors", "positives", "distances", "negatives", "vectors"):
                    np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
                assert one.version == other.version == "v0001"
        catalog.build(half, embedding, SMALL_GRAPH)
        newer = there.draw(pool.hand_ids[::6], rng())
        assert (newer.version, newer.not_in_index) == ("v0002", 10)
    assert catalog.prune(1) == (["v0001"], [])
    catalog.drop()  # the process has closed it
    there.close()  # a second time changes nothing
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_a_process_stays_in_a_pinned_version_and_reports_its_exit_code(
    catalog: Catalog, pool: Pool, embedding: PoseEmbedding, pool_hands: HandSet
) -> None:
    catalog.build(pool, embedding, SMALL_GRAPH)
    catalog.build(pool, embedding, SMALL_GRAPH)
    with closing(QueryProcess(catalog.address, "v0001", QUERIES, pool_hands)) as source:
        assert source.draw(pool.hand_ids[:2], rng()).version == "v0001"
        (process,) = multiprocessing.active_children()
        process.kill()
        process.join()
        with pytest.raises(HandsimError, match="process that queries the index ended with exit code -9"):
            source.draw(pool.hand_ids[:2], rng())
    assert not multiprocessing.active_children()

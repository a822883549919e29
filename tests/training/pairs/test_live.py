"""Pairs asked of the index, while it stays and while it changes."""

from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest

from handsim import HandsimError, Pool, PoseEmbedding
from handsim.errors import NotThereError
from index import Catalog, ExactIndex, LiveIndex, MinedPairs, MiningPolicy, mine
from tests.index.builders import memory_catalog
from tests.training.pairs.conftest import SMALL_GRAPH
from training.pairs import HandSet, LiveNeighbors, PairDraw, PairSettings, PinnedVersion

pytestmark = [
    # What the client's local mode warns of is known: it has no indexes, and needs none.
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact"),
]

BAND = PairSettings(negatives_per_anchor=2, negative_min_distance=5.4, negative_max_distance=5.8)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(params=["edge", "memory"])
def any_catalog(request: pytest.FixtureRequest, catalog: Catalog) -> Iterator[Catalog]:
    """Both engines."""
    with memory_catalog() if request.param == "memory" else catalog as chosen:
        yield chosen


def draw(
    catalog: Catalog, settings: PairSettings, pictured: HandSet, anchors: np.ndarray, seed: int = 0
) -> PairDraw:
    with closing(LiveNeighbors(LiveIndex(catalog), settings, pictured)) as source:
        return source.draw(anchors, rng(seed))


def test_a_positive_is_one_of_the_ranks(
    built: Catalog, exact: ExactIndex, pool: Pool, pictured: HandSet
) -> None:
    policy = MiningPolicy(first_rank=2, top_k=4)
    expected = MinedPairs.concatenate(mine(exact, pool.hand_ids, policy))
    counts = np.zeros(3, dtype=np.int64)
    with closing(LiveNeighbors(LiveIndex(built), PairSettings(policy=policy, ef=200), pictured)) as source:
        for seed in range(30):
            drawn = source.draw(pool.hand_ids, rng(seed))
            rows, ranks = np.nonzero(expected.positives == drawn.positives[:, None])
            assert rows.tolist() == list(range(len(pool)))
            np.testing.assert_allclose(drawn.distances, expected.distances[rows, ranks], rtol=1e-4)
            counts += np.bincount(ranks, minlength=3)
    np.testing.assert_allclose(counts / counts.sum(), 1 / 3, atol=0.03)
    assert (drawn.version, drawn.without_positive, drawn.not_in_index, drawn.not_in_pool) == (
        "v0001",
        0,
        0,
        0,
    )
    assert drawn.negatives.shape == (len(pool), 0)
    videos = pool.videos.codes
    assert (videos[pool.rows(drawn.positives)] != videos).all()


def test_the_same_random_numbers_draw_the_same(built: Catalog, pool: Pool, pictured: HandSet) -> None:
    settings = PairSettings(policy=MiningPolicy(top_k=5), negatives_per_anchor=1, negative_min_distance=5.0)
    one, again, other = (draw(built, settings, pictured, pool.hand_ids[:30], seed) for seed in (1, 1, 2))
    for name in ("positives", "distances", "negatives"):
        np.testing.assert_array_equal(getattr(one, name), getattr(again, name))
        assert (getattr(one, name) != getattr(other, name)).any()


def test_what_is_too_far_falls_back(built: Catalog, exact: ExactIndex, pool: Pool, pictured: HandSet) -> None:
    settings = PairSettings(policy=MiningPolicy(max_distance=0.58))
    nearest = exact.search_hands(pool.hand_ids, 1, other_video=True).distances[:, 0]
    alone = nearest > 0.58
    drawn = draw(built, settings, pictured, pool.hand_ids)
    assert 0 < drawn.without_positive == alone.sum() < len(pool)
    np.testing.assert_array_equal(drawn.positives == pool.hand_ids, alone)
    np.testing.assert_array_equal(np.isnan(drawn.distances), alone)


def test_negatives_lie_in_the_band(built: Catalog, exact: ExactIndex, pool: Pool, pictured: HandSet) -> None:
    from_band = 0
    for seed in range(5):
        anchors = rng(seed).choice(pool.hand_ids, 16, replace=False)
        drawn = draw(built, BAND, pictured, anchors, seed)
        assert drawn.negatives.shape == (16, 2)
        apart = np.linalg.norm(
            exact.vectors(anchors)[:, None] - exact.vectors(drawn.negatives.ravel()), axis=2
        )
        own = apart.reshape(16, 16, 2)[range(16), range(16)]
        in_band = (own > 5.4 - 1e-4) & (own < 5.8 + 1e-4)
        videos = pool.videos.codes[pool.rows(drawn.negatives.ravel())].reshape(16, 2)
        in_band &= videos != pool.videos.codes[pool.rows(anchors)][:, None]
        assert (~in_band).sum() <= drawn.random_negatives
        from_band += int(in_band.sum())
        everyone = np.concatenate([anchors, drawn.positives])
        flat = drawn.negatives.ravel()
        assert len(set(flat.tolist())) == flat.size
        assert not np.isin(flat, everyone).any()
    assert from_band > 80


def test_an_empty_band_is_filled_at_random(built: Catalog, pool: Pool, pictured: HandSet) -> None:
    settings = PairSettings(negatives_per_anchor=3, negative_min_distance=100.0)
    drawn = draw(built, settings, pictured, pool.hand_ids[:20])
    assert drawn.random_negatives == 60 == len(set(drawn.negatives.ravel().tolist()))
    assert not np.isin(drawn.negatives, [drawn.anchors, drawn.positives]).any()
    assert pictured.contains(drawn.negatives).all()


def test_negatives_are_drawn_among_the_nearest_of_the_band(
    built: Catalog, exact: ExactIndex, pool: Pool, pictured: HandSet
) -> None:
    settings = PairSettings(negatives_per_anchor=1, negative_min_distance=5.0, negative_top_k=4, ef=400)
    anchor = pool.hand_ids[:1]
    with closing(LiveNeighbors(LiveIndex(built), settings, pictured)) as source:
        seen = {source.draw(anchor, rng(seed)).negatives.item() for seed in range(60)}
    far = exact.search_hands(anchor, 100, other_video=True)
    beyond = far.hand_ids[far.distances >= 5.0][:4]
    assert seen == set(beyond.tolist())


def test_anchors_that_the_version_lacks_fall_back(
    any_catalog: Catalog, pool: Pool, half: Pool, embedding: PoseEmbedding, pictured: HandSet
) -> None:
    """The index is rolled back to one of half the hands, in the middle of everything."""
    any_catalog.build(half, embedding, SMALL_GRAPH)
    any_catalog.build(pool, embedding, SMALL_GRAPH)
    settings = PairSettings(policy=MiningPolicy(top_k=2), negatives_per_anchor=1, negative_min_distance=5.0)
    anchors = pool.hand_ids[::4]
    known = np.isin(anchors, half.hand_ids)
    with closing(LiveNeighbors(LiveIndex(any_catalog), settings, pictured)) as source:
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
        strangers = source.draw(anchors[~known], rng())
        assert strangers.not_in_index == strangers.random_negatives == (~known).sum()
        any_catalog.publish("v0002")
        after = source.draw(anchors, rng())
    np.testing.assert_array_equal(after.positives, before.positives)
    np.testing.assert_array_equal(after.negatives, before.negatives)


def test_neighbours_that_the_pool_lacks_are_left_out(built: Catalog, half: Pool) -> None:
    """The index grew beyond the pool as it was when it was opened."""
    few = HandSet.with_crops(half)
    settings = PairSettings(policy=MiningPolicy(top_k=8), negatives_per_anchor=1, negative_min_distance=5.0)
    drawn = draw(built, settings, few, half.hand_ids[:20])
    assert drawn.not_in_pool > 0
    assert few.contains(drawn.positives).all()
    assert few.contains(drawn.negatives).all()
    assert drawn.not_in_index == 0
    narrow = draw(built, PairSettings(), few, half.hand_ids)
    assert 0 < narrow.without_positive == (narrow.positives == narrow.anchors).sum()


def test_a_pinned_version_stays(
    any_catalog: Catalog, pool: Pool, half: Pool, embedding: PoseEmbedding, pictured: HandSet
) -> None:
    any_catalog.build(half, embedding, SMALL_GRAPH)
    source = LiveNeighbors(PinnedVersion(any_catalog.open("v0001")), PairSettings(), pictured)
    any_catalog.build(pool, embedding, SMALL_GRAPH)
    assert source.draw(half.hand_ids[:5], rng()).version == "v0001"
    assert any_catalog.prune(1) == ([], ["v0001"])
    source.close()
    assert any_catalog.prune(1) == (["v0001"], [])


def test_what_cannot_be_asked(
    catalog: Catalog, pool: Pool, embedding: PoseEmbedding, pictured: HandSet
) -> None:
    source = LiveNeighbors(LiveIndex(catalog), PairSettings(policy=MiningPolicy(top_k=500)), pictured)
    with pytest.raises(NotThereError, match="`handsim index build` makes one"):
        source.draw(pool.hand_ids[:2], rng())
    catalog.build(pool, embedding, SMALL_GRAPH)
    with pytest.raises(HandsimError, match="k is 500; this index of 120 hands answers 1 to 120"):
        source.draw(pool.hand_ids[:2], rng())
    source.close()
    with pytest.raises(HandsimError, match="was closed"):
        source.draw(pool.hand_ids[:2], rng())
    catalog.drop()  # nobody holds it any more

"""The index asked from another process; it takes a while to start, so each serves for much."""

import multiprocessing
from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest

from handsim import HandsimError, Pool, PoseEmbedding
from handsim.errors import NotThereError
from index import Catalog, LiveIndex, MiningPolicy
from tests.training.pairs.conftest import SMALL_GRAPH
from training.pairs import HandSet, LiveNeighbors, PairSettings, QueryProcess

SETTINGS = PairSettings(policy=MiningPolicy(top_k=3), negatives_per_anchor=1, negative_min_distance=5.0)


@pytest.fixture(autouse=True)
def _nobody_is_left() -> Iterator[None]:
    yield
    assert not multiprocessing.active_children()


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_it_answers_as_this_process_would(
    catalog: Catalog, pool: Pool, half: Pool, embedding: PoseEmbedding, pictured: HandSet
) -> None:
    with closing(QueryProcess(catalog.address, None, SETTINGS, pictured)) as there:
        with pytest.raises(NotThereError, match="`handsim index build` makes one"):
            there.draw(pool.hand_ids[:2], rng())
        catalog.build(pool, embedding, SMALL_GRAPH)
        with closing(LiveNeighbors(LiveIndex(catalog), SETTINGS, pictured)) as here:
            for seed in range(3):
                one, other = (source.draw(pool.hand_ids[seed::5], rng(seed)) for source in (here, there))
                for name in ("anchors", "positives", "distances", "negatives"):
                    np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
                assert one.version == other.version == "v0001"
        catalog.build(half, embedding, SMALL_GRAPH)
        newer = there.draw(pool.hand_ids[::6], rng())
        assert (newer.version, newer.not_in_index) == ("v0002", 10)
    assert catalog.prune(1) == (["v0001"], [])
    catalog.drop()  # it holds nothing any more
    there.close()  # twice does no harm


def test_it_stays_in_a_pinned_version_and_tells_when_it_died(
    catalog: Catalog, pool: Pool, embedding: PoseEmbedding, pictured: HandSet
) -> None:
    catalog.build(pool, embedding, SMALL_GRAPH)
    catalog.build(pool, embedding, SMALL_GRAPH)
    with closing(QueryProcess(catalog.address, "v0001", SETTINGS, pictured)) as source:
        assert source.draw(pool.hand_ids[:2], rng()).version == "v0001"
        (process,) = multiprocessing.active_children()
        process.kill()
        process.join()
        with pytest.raises(HandsimError, match="the process that asks the index died"):
            source.draw(pool.hand_ids[:2], rng())

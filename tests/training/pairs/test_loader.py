"""Which hands are in which batch, and batches that are ready ahead: the same ones wherever one begins."""

import gc
import signal
import threading
from collections.abc import Iterator
from itertools import product
from threading import Event

import numpy as np
import pytest

from handsim import HandsimError, Pool, PoseEmbedding
from handsim.errors import UnavailableError
from handsim.pool import CropFiles
from index import Catalog, LiveIndex, MiningPolicy
from tests.training.pairs.builders import SMALL_GRAPH, Away, Scripted, contents
from training.pairs import (
    HandSet,
    LiveNeighbors,
    PairSettings,
    RetryingPairSource,
    TemporalNeighbors,
)
from training.pairs.decoding import PairBatch
from training.pairs.loader import AnchorBatches, PairLoader

pytestmark = pytest.mark.slow

TIMEOUT_S = 60.0


HANDS = np.random.default_rng(5).choice(2**63 - 1, 1000, replace=False).astype(np.uint64)


def epoch_of(batches: AnchorBatches, epoch: int) -> list[list[int]]:
    return [batches.batch(epoch, number).tolist() for number in range(batches.batches_an_epoch)]


def test_an_epoch_is_the_beginning_of_a_permutation() -> None:
    batches = AnchorBatches(HANDS, 64, seed=3)
    assert batches.batches_an_epoch == 15
    orders = []
    for epoch in range(3):
        taken = np.concatenate(epoch_of(batches, epoch))
        assert len(taken) == len(set(taken.tolist())) == 960
        assert set(taken.tolist()) <= set(HANDS.tolist())
        orders.append(taken)
    assert (orders[0] != orders[1]).any()
    # Other hands are left out every time.
    assert len(set(HANDS.tolist()) - set(np.concatenate(orders).tolist())) < 5


@pytest.mark.parametrize("world_size", [2, 4, 16])
def test_ranks_share_a_batch(world_size: int) -> None:
    alone = AnchorBatches(HANDS, 64, seed=3)
    ranks = [
        AnchorBatches(HANDS, 64 // world_size, seed=3, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    for epoch in range(2):
        parts = [epoch_of(rank, epoch) for rank in ranks]
        for number, whole in enumerate(epoch_of(alone, epoch)):
            assert [hand for part in parts for hand in part[number]] == whole


def test_a_batch_follows_from_its_number_alone() -> None:
    batches = AnchorBatches(HANDS, 32, seed=3)
    before = batches.batch(2, 7)
    batches.batch(0, 1)
    np.testing.assert_array_equal(batches.batch(2, 7), before)
    again = AnchorBatches(HANDS[::-1], 32, seed=3)
    np.testing.assert_array_equal(again.batch(2, 7), before)
    assert again.fingerprint == batches.fingerprint
    assert AnchorBatches(HANDS[1:], 32, seed=3).fingerprint != batches.fingerprint
    assert (AnchorBatches(HANDS, 32, seed=4).batch(2, 7) != before).any()


def test_random_numbers_are_of_one_batch_alone() -> None:
    draws = [
        AnchorBatches(HANDS, 8, seed=seed, rank=rank, world_size=2).generator(epoch, number).random()
        for seed, rank, epoch, number in product((0, 1), repeat=4)
    ]
    assert len(set(draws)) == len(draws)
    batches = AnchorBatches(HANDS, 8, seed=0)
    assert batches.generator(1, 1).random() == batches.generator(1, 1).random()
    # Nor are they those that order the epoch, although zeros at the end of a seed count for nothing.
    np.testing.assert_array_equal(
        AnchorBatches(HANDS, 8, seed=0).batch(1, 0),
        np.random.default_rng([0, 0, 1]).permutation(np.sort(HANDS))[:8],
    )
    assert batches.generator(1, 0).random() != np.random.default_rng([0, 0, 1]).random()


def test_golden_batch() -> None:
    """Another order would send a resumed run to other batches."""
    batches = AnchorBatches(np.arange(100, dtype=np.uint64), 4, seed=7, rank=1, world_size=2)
    assert batches.batch(5, 3).tolist() == [74, 90, 17, 18]


def test_numbers_that_make_no_batch_are_named() -> None:
    with pytest.raises(HandsimError, match=r"^a batch of 1,001 anchors takes 1,001 .* are 1,000; "):
        AnchorBatches(HANDS, 1001, seed=0)
    with pytest.raises(HandsimError, match="a batch of 501 anchors on each of 2 ranks takes 1,002 hands"):
        AnchorBatches(HANDS, 501, seed=0, world_size=2)
    assert AnchorBatches(HANDS, 500, seed=0, world_size=2).batches_an_epoch == 1
    with pytest.raises(HandsimError, match="seed is -1; it is at least 0"):
        AnchorBatches(HANDS, 1, seed=-1)


@pytest.fixture(autouse=True)
def _no_thread_is_left_running() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = set(threading.enumerate()) - before
    assert [thread.name for thread in left if thread.name.startswith("handsim-")] == []


def batches(pool: Pool, size: int = 16, **ranks: int) -> AnchorBatches:
    return AnchorBatches(pool.hand_ids, size, seed=5, **ranks)


def test_an_epoch_shows_every_anchor_once(pool: Pool, pool_hands: HandSet) -> None:
    with PairLoader(pool, TemporalNeighbors(pool, 60, pool_hands), batches(pool)) as loader:
        assert loader.anchors.batches_an_epoch == 7
        assert loader.anchors.hand_ids.tolist() == sorted(pool.hand_ids.tolist())
        for epoch in range(2):
            batches_of_epoch = list(loader.epoch(epoch))
            assert [(batch.epoch, batch.number) for batch in batches_of_epoch] == [
                (epoch, number) for number in range(7)
            ]
            anchors = np.concatenate([batch.hand_ids[batch.anchors.numpy()] for batch in batches_of_epoch])
            assert len(set(anchors.tolist())) == 7 * 16
            for batch in batches_of_epoch:
                assert batch.data_wait_s >= batch.index_wait_s >= 0
                assert (batch.anchors != batch.positives).all()
                assert batch.distances.isnan().all()


def test_an_epoch_can_begin_in_the_middle(built: Catalog, pool: Pool, pool_hands: HandSet) -> None:
    settings = PairSettings(policy=MiningPolicy(top_k=4), negatives_per_anchor=1, negative_min_distance=5.0)

    def loader() -> PairLoader:
        return PairLoader(pool, LiveNeighbors(LiveIndex(built), settings, pool_hands), batches(pool))

    with loader() as whole:
        everything = [contents(batch) for epoch in range(3) for batch in whole.epoch(epoch)]
    each = whole.anchors.batches_an_epoch
    with loader() as tail:
        assert [contents(batch) for batch in tail.epoch(1, first=4)] == everything[each + 4 : 2 * each]
        # On into the next epoch, back to an earlier one, and to where that was left.
        assert [contents(batch) for batch in tail.epoch(2)] == everything[2 * each :]
        back = tail.epoch(0, first=3)
        assert [contents(next(back)) for _ in range(2)] == everything[3:5]
        assert [contents(batch) for batch in tail.epoch(0, first=5)] == everything[5:each]


def test_a_version_published_in_an_epoch_is_used_and_reported(
    catalog: Catalog, pool: Pool, embedding: PoseEmbedding, pool_hands: HandSet
) -> None:
    catalog.build(pool, embedding, SMALL_GRAPH)
    catalog.build(pool, PoseEmbedding.fit(pool, components=3), SMALL_GRAPH, publish=False)
    events: list[tuple[str, str]] = []
    source = LiveNeighbors(LiveIndex(catalog), PairSettings(), pool_hands)
    loader = PairLoader(
        pool, source, batches(pool, 8), prefetch=1, on_version=lambda *versions: events.append(versions)
    )
    with loader:
        versions = []
        for batch in loader.epoch(0):
            versions.append(batch.version)
            if batch.number == 3:
                catalog.publish("v0002")
        assert events == [("v0001", "v0002")]
        assert versions == sorted(map(str, versions))
        # Only what was ready, drawn or in between comes from the old one.
        assert versions[:4] == ["v0001"] * 4
        assert versions[9:] == ["v0002"] * 6
        catalog.rollback()
        versions = [batch.version for batch in loader.epoch(1)]
        assert versions[-1] == "v0001"
        assert events == [("v0001", "v0002"), ("v0002", "v0001")]


def test_an_index_that_is_away_for_a_while_changes_nothing(pool: Pool) -> None:
    def versions(source: Away) -> list[str | None]:
        waiting = RetryingPairSource(source, 600.0, pause=lambda seconds: False)
        with PairLoader(pool, waiting, batches(pool)) as loader:
            return [batch.version for batch in loader.epoch(0)]

    assert versions(Away([2, 3, 4, 6])) == versions(Away([]))


def test_an_index_that_stays_away_ends_the_epoch(pool: Pool) -> None:
    """Batches drawn before that are still trained on, so that the checkpoint is after them."""
    source = RetryingPairSource(
        Away(range(3, 100)), 5.0, pause=lambda seconds: False, clock=iter(range(1000)).__next__
    )
    taken: list[PairBatch] = []
    with PairLoader(pool, source, batches(pool)) as loader:
        with pytest.raises(UnavailableError, match=r"the index did not answer for \d s"):
            taken.extend(loader.epoch(0))
        assert [batch.number for batch in taken] == [0, 1, 2]
        # The next call tries again.
        with pytest.raises(UnavailableError):
            next(iter(loader.epoch(0, first=3)))


@pytest.fixture
def no_garbage_collection() -> Iterator[None]:
    """Hypothesis listens to it, and an interrupt that comes just then is lost in that callback."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_garbage_collection")
@pytest.mark.parametrize("how", ["close", "stop_waiting", "interrupt"])
def test_a_wait_can_be_ended_at_once(pool: Pool, how: str) -> None:
    """The wait for the index would take ten minutes."""
    interrupter: list[threading.Thread] = []

    def end(error: UnavailableError | None, waited_s: float) -> None:
        main = threading.main_thread().ident
        assert main is not None
        if how == "stop_waiting":
            loader.stop_waiting()
        elif how == "interrupt":
            signal.pthread_kill(main, signal.SIGINT)
        else:
            interrupter.append(threading.Thread(target=loader.close))
            interrupter[0].start()

    source = Away(range(2, 100))
    loader = PairLoader(pool, RetryingPairSource(source, 600.0, on_wait=end), batches(pool))
    kind = {"close": HandsimError, "stop_waiting": UnavailableError, "interrupt": KeyboardInterrupt}[how]
    with loader, pytest.raises(kind):
        list(loader.epoch(0))
    for thread in interrupter:
        thread.join(TIMEOUT_S)
    assert source.closed
    assert source.draws == 3


def test_closing_in_the_middle_and_using_it_afterwards(pool: Pool) -> None:
    source = Scripted()
    loader = PairLoader(pool, source, batches(pool), prefetch=2)
    with loader:
        epoch = loader.epoch(0)
        next(epoch)
    assert source.closed
    with pytest.raises(HandsimError, match="the pairs were closed; open them again"):
        next(epoch)
    loader.close()
    # One batch handed over, two decoded, one being decoded, two drawn, one being drawn.
    assert source.draws <= 7
    with PairLoader(pool, Scripted(), batches(pool)):
        pass  # no batch was read


def test_an_error_of_the_source_is_raised(pool: Pool) -> None:
    def fail(number: int) -> None:
        if number == 4:
            raise KeyError("mistake")

    with PairLoader(pool, Scripted(fail), batches(pool)) as loader:
        taken: list[PairBatch] = []
        with pytest.raises(KeyError, match="mistake"):
            taken.extend(loader.epoch(0))
        assert len(taken) == 4


class Stopwatch:
    """A clock that tests move, which records which threads have read it before a wait."""

    def __init__(self) -> None:
        self.now = 0.0
        self.read_by = {"MainThread": Event(), "handsim-assemble": Event()}

    def __call__(self) -> float:
        if (name := threading.current_thread().name) in self.read_by:
            self.read_by[name].set()
        return self.now

    def wait_for_both(self) -> None:
        for event in self.read_by.values():
            assert event.wait(TIMEOUT_S)


def test_waits_for_the_index_and_for_crops_are_counted_apart(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drawing takes 5 s of the first batch, reading crops 3 s: all is waited for, 5 s are the index's."""
    clock = Stopwatch()

    def draw(number: int) -> None:
        if number == 0:
            clock.wait_for_both()
            clock.now += 5.0

    def jpegs(files: CropFiles, hand_ids: np.ndarray) -> list[bytes]:
        if not read:
            clock.now += 3.0
        read.append(len(hand_ids))
        return original(files, hand_ids)

    read: list[int] = []
    original = CropFiles.jpegs
    monkeypatch.setattr(CropFiles, "jpegs", jpegs)
    with PairLoader(pool, Scripted(draw), batches(pool), clock=clock) as loader:
        epoch = loader.epoch(0)
        first, second = next(epoch), next(epoch)
    assert (first.data_wait_s, first.index_wait_s) == (8.0, 5.0)
    assert (second.data_wait_s, second.index_wait_s) == (0.0, 0.0)

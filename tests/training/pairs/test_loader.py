"""Batches made ahead: the same ones wherever one begins, and nothing left behind."""

import signal
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from threading import Event
from typing import Any

import numpy as np
import pytest

from handsim import HandsimError, Pool, PoseEmbedding
from handsim.errors import UnavailableError
from handsim.pool import CropFiles
from index import Catalog, LiveIndex, MiningPolicy
from tests.training.pairs.conftest import SMALL_GRAPH
from tests.training.pairs.scripts import Away, Scripted
from training.pairs import (
    HandSet,
    LiveNeighbors,
    PairDraw,
    PairSettings,
    RetryingPairSource,
    SelfPairs,
    TemporalNeighbors,
)
from training.pairs.decoding import PairBatch
from training.pairs.loader import AnchorBatches, PairLoader

PATIENCE_S = 20.0


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = set(threading.enumerate()) - before
    assert [thread.name for thread in left if thread.name.startswith("handsim-")] == []


def batches(pool: Pool, size: int = 16, **ranks: int) -> AnchorBatches:
    return AnchorBatches(pool.hand_ids, size, seed=5, **ranks)


def facts(batch: PairBatch) -> tuple[Any, ...]:
    """What makes a batch that batch."""
    tensors = (batch.anchors, batch.positives, batch.negatives, batch.keypoints, batch.crops)
    return (batch.epoch, batch.number, batch.hand_ids.tolist(), *(tensor.tolist() for tensor in tensors))


def test_an_epoch_shows_every_anchor_once(pool: Pool, pictured: HandSet) -> None:
    with PairLoader(pool, TemporalNeighbors(pool, 60, pictured), batches(pool)) as loader:
        assert loader.batches_an_epoch == 7
        assert loader.anchors.tolist() == sorted(pool.hand_ids.tolist())
        for epoch in range(2):
            seen = list(loader.epoch(epoch))
            assert [(batch.epoch, batch.number) for batch in seen] == [(epoch, number) for number in range(7)]
            shown = np.concatenate([batch.hand_ids[batch.anchors.numpy()] for batch in seen])
            assert len(set(shown.tolist())) == 7 * 16
            for batch in seen:
                assert batch.waits.data_s >= batch.waits.index_s >= 0
                assert (batch.anchors != batch.positives).all()
                assert batch.distances.isnan().all()


def test_going_on_in_the_middle(built: Catalog, pool: Pool, pictured: HandSet) -> None:
    settings = PairSettings(policy=MiningPolicy(top_k=4), negatives_per_anchor=1, negative_min_distance=5.0)

    def loader() -> PairLoader:
        return PairLoader(pool, LiveNeighbors(LiveIndex(built), settings, pictured), batches(pool, 8))

    with loader() as whole:
        everything = [facts(batch) for epoch in range(3) for batch in whole.epoch(epoch)]
    each = whole.batches_an_epoch
    with loader() as tail:
        assert [facts(batch) for batch in tail.epoch(1, first=6)] == everything[each + 6 : 2 * each]
        # On into the next epoch, back to one that is over, and to where the last one was left.
        assert [facts(batch) for batch in tail.epoch(2)] == everything[2 * each :]
        back = tail.epoch(0, first=3)
        assert [facts(next(back)) for _ in range(2)] == everything[3:5]
        assert [facts(batch) for batch in tail.epoch(0, first=5)] == everything[5:each]


def test_ranks_draw_their_own_pairs(built: Catalog, pool: Pool, pictured: HandSet) -> None:
    ids = []
    for rank in range(2):
        source = LiveNeighbors(LiveIndex(built), PairSettings(), pictured)
        with PairLoader(pool, source, batches(pool, 8, rank=rank, world_size=2)) as loader:
            ids.append([batch.hand_ids[batch.anchors.numpy()].tolist() for batch in loader.epoch(0)])
    whole = AnchorBatches(pool.hand_ids, 16, seed=5)
    for number, (one, other) in enumerate(zip(*ids, strict=True)):
        assert one + other == whole.batch(0, number).tolist()


def test_a_version_published_in_the_middle(
    catalog: Catalog, pool: Pool, embedding: PoseEmbedding, pictured: HandSet
) -> None:
    catalog.build(pool, embedding, SMALL_GRAPH)
    catalog.build(pool, PoseEmbedding.fit(pool, components=3), SMALL_GRAPH, publish=False)
    told: list[tuple[str, str]] = []
    source = LiveNeighbors(LiveIndex(catalog), PairSettings(), pictured)
    loader = PairLoader(
        pool, source, batches(pool, 8), prefetch=1, on_version=lambda *versions: told.append(versions)
    )
    with loader:
        versions = []
        for batch in loader.epoch(0):
            versions.append(batch.version)
            if batch.number == 3:
                catalog.publish("v0002")
        assert told == [("v0001", "v0002")]
        assert versions == sorted(map(str, versions))
        # At most what lay ready, drawn or in between comes from the old one.
        assert versions[:4] == ["v0001"] * 4
        assert versions[9:] == ["v0002"] * 6
        catalog.rollback()
        versions = [batch.version for batch in loader.epoch(1)]
        assert versions[-1] == "v0001"
        assert told == [("v0001", "v0002"), ("v0002", "v0001")]


def test_an_index_that_is_away_for_a_while_changes_nothing(pool: Pool) -> None:
    def versions(source: Away) -> list[str | None]:
        waiting = RetryingPairSource(source, 600.0, pause=lambda seconds: False)
        with PairLoader(pool, waiting, batches(pool)) as loader:
            return [batch.version for batch in loader.epoch(0)]

    assert versions(Away([2, 3, 4, 6])) == versions(Away([]))


def test_an_index_that_stays_away_ends_the_epoch(pool: Pool) -> None:
    """What was drawn before is still trained on, so that the checkpoint comes after it."""
    source = RetryingPairSource(
        Away(range(3, 100)), 5.0, pause=lambda seconds: False, clock=iter(range(1000)).__next__
    )
    seen: list[PairBatch] = []
    with PairLoader(pool, source, batches(pool)) as loader:
        with pytest.raises(UnavailableError, match=r"the index was waited for \d s in vain"):
            seen.extend(loader.epoch(0))
        assert [batch.number for batch in seen] == [0, 1, 2]
        # Asked again, it tries again.
        with pytest.raises(UnavailableError):
            next(iter(loader.epoch(0, first=3)))


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
        thread.join(PATIENCE_S)
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
    # One batch handed over, two decoded, one being decoded, two drawn, one being drawn: not more.
    assert source.draws <= 7
    with PairLoader(pool, Scripted(), batches(pool)):
        pass  # nothing was asked of it


def test_an_error_of_the_source_is_raised(pool: Pool) -> None:
    def fail(number: int) -> None:
        if number == 4:
            raise KeyError("mistake")

    with PairLoader(pool, Scripted(fail), batches(pool)) as loader:
        seen: list[PairBatch] = []
        with pytest.raises(KeyError, match="mistake"):
            seen.extend(loader.epoch(0))
        assert len(seen) == 4


def test_counts_come_through(pool: Pool) -> None:
    class Counting(SelfPairs):
        def draw(self, anchors: np.ndarray, rng: np.random.Generator) -> PairDraw:
            drawn = super().draw(anchors, rng)
            return replace(drawn, without_positive=3, not_in_index=2, version="v0009")

    with PairLoader(pool, Counting(), batches(pool)) as loader:
        batch = next(loader.epoch(0))
    assert (batch.without_positive, batch.not_in_index, batch.random_negatives) == (3, 2, 0)
    assert batch.version == "v0009"
    assert loader.version is None


class Stopwatch:
    """A clock that tests move, which knows who has begun to wait."""

    def __init__(self) -> None:
        self.now = 0.0
        self.asked = {"MainThread": Event(), "handsim-assemble": Event()}

    def __call__(self) -> float:
        if (name := threading.current_thread().name) in self.asked:
            self.asked[name].set()
        return self.now

    def everybody_waits(self) -> None:
        for asked in self.asked.values():
            assert asked.wait(PATIENCE_S)


def test_waits_are_told_apart(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes 5 s of the first batch, reading crops 3 s: all is waited for, 5 s are the index's."""
    clock = Stopwatch()

    def draw(number: int) -> None:
        if number == 0:
            clock.everybody_waits()
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
    assert (first.waits.data_s, first.waits.index_s) == (8.0, 5.0)
    assert (second.waits.data_s, second.waits.index_s) == (0.0, 0.0)


def test_worker_processes_give_the_same_batches(built: Catalog, pool: Pool, pictured: HandSet) -> None:
    settings = PairSettings(policy=MiningPolicy(top_k=4))
    found = []
    for workers in (0, 2):
        source = LiveNeighbors(LiveIndex(built), settings, pictured)
        with closing(PairLoader(pool, source, batches(pool, 40), workers=workers)) as loader:
            assert loader.batches_an_epoch == 3
            found.append([facts(batch) for epoch in range(2) for batch in loader.epoch(epoch)])
    assert found[0] == found[1]


def test_fewer_than_no_workers(pool: Pool) -> None:
    with pytest.raises(HandsimError, match="workers is -1; it is at least 0"):
        PairLoader(pool, SelfPairs(), batches(pool), workers=-1)

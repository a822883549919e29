"""Batches of pairs, ready before the trainer asks for them.

`AnchorBatches` says which hands are the anchors of which batch; `PairLoader` draws their pairs on one thread
and has their crops decoded on another, each a few batches ahead of the next.
"""

import hashlib
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from types import TracebackType
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from handsim.errors import HandsimError
from handsim.pool import Pool
from index.info import VersionInfo
from training.pairs.decoding import Decoder, PairBatch, ProcessDecoder, ThreadDecoder
from training.pairs.live import RetryingPairSource
from training.pairs.sources import HandSet, PairSource
from training.runs.prefetch import Prefetcher

_ORDER: Final = 0
_DRAW: Final = 1
"""What a random generator is for: the first number of its seed."""
_BATCHES_READY: Final = 2
"""Decoded batches that lie ready: they are large."""
_CLOSE_TIMEOUT_S: Final = 2.0

OnVersion = Callable[[str, str], None]
"""Called with (old, new) names of index versions, before the first batch of the new one is handed over."""


class AnchorBatches:
    """Every epoch goes once through all anchors, in another order each time.

    An epoch's order is a permutation drawn from (seed, epoch). Batch b of W ranks with B anchors each takes
    rows b B W to (b + 1) B W of it, and rank r the r-th B of these. The last rows, too few for a batch, are
    left out: other hands in every epoch. A batch depends on (seed, epoch, number) alone, so a run can resume
    in the middle without saved state, and W ranks of B anchors have the same batches as one of W B.
    """

    hand_ids: NDArray[np.uint64]
    """[A] all anchors, by rising id."""
    batches_an_epoch: int
    """How many batches an epoch has."""

    def __init__(
        self, hand_ids: NDArray[np.uint64], batch_size: int, seed: int, *, rank: int = 0, world_size: int = 1
    ) -> None:
        """Batches of ``batch_size`` of the hands [A], in any order, on each of ``world_size`` ranks.

        Raises HandsimError where the hands do not make one batch, and for a seed below 0.
        """
        if seed < 0:
            raise HandsimError(f"seed is {seed}; it is at least 0")
        self.hand_ids = HandSet(hand_ids).hand_ids
        together = batch_size * world_size
        if together > len(self.hand_ids):
            ranks = f" on each of {world_size} ranks" if world_size > 1 else ""
            raise HandsimError(
                f"a batch of {batch_size:,} anchors{ranks} takes {together:,} hands, and there are "
                f"{len(self.hand_ids):,}; take a smaller batch, or ingest more"
            )
        self.batches_an_epoch = len(self.hand_ids) // together
        self._batch_size, self._seed, self._rank, self._world_size = batch_size, seed, rank, world_size
        self._order: tuple[int, NDArray[np.uint64]] | None = None

    @property
    def fingerprint(self) -> str:
        """16 hex digits that identify the anchors; the same anchors and seed give the same batches."""
        return hashlib.blake2b(self.hand_ids.tobytes(), digest_size=8).hexdigest()

    def batch(self, epoch: int, number: int) -> NDArray[np.uint64]:
        """The anchors [B] of this rank in batch ``number`` of an epoch, both from 0."""
        assert epoch >= 0, f"epoch {epoch}"
        assert 0 <= number < self.batches_an_epoch, f"batch {number} of {self.batches_an_epoch}"
        start = (number * self._world_size + self._rank) * self._batch_size
        return self._permutation(epoch)[start : start + self._batch_size]

    def generator(self, epoch: int, number: int) -> np.random.Generator:
        """The random numbers for this rank's pairs in a batch: always the same for the same batch."""
        return np.random.default_rng([_DRAW, self._seed, epoch, number, self._rank])

    def _permutation(self, epoch: int) -> NDArray[np.uint64]:
        # Numpy pads seeds with zeros: without _ORDER and _DRAW, epoch 3 and its batch 0 would share one.
        if self._order is None or self._order[0] != epoch:
            random = np.random.default_rng([_ORDER, self._seed, epoch])
            self._order = epoch, random.permutation(self.hand_ids)
        return self._order[1]


_Stages = tuple[Prefetcher[PairBatch], Prefetcher[PairBatch]]
"""Drawn pairs, and batches with their crops."""


class PairLoader:
    """Draws pairs on one thread, has their crops decoded on another, and hands over whole batches.

        with PairLoader(pool, source, anchors, workers=8) as loader:
            for batch in loader.epoch(3, first=17):
                ...

    With the same index version, batch 17 of epoch 3 always holds the same pairs, whatever was read before.
    Work continues ahead over the end of an epoch into the next one.
    """

    anchors: AnchorBatches
    """Which hands are the anchors of which batch."""
    version: VersionInfo | None
    """The index version that was current, or pinned, when it was opened; None where none is asked."""

    def __init__(
        self,
        pool: Pool,
        source: PairSource,
        anchors: AnchorBatches,
        *,
        prefetch: int = 4,
        workers: int = 0,
        version: VersionInfo | None = None,
        on_version: OnVersion | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """The source is closed with this, the pool is not. Nothing is started before the first batch.

        Up to ``prefetch`` batches of pairs are drawn ahead; ``workers`` processes decode, 0: threads of this
        one. Where there is a GPU, batches lie in page-locked memory.
        """
        pin = torch.cuda.is_available()
        self.anchors, self.version = anchors, version
        self._pool, self._source, self._prefetch = pool, source, prefetch
        self._clock = clock
        self._on_version = on_version or (lambda old, new: None)
        self._decoder: Decoder = (
            ProcessDecoder(pool.path, workers, pin=pin) if workers else ThreadDecoder(pool.path, pin=pin)
        )
        self._running: _Stages | None = None
        self._next: tuple[int, int] | None = None
        self._version: str | None = None
        self._closed = False

    def epoch(self, epoch: int, first: int = 0) -> Iterator[PairBatch]:
        """The batches of an epoch from ``first`` on, both counted from 0.

        Raises what the source raises, and HandsimError for a damaged crop or once this is closed.
        """
        for number in range(first, self.anchors.batches_an_epoch):
            yield self._take(epoch, number)

    def stop_waiting(self) -> None:
        """Give up at once on an index that is away, now or later; a signal's handler may call this.

        A thread that waits for a batch then gets UnavailableError.
        """
        if isinstance(self._source, RetryingPairSource):
            self._source.stop_waiting()

    def close(self) -> None:
        """Stop all work, also a wait for the index, and end threads and processes."""
        if self._closed:
            return
        self._closed = True
        if self._running is not None:
            for stage in self._running:
                stage.end()  # before the source is closed: the error of an interrupted draw is not raised
        self._source.close()
        self._stop(_CLOSE_TIMEOUT_S)
        self._decoder.close()

    def _take(self, epoch: int, number: int) -> PairBatch:
        pairs, ready = self._stages_at(epoch, number)
        blocked_s, since = pairs.waited_s, self._clock()
        try:
            batch = next(ready)
        except StopIteration:
            raise _closed() from None  # by another thread, or a signal's handler
        except BaseException:
            self._next = None  # the next call starts the stages anew
            raise
        waited_s = self._clock() - since
        index_wait_s = min(waited_s, pairs.waited_s - blocked_s)
        at_end = number + 1 == self.anchors.batches_an_epoch
        self._next = (epoch + 1, 0) if at_end else (epoch, number + 1)
        if batch.version is not None and batch.version != self._version:
            if self._version is not None:
                self._on_version(self._version, batch.version)
            self._version = batch.version
        return replace(batch, data_wait_s=waited_s, index_wait_s=index_wait_s)

    def _stages_at(self, epoch: int, number: int) -> _Stages:
        """The running stages, started anew if this is not the batch that comes next."""
        running = self._running
        if not self._closed and (running is None or self._next != (epoch, number)):
            self._stop()
            pairs = Prefetcher(self._draw(epoch, number), self._prefetch, "handsim-draw", clock=self._clock)
            decoded = self._decoder.decode(pairs)
            ready = Prefetcher(decoded, _BATCHES_READY, "handsim-assemble", clock=self._clock)
            running = self._running = pairs, ready
            for stage in running:
                stage.start()
        if running is None or self._closed:
            for stage in running or ():  # another thread may have closed this just now
                stage.end()
            raise _closed()
        return running

    def _draw(self, epoch: int, number: int) -> Generator[PairBatch, None, None]:
        """All batches from this one on, without their crops, over the ends of epochs."""
        while True:
            anchors = self.anchors.batch(epoch, number)
            pairs = self._source.draw(anchors, self.anchors.generator(epoch, number))
            yield PairBatch.from_draw(pairs, self._pool, epoch, number)
            number += 1
            if number == self.anchors.batches_an_epoch:
                epoch, number = epoch + 1, 0

    def _stop(self, timeout_s: float = 10.0) -> None:
        """End the threads; one that is stuck in a call is left behind, and ends when the call returns."""
        if self._running is not None:
            pairs, ready = self._running
            pairs.end()
            ready.close(timeout_s)
            pairs.close(timeout_s)
            self._running = None

    def __enter__(self) -> "PairLoader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _closed() -> HandsimError:
    return HandsimError("the pairs were closed; open them again")

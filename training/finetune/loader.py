"""Batches of labelled hands, ready before the trainer asks for them."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError
from training.datasets.record import HandDataset
from training.finetune.batch import HandBatch
from training.finetune.cropping import CropSettings
from training.finetune.reader import BatchPlan, HandReader
from training.pairs.anchors import AnchorBatches


class HandLoader:
    """Shuffled batches of the hands that are trained on.

    Which hands a batch holds follows from (seed, epoch, number) alone, as in pre-training: see
    `training.pairs.anchors.AnchorBatches`, whose order this is.
    """

    batches_an_epoch: int
    """How many batches an epoch has; the last hands, too few for one, sit it out: others every time."""
    fingerprint: str
    """16 hex digits: with equal ones and an equal seed, batches are the same."""

    def __init__(
        self,
        dataset: HandDataset,
        rows: NDArray[np.int64],
        settings: CropSettings,
        *,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 0,
        pin: bool | None = None,
    ) -> None:
        """Batches of ``batch_size`` of the dataset's ``rows`` on each of ``world_size`` ranks.

        Nothing is started before the first batch. Raises HandsimError where the hands make no batch.
        """
        together = batch_size * world_size
        if together > len(rows):
            ranks = f" on each of {world_size} processes" if world_size > 1 else ""
            raise HandsimError(
                f"a batch of {batch_size:,} hands{ranks} takes {together:,}, and {len(rows):,} of "
                f"{dataset.name}'s are trained on; lower trainer.batch_size, or raise data.label_fraction"
            )
        self._order = AnchorBatches(
            rows.astype(np.uint64), batch_size, seed, rank=rank, world_size=world_size
        )
        self.batches_an_epoch, self.fingerprint = self._order.batches_an_epoch, self._order.fingerprint
        self._reader = HandReader(dataset, settings, workers=workers, pin=pin)
        self._running = ExitStack()
        self._ready: Iterator[HandBatch] = iter(())
        self._next: tuple[int, int] | None = None

    def epoch(self, epoch: int, first: int = 0) -> Iterator[HandBatch]:
        """Batches ``first`` and following of an epoch, both counted from 0.

        Work goes on ahead over the end of an epoch into the next one. Raises HandsimError for a hand that
        cannot be read.
        """
        for number in range(first, self.batches_an_epoch):
            yield self._take(epoch, number)

    def close(self) -> None:
        """End threads and processes."""
        self._running.close()
        self._reader.close()

    def _take(self, epoch: int, number: int) -> HandBatch:
        if self._next != (epoch, number):  # nearly always the one that comes next anyway
            self._running.close()
            self._ready = self._running.enter_context(self._reader.ahead(self._plans(epoch, number)))
        self._next = None  # to begin anew after a mistake, if anybody asks again
        since = time.perf_counter()
        batch = next(self._ready)
        at_end = number + 1 == self.batches_an_epoch
        self._next = (epoch + 1, 0) if at_end else (epoch, number + 1)
        return replace(batch, waited_s=time.perf_counter() - since)

    def _plans(self, epoch: int, number: int) -> Iterator[BatchPlan]:
        """All from this one on, over the ends of epochs."""
        while True:
            yield BatchPlan(epoch, number, self._order.batch(epoch, number).astype(np.int64))
            number += 1
            if number == self.batches_an_epoch:
                epoch, number = epoch + 1, 0

    def __enter__(self) -> "HandLoader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

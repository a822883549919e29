"""Reading, decoding and cutting hands, batch after batch, by threads of this process or by others."""

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from training.datasets.record import HandDataset
from training.finetune.batch import HandBatch
from training.finetune.cropping import CropSettings, cut_hand
from training.pairs.ahead import Ahead
from training.runs.workers import WorkerProcesses, Workers, WorkerThreads

_CHUNK_HANDS: Final = 16
"""Hands read in one go: few enough that all workers share in one batch."""
_BATCHES_READY: Final = 2
"""Batches that lie ready: they are large."""


@dataclass(frozen=True, eq=False)
class BatchPlan:
    """Which hands make a batch."""

    epoch: int
    """From 0."""
    number: int
    """Of the batch in its epoch, from 0."""
    rows: NDArray[np.integer]
    """[B] of the dataset."""


class HandReader:
    """Makes batches of a dataset's hands, a few ahead of whoever trains or evaluates on them."""

    def __init__(
        self, dataset: HandDataset, settings: CropSettings, *, workers: int = 0, pin: bool | None = None
    ) -> None:
        """``workers`` processes read, 0: threads of this one. Nothing is started before the first batch.

        ``pin`` has batches in page-locked memory, None: where there is a GPU.
        """
        cut = _Cut(dataset, settings)
        self._pin = torch.cuda.is_available() if pin is None else pin
        self._workers: Workers[NDArray[np.integer], HandBatch] = (
            WorkerProcesses(cut, workers) if workers else WorkerThreads(cut, "handsim-read")
        )

    @contextmanager
    def ahead(self, plans: Iterable[BatchPlan]) -> Iterator[Iterator[HandBatch]]:
        """The batches in their order, made on a thread; one such block may be under way at a time.

        Raises HandsimError for a hand that cannot be read.
        """
        ready = Ahead(self.read(plans), _BATCHES_READY, "handsim-assemble")
        ready.start()
        try:
            yield ready
        finally:
            ready.close()

    def read(self, plans: Iterable[BatchPlan]) -> Generator[HandBatch, None, None]:
        """The batches in their order, on the calling thread; raises as `ahead` does."""
        under_way: deque[BatchPlan] = deque()

        def chunks() -> Iterator[NDArray[np.integer]]:
            for plan in plans:
                under_way.append(plan)
                for start in range(0, len(plan.rows), _CHUNK_HANDS):
                    yield plan.rows[start : start + _CHUNK_HANDS]

        parts: list[HandBatch] = []
        for part in self._workers.map(chunks()):
            parts.append(part)
            plan = under_way[0]
            if sum(map(len, parts)) == len(plan.rows):
                yield HandBatch.joined(parts, plan.epoch, plan.number, pin=self._pin)
                under_way.popleft()
                parts = []

    def close(self) -> None:
        """End threads and processes; nobody may be reading."""
        self._workers.close()


def in_order(rows: NDArray[np.integer], batch_size: int) -> Iterator[BatchPlan]:
    """Each of the rows once; the last batch may be smaller."""
    for number, start in enumerate(range(0, len(rows), batch_size)):
        yield BatchPlan(0, number, rows[start : start + batch_size])


class _Cut:
    """In a worker: rows of the dataset to hands in their crops."""

    def __init__(self, dataset: HandDataset, settings: CropSettings) -> None:
        self._dataset, self._settings = dataset, settings

    def __call__(self, rows: NDArray[np.integer]) -> HandBatch:
        hands, cut = [], []
        for row in rows.tolist():
            hand = self._dataset[row]
            cut.append(cut_hand(hand, self._settings))
            hands.append(hand)
        valid = np.stack([hand.valid for hand in hands])
        joints_mm = np.where(valid[..., None], np.stack([hand.joints_3d_mm for hand in hands]), 0)
        return HandBatch(
            sample_ids=tuple(hand.sample_id for hand in hands),
            sides=tuple(hand.side for hand in hands),
            crops=torch.from_numpy(np.stack([each.crop for each in cut])),
            keypoints=torch.from_numpy(np.stack([each.keypoints for each in cut])),
            joints_mm=torch.from_numpy(joints_mm.astype(np.float32)),
            valid=torch.from_numpy(valid),
            squares_px=torch.from_numpy(np.stack([each.square_px for each in cut])),
            intrinsics=torch.from_numpy(np.stack([hand.intrinsics for hand in hands])),
        )

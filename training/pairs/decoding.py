"""Reading and decoding the crops of batch after batch, by threads of this process or by others."""

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from handsim.cores import available_cores
from training.pairs.batch import PairBatch
from training.pairs.crops import CropFiles
from training.runs.workers import WorkerProcesses

_CHUNK_HANDS: Final = 64
"""Crops decoded in one go: few enough that all workers share in one batch."""


class Decoder(Protocol):
    """Gives batches their crops."""

    def decode(self, batches: Iterator[PairBatch]) -> Generator[PairBatch, None, None]:
        """The batches in their order, with the crops of all their hands.

        Raises HandsimError for a damaged crop, and what ``batches`` raises once all before it are through.
        """

    def close(self) -> None:
        """End its threads or processes."""


class ThreadDecoder:
    """Decodes in this process: nothing to start, and nothing to copy."""

    def __init__(self, pool: Path, *, pin: bool) -> None:
        """``pin`` puts crops into page-locked memory, from where they reach a GPU in the background."""
        self._files, self._pin = CropFiles(pool), pin
        self._threads = ThreadPoolExecutor(available_cores(), thread_name_prefix="handsim-decode")

    def decode(self, batches: Iterator[PairBatch]) -> Generator[PairBatch, None, None]:
        """See `Decoder`."""
        for batch in batches:
            crops = _room_for(batch, self._pin)
            pixels = crops.numpy()
            futures = []
            for start in range(0, len(crops), _CHUNK_HANDS):
                chunk = slice(start, start + _CHUNK_HANDS)
                futures.append(
                    self._threads.submit(self._files.decode_into, pixels[chunk], batch.hand_ids[chunk])
                )
            for future in futures:
                future.result()
            yield _with_crops(batch, crops, self._pin)

    def close(self) -> None:
        """End the threads, once each is through with its chunk."""
        self._threads.shutdown(cancel_futures=True)
        self._files.close()


class ProcessDecoder:
    """Decodes in worker processes, which stay from the first batch until it is closed."""

    def __init__(self, pool: Path, workers: int, *, pin: bool) -> None:
        """Nothing is started before the first batch."""
        self._pin = pin
        self._processes = WorkerProcesses(_Crops(pool), workers)

    def decode(self, batches: Iterator[PairBatch]) -> Generator[PairBatch, None, None]:
        """See `Decoder`."""
        under_way: deque[PairBatch] = deque()

        def chunks() -> Iterator[NDArray[np.uint64]]:
            for batch in batches:
                under_way.append(batch)
                for start in range(0, len(batch.hand_ids), _CHUNK_HANDS):
                    yield batch.hand_ids[start : start + _CHUNK_HANDS]

        filled = 0
        crops: Tensor | None = None
        for chunk in self._processes.map(chunks()):
            if crops is None:
                crops, filled = _room_for(under_way[0], self._pin), 0
            crops[filled : filled + len(chunk)] = chunk
            filled += len(chunk)
            if filled == len(crops):
                yield _with_crops(under_way.popleft(), crops, self._pin)
                crops = None

    def close(self) -> None:
        """End the workers."""
        self._processes.close()


class _Crops:
    """In a worker: chunks of hands to crops."""

    def __init__(self, pool: Path) -> None:
        self._pool = pool
        self._files: CropFiles | None = None

    def __call__(self, hand_ids: NDArray[np.uint64]) -> Tensor:
        self._files = self._files or CropFiles(self._pool)
        size = self._files.size_px
        crops = torch.empty(len(hand_ids), size, size, 3, dtype=torch.uint8)
        self._files.decode_into(crops.numpy(), hand_ids)
        return crops


def _room_for(batch: PairBatch, pin: bool) -> Tensor:
    size = batch.crops.shape[1]
    return torch.empty(len(batch.hand_ids), size, size, 3, dtype=torch.uint8, pin_memory=pin)


def _with_crops(batch: PairBatch, crops: Tensor, pin: bool) -> PairBatch:
    batch = replace(batch, crops=crops)
    return batch.pinned() if pin else batch

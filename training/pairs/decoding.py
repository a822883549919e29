"""Reading and decoding the crops of batch after batch, by threads of this process or by others."""

import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context, parent_process
from pathlib import Path
from signal import SIG_IGN, SIGINT, signal
from threading import Thread
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from handsim.cores import available_cores
from handsim.errors import HandsimError
from training.pairs.batch import PairBatch
from training.pairs.crops import CropFiles

_CHUNK_HANDS: Final = 64
"""Crops decoded in one go: few enough that all workers share in one batch."""
_CHUNKS_AHEAD: Final = 2


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
        self._chunks = _Chunks()
        # A forked process would hold a copy of threads' locks and of the index; these are born clean.
        context = get_context("forkserver")
        context.set_forkserver_preload([__name__])
        self._loader: DataLoader[Tensor | HandsimError] | None = DataLoader(
            _Crops(pool),
            batch_size=None,
            sampler=self._chunks,
            num_workers=workers,
            collate_fn=_as_it_is,
            prefetch_factor=_CHUNKS_AHEAD,
            persistent_workers=True,
            multiprocessing_context=context,
            worker_init_fn=_begin_worker,
            generator=torch.Generator(),  # else each start would use up one of the trainer's random numbers
        )

    def decode(self, batches: Iterator[PairBatch]) -> Generator[PairBatch, None, None]:
        """See `Decoder`."""
        assert self._loader is not None, "it is closed"
        self._chunks.begin(batches)
        filled = 0
        crops: Tensor | None = None
        for chunk in _living(self._loader):
            if isinstance(chunk, HandsimError):
                raise chunk
            if crops is None:
                crops, filled = _room_for(self._chunks.under_way[0], self._pin), 0
            crops[filled : filled + len(chunk)] = chunk
            filled += len(chunk)
            if filled == len(crops):
                yield _with_crops(self._chunks.under_way.popleft(), crops, self._pin)
                crops = None
        if self._chunks.error is not None:
            raise self._chunks.error

    def close(self) -> None:
        """End the workers."""
        self._loader = None  # they end with it


class _Chunks:
    """What the DataLoader takes for a sampler: it asks for a chunk of hands whenever a worker has room.

    It does so on the thread that iterates over the DataLoader, so nothing here is shared.
    """

    def __init__(self) -> None:
        self.begin(iter(()))

    def begin(self, batches: Iterator[PairBatch]) -> None:
        self._batches = batches
        self.under_way: deque[PairBatch] = deque()
        self.error: Exception | None = None

    def __iter__(self) -> Iterator[NDArray[np.uint64]]:
        try:
            for batch in self._batches:
                self.under_way.append(batch)
                for start in range(0, len(batch.hand_ids), _CHUNK_HANDS):
                    yield batch.hand_ids[start : start + _CHUNK_HANDS]
        except Exception as error:  # kept until the batches that are under way are through
            self.error = error


class _Crops(Dataset[Tensor | HandsimError]):
    """In a worker: chunks of hands to crops."""

    def __init__(self, pool: Path) -> None:
        self._pool = pool
        self._files: CropFiles | None = None

    def __getitem__(self, hand_ids: NDArray[np.uint64]) -> Tensor | HandsimError:
        try:
            self._files = self._files or CropFiles(self._pool)
            size = self._files.size_px
            crops = torch.empty(len(hand_ids), size, size, 3, dtype=torch.uint8)
            self._files.decode_into(crops.numpy(), hand_ids)
        except HandsimError as error:
            return error  # raised, it would arrive wrapped in a traceback
        return crops


def _living(
    loader: Iterable[Tensor | HandsimError],
) -> Generator[Tensor | HandsimError, None, None]:
    """What the DataLoader gives; raises HandsimError when a worker died."""
    try:
        yield from loader
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise HandsimError(
            f"a process that decodes crops died ({str(error).splitlines()[0]}); memory ran out, or a "
            f"container has too little of it in /dev/shm: take fewer trainer.workers, or give it more"
        ) from error


def _begin_worker(number: int) -> None:
    signal(SIGINT, SIG_IGN)  # Ctrl-C is for the main process, which ends this one
    Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    # A DataLoader's worker looks whether its parent lives. Here that is the fork server, which in turn lives
    # as long as a worker does: were the main process killed, both would stay for good.
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _as_it_is(chunk: Any) -> Any:
    return chunk


def _room_for(batch: PairBatch, pin: bool) -> Tensor:
    size = batch.crops.shape[1]
    return torch.empty(len(batch.hand_ids), size, size, 3, dtype=torch.uint8, pin_memory=pin)


def _with_crops(batch: PairBatch, crops: Tensor, pin: bool) -> PairBatch:
    batch = replace(batch, crops=crops)
    return batch.pinned() if pin else batch

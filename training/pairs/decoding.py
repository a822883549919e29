"""Reading and decoding the crops of batch after batch, by threads of this process or by others.

From a pool's files to pixels.

One batch of pairs, as the trainer gets it.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from handsim.errors import HandsimError
from handsim.hand import format_hand_id
from handsim.pool import CropFiles, Pool
from handsim.processes import available_cores
from training.pairs.sources import PairDraw
from training.runs.workers import WorkerProcesses

# The same pixels as Pillow's, at twice its speed. Crops are upright; no EXIF is looked for.
_FLAGS = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION


def decode_into(files: CropFiles, crops: NDArray[np.uint8], hand_ids: NDArray[np.uint64]) -> None:
    """Fill RGB crops [n, S, S, 3] with those of hands [n], as right hands.

    Raises NotThereError for a hand without a crop, HandsimError that names one that is damaged.
    """
    for crop, hand_id, jpeg in zip(crops, hand_ids.tolist(), files.jpegs(hand_ids), strict=True):
        # OpenCV answers a damaged file with None, an empty one with an error of its own.
        picture = cv2.imdecode(np.frombuffer(jpeg, dtype=np.uint8), _FLAGS) if jpeg else None
        if picture is None or picture.shape != crop.shape:
            why = "it cannot be decoded"
            if picture is not None:
                why = f"it has {picture.shape[1]} x {picture.shape[0]} px, the pool {files.size_px}"
            raise HandsimError(
                f"the crop of hand {format_hand_id(hand_id)} in {files.path} is damaged: {why}; "
                f"move its part of the pool away and ingest again"
            )
        crop[...] = picture


@dataclass(frozen=True)
class WaitTimes:
    """What a batch was waited for."""

    data_s: float = 0.0
    """Seconds in which the trainer had no batch."""
    index_s: float = 0.0
    """The part of these in which everybody waited for pairs, and so for the index."""


@dataclass(frozen=True, eq=False)
class PairBatch:
    """B pairs and R further negatives, made of U different hands."""

    hand_ids: NDArray[np.uint64]
    """[U], each once, in the pool's order."""
    crops: Tensor
    """uint8 [U, S, S, 3], RGB, as right hands."""
    keypoints: Tensor
    """float32 [U, 21, 2] in the crop's unit square (x right, y down), as right hands."""
    anchors: Tensor
    """int64 [B] rows of U."""
    positives: Tensor
    """int64 [B] rows of U; the anchor's own row where it is its own positive."""
    negatives: Tensor
    """int64 [R] rows of U: R is the same for every batch, the hands all differ from anchors and positives."""
    distances: Tensor
    """float32 [B] from anchor to positive, in the index's embedding; NaN where it is not known."""
    version: str | None
    """Name of the index version the pairs come from, where they come from one."""
    epoch: int
    """From 0."""
    number: int
    """Of the batch in its epoch, from 0."""
    without_positive: int
    """Anchors that are their own positive because no other was found."""
    not_in_index: int
    """Of those, the ones that the index version does not hold."""
    random_negatives: int
    """Negatives drawn at random, where the band had too few."""
    waits: WaitTimes = WaitTimes()
    """What it was waited for."""

    @classmethod
    def from_draw(cls, drawn: PairDraw, pool: Pool, epoch: int, number: int) -> "PairBatch":
        """The batch of drawn pairs, each hand once however often it is met; its crops are still empty."""
        count = len(drawn.anchors)
        together = np.concatenate([drawn.anchors, drawn.positives, drawn.negatives.reshape(-1)])
        rows, places = np.unique(pool.rows(together), return_inverse=True)
        anchors, positives, negatives = np.split(places.astype(np.int64), [count, 2 * count])
        return cls(
            hand_ids=pool.hand_ids[rows],
            crops=torch.empty(0, pool.crop_size_px, pool.crop_size_px, 3, dtype=torch.uint8),
            keypoints=torch.from_numpy(pool.keypoints[rows][:, :, :2].copy()),
            anchors=torch.from_numpy(anchors),
            positives=torch.from_numpy(positives),
            negatives=torch.from_numpy(negatives),
            distances=torch.from_numpy(drawn.distances),
            version=drawn.version,
            epoch=epoch,
            number=number,
            without_positive=drawn.without_positive,
            not_in_index=drawn.not_in_index,
            random_negatives=drawn.random_negatives,
        )

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "PairBatch":
        """The same batch with its tensors on a device."""
        return self._with_each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "PairBatch":
        """The same batch in page-locked memory, from where it reaches a GPU in the background."""
        return self._with_each(Tensor.pin_memory)

    def _with_each(self, move: Callable[[Tensor], Tensor]) -> "PairBatch":
        return replace(
            self,
            crops=move(self.crops),
            keypoints=move(self.keypoints),
            anchors=move(self.anchors),
            positives=move(self.positives),
            negatives=move(self.negatives),
            distances=move(self.distances),
        )

    def __len__(self) -> int:
        """B."""
        return len(self.anchors)


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
                    self._threads.submit(decode_into, self._files, pixels[chunk], batch.hand_ids[chunk])
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
        decode_into(self._files, crops.numpy(), hand_ids)
        return crops


def _room_for(batch: PairBatch, pin: bool) -> Tensor:
    size = batch.crops.shape[1]
    return torch.empty(len(batch.hand_ids), size, size, 3, dtype=torch.uint8, pin_memory=pin)


def _with_crops(batch: PairBatch, crops: Tensor, pin: bool) -> PairBatch:
    batch = replace(batch, crops=crops)
    return batch.pin_memory() if pin else batch

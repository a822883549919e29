"""Batches of pairs, and how their crops are read and decoded: by threads of this process, or by others.

A batch holds each of its hands once, however often it is an anchor, a positive or a negative: a crop is
decoded once, and `PairBatch` says by row numbers which hand plays which part.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import Any, Final, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from handsim.embedding import upright_turns_deg
from handsim.errors import HandsimError
from handsim.geometry import CROP_ENLARGEMENT, rescale_keypoints
from handsim.hand import format_hand_id
from handsim.pool import CropFiles, Pool
from handsim.processes import available_cores
from training.pairs.sources import PairDraw
from training.runs.workers import WorkerProcesses

_CHUNK_HANDS: Final = 64
"""Crops decoded in one job: few enough that all workers share in one batch."""
# The same pixels as Pillow's, at twice its speed. Crops are upright: EXIF is not read.
_DECODE_FLAGS: Final = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION


@dataclass(frozen=True, eq=False)
class PairBatch:
    """B pairs and R further negatives, made of U different hands."""

    hand_ids: NDArray[np.uint64]
    """[U], each once, in the pool's order."""
    crops: Tensor
    """uint8 [U, S, S, 3], RGB, as right hands: all that the pool has stored of them."""
    keypoints: Tensor
    """float32 [U, 21, 2] in the crop's unit square (x right, y down), as right hands."""
    videos: Tensor
    """int64 [U] a number for each video of the pool; below 0 where it is not known."""
    vectors: Tensor
    """float32 [U, D] in the index's embedding; NaN for a hand that the version lacks, D = 0 where they were
    not asked for."""
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
    """Of those, the ones that the index version lacks."""
    random_negatives: int
    """Negatives drawn at random, where the band had too few."""
    left_out: int = 0
    """Hands that were left out as positives: too near to their anchors, or duplicates of them."""
    data_wait_s: float = 0.0
    """Seconds in which the trainer waited for this batch."""
    index_wait_s: float = 0.0
    """The part of these in which no pairs lay ready either, and so the index was waited for."""
    crop_enlargement: float = CROP_ENLARGEMENT
    """`Pool.crop_enlargement`."""
    turns_deg: Tensor | None = None
    """float32 [U] how far each hand is turned from upright, counter-clockwise as displayed, where pairs are
    alike only when both are turned back; else None."""

    @classmethod
    def from_draw(cls, draw: PairDraw, pool: Pool, epoch: int, number: int) -> "PairBatch":
        """The batch of these pairs; its crops are still empty, [0, S, S, 3]."""
        count = len(draw.anchors)
        hands = np.concatenate([draw.anchors, draw.positives, draw.negatives.reshape(-1)])
        rows, first, places = np.unique(pool.rows(hands), return_index=True, return_inverse=True)
        anchors, positives, negatives = np.split(places.astype(np.int64), [count, 2 * count])
        keypoints = rescale_keypoints(pool.keypoints[rows][:, :, :2], CROP_ENLARGEMENT, pool.crop_enlargement)
        return cls(
            hand_ids=pool.hand_ids[rows],
            crops=torch.empty(0, pool.crop_size_px, pool.crop_size_px, 3, dtype=torch.uint8),
            keypoints=torch.from_numpy(keypoints.copy()),
            videos=torch.from_numpy(pool.videos.codes[rows].astype(np.int64)),
            vectors=torch.empty(len(rows), 0)
            if draw.vectors is None
            else torch.from_numpy(draw.vectors[first]),
            anchors=torch.from_numpy(anchors),
            positives=torch.from_numpy(positives),
            negatives=torch.from_numpy(negatives),
            distances=torch.from_numpy(draw.distances),
            version=draw.version,
            epoch=epoch,
            number=number,
            without_positive=draw.without_positive,
            not_in_index=draw.not_in_index,
            random_negatives=draw.random_negatives,
            left_out=draw.left_out,
            crop_enlargement=pool.crop_enlargement,
            turns_deg=_turns_deg(pool.keypoints[rows]) if draw.up_to_turn else None,
        )

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "PairBatch":
        """The same batch with its tensors on a device."""
        return self._map_tensors(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "PairBatch":
        """The same batch in page-locked memory, from where it reaches a GPU in the background."""
        return self._map_tensors(Tensor.pin_memory)

    def _map_tensors(self, function: Callable[[Tensor], Tensor]) -> "PairBatch":
        changes: dict[str, Any] = {
            name: function(value) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **changes)

    def __len__(self) -> int:
        """B."""
        return len(self.anchors)


def _turns_deg(keypoints: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(upright_turns_deg(keypoints).astype(np.float32))


class Decoder(Protocol):
    """Gives batches their crops."""

    def decode(self, batches: Iterator[PairBatch]) -> Generator[PairBatch, None, None]:
        """The batches in their order, with the crops of all their hands.

        Raises HandsimError for a damaged crop, and what ``batches`` raises after all batches before it.
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
            crops = _empty_crops(batch, self._pin)
            chunks = repeat(self._files), _chunks(crops.numpy()), _chunks(batch.hand_ids)
            list(self._threads.map(decode_into, *chunks))  # a list: raises what a thread raises
            yield _with_crops(batch, crops, self._pin)

    def close(self) -> None:
        """End the threads, each after its chunk."""
        self._threads.shutdown(cancel_futures=True)
        self._files.close()


class ProcessDecoder:
    """Decodes in worker processes, which stay from the first batch until it is closed."""

    def __init__(self, pool: Path, workers: int, *, pin: bool) -> None:
        """Nothing is started before the first batch."""
        self._pin = pin
        self._processes = WorkerProcesses(_DecodeChunk(pool), workers)

    def decode(self, batches: Iterator[PairBatch]) -> Generator[PairBatch, None, None]:
        """See `Decoder`."""
        under_way: deque[PairBatch] = deque()

        def chunks() -> Iterator[NDArray[np.uint64]]:
            for batch in batches:
                under_way.append(batch)
                yield from _chunks(batch.hand_ids)

        crops: Tensor | None = None
        filled = 0
        for chunk in self._processes.map(chunks()):
            if crops is None:
                crops, filled = _empty_crops(under_way[0], self._pin), 0
            crops[filled : filled + len(chunk)] = chunk
            filled += len(chunk)
            if filled == len(crops):
                yield _with_crops(under_way.popleft(), crops, self._pin)
                crops = None

    def close(self) -> None:
        """End the workers."""
        self._processes.close()


class _DecodeChunk:
    """What a worker process does with a chunk of hands [n]: returns their crops."""

    def __init__(self, pool: Path) -> None:
        self._pool = pool
        self._files: CropFiles | None = None

    def __call__(self, hand_ids: NDArray[np.uint64]) -> Tensor:
        self._files = self._files or CropFiles(self._pool)
        size = self._files.size_px
        crops = torch.empty(len(hand_ids), size, size, 3, dtype=torch.uint8)
        decode_into(self._files, crops.numpy(), hand_ids)
        return crops


def decode_into(files: CropFiles, crops: NDArray[np.uint8], hand_ids: NDArray[np.uint64]) -> None:
    """Fill RGB crops [n, S, S, 3] with those of hands [n], as right hands.

    Raises NotThereError for a hand without a crop, HandsimError that names one that is damaged.
    """
    for crop, hand_id, jpeg in zip(crops, hand_ids.tolist(), files.jpegs(hand_ids), strict=True):
        # OpenCV returns None for a damaged file, but raises an error of its own for an empty one.
        picture = cv2.imdecode(np.frombuffer(jpeg, dtype=np.uint8), _DECODE_FLAGS) if jpeg else None
        if picture is None or picture.shape != crop.shape:
            why = "it cannot be decoded"
            if picture is not None:
                why = f"it has {picture.shape[1]} x {picture.shape[0]} px, the pool {files.size_px}"
            raise HandsimError(
                f"the crop of hand {format_hand_id(hand_id)} in {files.path} is damaged: {why}; "
                f"move its part of the pool away and ingest again"
            )
        crop[...] = picture


def _chunks(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    for start in range(0, len(array), _CHUNK_HANDS):
        yield array[start : start + _CHUNK_HANDS]


def _empty_crops(batch: PairBatch, pin: bool) -> Tensor:
    size = batch.crops.shape[1]
    return torch.empty(len(batch.hand_ids), size, size, 3, dtype=torch.uint8, pin_memory=pin)


def _with_crops(batch: PairBatch, crops: Tensor, pin: bool) -> PairBatch:
    batch = replace(batch, crops=crops)
    return batch.pin_memory() if pin else batch

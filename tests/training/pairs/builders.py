"""A small pool that looks like video, and sources of pairs that follow a script."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handsim import Hand, Pool, PoolWriter
from handsim.errors import UnavailableError
from handsim.hand import Side, make_hand_id
from handsim.images import encode_jpeg
from index import IndexSettings
from training.pairs import PairDraw, SelfPairs
from training.pairs.decoding import PairBatch

SIZE_PX = 32
VIDEOS = 12
FRAMES = 10
FRAME_STEP = 30

SMALL_GRAPH = IndexSettings(index_above_kb=1, full_scan_below_kb=10)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def colour_of(hand_id: int) -> tuple[int, int, int]:
    """The colour of all pixels of a hand's crop, which identifies it."""
    return 32 * (hand_id % 8), 32 * (hand_id // 8 % 8), 32 * (hand_id // 64 % 8)


def write_pool(path: Path, videos: int = VIDEOS, first_video: int = 0, *, pictures: bool = True) -> Pool:
    """Videos of `FRAMES` hands each, whose poses others share; a video's number decides all about it."""
    poses = rng().random((4, 21, 3))
    with PoolWriter(path, crop_size_px=SIZE_PX) as writer:
        for video in range(first_video, first_video + videos):
            random = np.random.default_rng([1, video])
            person = random.normal(scale=0.03, size=(21, 3))
            side: Side = "left" if video % 4 == 0 else "right"
            for number in range(FRAMES):
                frame = number * FRAME_STEP
                hand_id = make_hand_id("test", f"video {video}", frame, 0)
                keypoints = poses[video % 4] + person + random.normal(scale=0.005, size=(21, 3))
                crop = np.full((SIZE_PX, SIZE_PX, 3), colour_of(hand_id), dtype=np.uint8)
                box, video_name = np.array([0, 0, 9, 9], dtype=np.float32), f"video {video}"
                keypoints = keypoints.astype(np.float32)
                hand = Hand(hand_id, "test", video_name, frame, side, 1.0, box, keypoints)
                writer.add(hand, encode_jpeg(crop) if pictures else None)
    return Pool.open(path)


def contents(batch: PairBatch) -> tuple[Any, ...]:
    """All that must be equal in equal batches."""
    tensors = (batch.anchors, batch.positives, batch.negatives, batch.keypoints, batch.crops)
    return (batch.epoch, batch.number, batch.hand_ids.tolist(), *(tensor.tolist() for tensor in tensors))


class Scripted(SelfPairs):
    """`SelfPairs` that calls a function before every draw, with the number of the draw."""

    def __init__(self, before: Callable[[int], object] = lambda number: None) -> None:
        self.before = before
        self.draws = 0
        self.closed = False

    def draw(self, anchors: NDArray[np.uint64], rng: np.random.Generator) -> PairDraw:
        number, self.draws = self.draws, self.draws + 1
        self.before(number)
        return super().draw(anchors, rng)

    def close(self) -> None:
        self.closed = True


class Away(Scripted):
    """An index that is away at some draws; the version of a draw is its first random number."""

    def __init__(self, draws: Iterable[int]) -> None:
        super().__init__()
        self._away = set(draws)

    def draw(self, anchors: NDArray[np.uint64], rng: np.random.Generator) -> PairDraw:
        pairs = super().draw(anchors, rng)
        random = rng.random()
        if self.draws - 1 in self._away:
            raise UnavailableError(f"the server does not answer, for the {self.draws}th time")
        return replace(pairs, version=f"{random}")

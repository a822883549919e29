"""Pools of small pictures, hands to measure, and limits, for the tests of `handsim`."""

import resource
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from handsim import Hand, Pool, PoolWriter
from handsim.hand import make_hand_id
from handsim.images import encode_jpeg

CROP_PX = 32


def picture(number: int, size: int = CROP_PX) -> NDArray[np.uint8]:
    """Broad blotches of colour, RGB [size, size, 3]; every number has its own."""
    rng = np.random.default_rng(number)
    blotches = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.kron(blotches, np.ones((size // 4, size // 4, 1), dtype=np.uint8))


def write_picture_pool(path: Path, numbers: Iterable[int], with_crops: bool = True) -> Pool:
    """Add the hands of these numbers to the pool at ``path`` and open it."""
    with PoolWriter(path, crop_size_px=CROP_PX) as writer:
        for number in numbers:
            hand = Hand(
                hand_id=make_hand_id("test", "video", number, 0),
                source="test",
                video=f"video {number // 5}",
                frame=number,
                side="right",
                score=1.0,
                box_px=np.array([0, 0, 1, 1], dtype=np.float32),
                keypoints=np.random.default_rng(number).random((21, 3), dtype=np.float32),
            )
            writer.add(hand, encode_jpeg(picture(number)) if with_crops else None)
    return Pool.open(path)


@contextmanager
def limited(what: int, soft: int) -> Iterator[None]:
    """Run with the soft limit ``soft`` on a resource of this process (`resource.RLIMIT_NOFILE`, ...)."""
    before = resource.getrlimit(what)
    resource.setrlimit(what, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(what, before)

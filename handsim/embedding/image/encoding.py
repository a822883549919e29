"""The features of a pool's hands: crops decoded on threads while the ResNet looks at those before."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from handsim.cores import available_cores
from handsim.errors import HandsimError
from handsim.hand import format_hand_id
from handsim.media.images import decode_image
from handsim.media.unusable import UnusableError
from handsim.pool import Pool

if TYPE_CHECKING:
    from handsim.embedding.image.trunk import Trunk

_BATCHES_AHEAD: Final = 2


def encode_hands(
    pool: Pool, chunks: Iterable[NDArray[np.uint64]], trunk: "Trunk", batch: int
) -> Iterator[NDArray[np.float16]]:
    """Features [n, F] of each chunk of hands [n], looked at ``batch`` at a time.

    Raises NotThereError for a hand without a crop and HandsimError for a damaged one.
    """
    chunks = list(chunks)
    batches = [chunk[start : start + batch] for chunk in chunks for start in range(0, len(chunk), batch)]
    decoded = _decode(pool, batches)
    for chunk in chunks:
        parts = [trunk.features(next(decoded)) for _ in range(0, len(chunk), batch)]
        yield np.concatenate(parts)


def _decode(pool: Pool, batches: Sequence[NDArray[np.uint64]]) -> Iterator[list[NDArray[np.uint8]]]:
    """The crops of every batch of hands, a few batches ahead of where they are used."""
    waiting: deque[list[Future[NDArray[np.uint8]]]] = deque()
    threads = ThreadPoolExecutor(available_cores())
    try:
        for hand_ids in batches:
            # Read here, in the order they lie on the disk: a pool is not made for several threads.
            waiting.append(
                [threads.submit(_crop, pool.crop_jpeg(hand_id), hand_id) for hand_id in hand_ids.tolist()]
            )
            if len(waiting) > _BATCHES_AHEAD:
                yield [crop.result() for crop in waiting.popleft()]
        for crops in waiting:
            yield [crop.result() for crop in crops]
    finally:
        threads.shutdown(cancel_futures=True)


def _crop(jpeg: bytes, hand_id: int) -> NDArray[np.uint8]:
    try:
        return decode_image(jpeg)
    except UnusableError as error:
        raise HandsimError(
            f"the crop of hand {format_hand_id(hand_id)} is damaged ({error}); move its part of the pool "
            f"away and ingest again"
        ) from error

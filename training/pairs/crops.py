"""From a pool's JPEGs to pixels."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError
from handsim.hand import format_hand_id
from handsim.pool import Pool

# The same pixels as Pillow's, at twice its speed. Crops are upright; no EXIF is looked for.
_FLAGS = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION


def read_jpegs(pool: Pool, hand_ids: NDArray[np.uint64]) -> list[bytes]:
    """The crops of hands [n] as they are stored; raises HandsimError where the pool does not give one."""
    return [pool.crop_jpeg(hand_id) for hand_id in hand_ids.tolist()]


def decode_into(
    crops: NDArray[np.uint8], hand_ids: NDArray[np.uint64], jpegs: Sequence[bytes], pool: Pool
) -> None:
    """Fill RGB crops [n, S, S, 3] with those of hands [n]; threads may do this side by side.

    Raises HandsimError that names the hand whose picture is damaged or of another size.
    """
    for crop, hand_id, jpeg in zip(crops, hand_ids.tolist(), jpegs, strict=True):
        # An empty buffer is an error of its own to OpenCV, a damaged one an empty picture.
        picture = cv2.imdecode(np.frombuffer(jpeg, dtype=np.uint8), _FLAGS) if jpeg else None
        if picture is None or picture.shape != crop.shape:
            why = "cannot be decoded" if picture is None else f"is {picture.shape[1]} x {picture.shape[0]} px"
            raise HandsimError(
                f"the crop of hand {format_hand_id(hand_id)} in {pool.path} is damaged: it {why}, not "
                f"{len(crop)} x {len(crop)} px of JPEG; move its part of the pool away and ingest again"
            )
        crop[...] = picture

"""Mined pairs in the layout of the Hand100M annotations, which SiMHand's training code reads.

The picture of a hand is its crop, ``<hand_id>.jpg``, as in the pool's tar files: square, 1.3 times the
hand's box, left hands already mirrored. SiMHand's reader cuts its own square out of the picture, 1.3 times
the longer side of ``boxes`` rounded down and clipped at the border, and mirrors hands called "Left". So
``boxes`` holds the box whose enlarged square is the whole crop, and every hand is "Right": the reader gets
our crop and our keypoints unchanged.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from handsim.files import replacing
from handsim.geometry import CROP_ENLARGEMENT
from handsim.hand import format_hand_id
from handsim.pool import Pool
from index.mining import MinedPairs


def write_hand100m(path: str | Path, pool: Pool, batches: Iterable[MinedPairs]) -> int:
    """Write an annotation file of mined hands as they come, atomically; returns how many hands.

    A picture's ``id`` is the hand's row in the pool. A hand without a positive has empty lists. The format
    has no unlabelled joints: hands with any are left out, as anchors and as positives. Raises NotThereError
    for a hand that the pool does not hold.
    """
    with replacing(Path(path)) as temporary, temporary.open("w") as file:
        file.write('{"images": ')
        _write_list(file, _images(pool))
        file.write(', "annotations": ')
        count = _write_list(file, _annotations(pool, batches))
        file.write("}\n")
    return count


def box_of_whole_crop(size_px: int) -> list[float]:
    """The box [x0, y0, x1, y1] whose 1.3 times larger square, in whole pixels, is a crop of ``size_px``.

    Half a pixel more than needed: rounding down must not lose the last row.
    """
    half = (size_px + 0.5) / CROP_ENLARGEMENT / 2
    return [round(size_px / 2 - half, 3)] * 2 + [round(size_px / 2 + half, 3)] * 2


def _write_list(file: TextIO, entries: Iterator[dict[str, Any]]) -> int:
    """Write a JSON array, one entry per line; returns how many."""
    count = 0
    for entry in entries:
        file.write("[\n" if count == 0 else ",\n")
        file.write(json.dumps(entry, separators=(",", ":")))
        count += 1
    file.write("\n]" if count else "[]")
    return count


def _images(pool: Pool) -> Iterator[dict[str, Any]]:
    size = pool.crop_size_px
    for row in np.flatnonzero(pool.is_complete).tolist():
        hand_id = int(pool.hand_ids[row])
        yield {"id": row, "file_name": f"{format_hand_id(hand_id)}.jpg", "width": size, "height": size}


def _annotations(pool: Pool, batches: Iterable[MinedPairs]) -> Iterator[dict[str, Any]]:
    box = json.dumps(box_of_whole_crop(pool.crop_size_px))
    for batch in batches:
        rows = pool.rows(batch.hand_ids)
        is_found = batch.is_found.copy()
        is_found[is_found] = pool.is_complete[pool.rows(batch.positives[is_found])]
        for place, row in enumerate(rows.tolist()):
            if not pool.is_complete[row]:
                continue
            mask = is_found[place]
            yield {
                "image_id": row,
                "hand_id": format_hand_id(int(batch.hand_ids[place])),
                "boxes": box,
                "keypoint_25d": _rounded(pool.keypoints[row].reshape(-1)),
                "left_right": "Right",
                "positive_sample": [
                    format_hand_id(positive) for positive in batch.positives[place, mask].tolist()
                ],
                "distance": _rounded(batch.distances[place, mask]),
            }


def _rounded(numbers: NDArray[np.float32]) -> list[float]:
    """Six decimals: a thousandth of a pixel is five."""
    rounded: list[float] = np.round(numbers.astype(np.float64), 6).tolist()
    return rounded

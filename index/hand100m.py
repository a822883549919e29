"""Mined pairs in the layout of the Hand100M annotations, which SiMHand's training code reads.

The picture of a hand is its crop, ``<hand_id>.jpg``, as `Pool.crop_jpeg` gives it: square, 1.3 times the
hand's box, left hands already mirrored. SiMHand's reader cuts its own square out of the picture, 1.3 times
the longer side of ``boxes`` rounded down and clipped at the border, and mirrors hands called "Left". So
``boxes`` holds the box whose enlarged square is the whole crop, and every hand is "Right": the reader gets
our crop and our keypoints unchanged. Ids are decimal strings, as in the published files: SiMHand's reader
calls ``int``. What it does not know, ``handsim_source``, ``handsim_video``, ``handsim_frame``,
``handsim_side``, ``handsim_score`` and ``handsim_label``, lets `handsim ingest` take the same hand in again.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handsim.files import replacing, write_json_list
from handsim.geometry import CROP_ENLARGEMENT
from handsim.hand import format_hand_id
from handsim.pool import Pool
from index.mining import MinedPairs


def write_hand100m(
    path: str | Path, pool: Pool, batches: Iterable[MinedPairs], *, with_picture: bool = False
) -> int:
    """Write an annotation file of mined hands as they come, atomically; returns how many hands.

    A picture's ``id`` is the hand's row in the pool. A hand without a positive has empty lists. The format
    has no unlabelled joints: hands with any are left out, also as positives, and so are those of unknown
    side, and ``with_picture`` those without a crop. Raises NotThereError for a hand that the pool does not
    hold.
    """
    usable = pool.is_usable & pool.has_crops if with_picture else pool.is_usable
    with replacing(Path(path)) as temporary, temporary.open("w") as file:
        file.write('{"images": ')
        write_json_list(file, _images(pool, usable))
        file.write(', "annotations": ')
        count = write_json_list(file, _annotations(pool, batches, usable))
        file.write("}\n")
    return count


def box_of_whole_crop(size_px: int) -> list[float]:
    """The box [x0, y0, x1, y1] whose 1.3 times larger square, in whole pixels, is a crop of ``size_px``.

    Half a pixel more than needed: rounding down must not lose the last row.
    """
    half = (size_px + 0.5) / CROP_ENLARGEMENT / 2
    return [round(size_px / 2 - half, 3)] * 2 + [round(size_px / 2 + half, 3)] * 2


def _images(pool: Pool, usable: NDArray[np.bool_]) -> Iterator[dict[str, Any]]:
    size = pool.crop_size_px
    for row in np.flatnonzero(usable).tolist():
        name = f"{format_hand_id(int(pool.hand_ids[row]))}.jpg"
        yield {"id": row, "file_name": name, "width": size, "height": size}


def _annotations(
    pool: Pool, batches: Iterable[MinedPairs], usable: NDArray[np.bool_]
) -> Iterator[dict[str, Any]]:
    box = json.dumps(box_of_whole_crop(pool.crop_size_px))
    for batch in batches:
        rows = pool.rows(batch.hand_ids)
        found = batch.is_found.copy()
        found[found] = usable[pool.rows(batch.positives[found])]
        for place, row in enumerate(rows.tolist()):
            if not usable[row]:
                continue
            mask = found[place]
            yield {
                "image_id": row,
                "hand_id": str(batch.hand_ids[place]),
                "boxes": box,
                "keypoint_25d": _rounded(pool.keypoints[row].reshape(-1)),
                "left_right": "Right",
                "positive_sample": list(map(str, batch.positives[place, mask].tolist())),
                "distance": _rounded(batch.distances[place, mask]),
                "handsim_source": pool.sources[row],
                "handsim_video": pool.videos[row],
                "handsim_frame": int(pool.frames[row]),
                "handsim_side": "left" if pool.is_left[row] else "right",
                "handsim_score": round(float(pool.scores[row]), 6),
                "handsim_label": pool.labels[row],
            }


def _rounded(numbers: NDArray[np.float32]) -> list[float]:
    """Six decimals: a thousandth of a pixel is five."""
    rounded: list[float] = np.round(numbers.astype(np.float64), 6).tolist()
    return rounded

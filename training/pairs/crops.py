"""From a pool's files to pixels."""

import os
from pathlib import Path
from threading import Lock

import cv2
import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError, NotThereError
from handsim.hand import format_hand_id
from handsim.pool import layout

# The same pixels as Pillow's, at twice its speed. Crops are upright; no EXIF is looked for.
_FLAGS = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION


class CropFiles:
    """The pictures of a pool and nothing else of it, for processes and threads that decode.

    Every process opens its own: 24 bytes a hand in memory, where a `handsim.pool.Pool` takes some 300 for its
    keypoints and columns. Threads may share one.
    """

    size_px: int
    """S, the side of every crop."""

    def __init__(self, pool: Path) -> None:
        """Of the published hands of a pool directory; raises HandsimError when a part of it is damaged."""
        self._pool, self.size_px = pool, layout.read_pool_json(pool)
        parts = layout.published_parts(pool)
        self._tars = [part / layout.CROPS_FILE for part in parts]
        names = ["hand_id", "crop_offset", "crop_bytes"]
        tables = [layout.read_columns(part, layout.HANDS_FILE, names) for part in parts]
        hand_ids, offsets, sizes = (
            np.concatenate([np.empty(0, dtype=dtype), *(table[name].to_numpy() for table in tables)])
            for name, dtype in zip(names, (np.uint64, np.int64, np.int32), strict=True)
        )
        part_of = np.repeat(np.arange(len(parts), dtype=np.int32), [len(table) for table in tables])
        order = np.argsort(hand_ids)
        self._hand_ids, self._offsets, self._sizes = hand_ids[order], offsets[order], sizes[order]
        self._part_of = part_of[order]
        self._descriptors: dict[int, int] = {}
        self._opening = Lock()

    def decode_into(self, crops: NDArray[np.uint8], hand_ids: NDArray[np.uint64]) -> None:
        """Fill RGB crops [n, S, S, 3] with those of hands [n], as right hands.

        Raises NotThereError for a hand without a picture, HandsimError that names one that is damaged.
        """
        for crop, hand_id, jpeg in zip(crops, hand_ids.tolist(), self.jpegs(hand_ids), strict=True):
            # OpenCV answers a damaged file with None, an empty one with an error of its own.
            picture = cv2.imdecode(np.frombuffer(jpeg, dtype=np.uint8), _FLAGS) if jpeg else None
            if picture is None or picture.shape != crop.shape:
                why = "it cannot be decoded"
                if picture is not None:
                    why = f"it has {picture.shape[1]} x {picture.shape[0]} px, the pool {self.size_px}"
                raise HandsimError(
                    f"the crop of hand {format_hand_id(hand_id)} in {self._pool} is damaged: {why}; "
                    f"move its part of the pool away and ingest again"
                )
            crop[...] = picture

    def jpegs(self, hand_ids: NDArray[np.uint64]) -> list[bytes]:
        """The pictures of hands [n] as they are stored; raises as `decode_into` does."""
        rows = np.searchsorted(self._hand_ids, hand_ids)
        found = rows < len(self._hand_ids)
        found[found] = (self._hand_ids[rows[found]] == hand_ids[found]) & (self._offsets[rows[found]] >= 0)
        if not found.all():
            name = format_hand_id(int(hand_ids[~found][0]))
            raise NotThereError(f"there is no picture of hand {name} in {self._pool}")
        places = zip(
            self._part_of[rows].tolist(),
            self._sizes[rows].tolist(),
            self._offsets[rows].tolist(),
            strict=True,
        )
        return [self._read(*place) for place in places]

    def close(self) -> None:
        """Close the files; nobody may be reading."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])

    def _read(self, part: int, size: int, offset: int) -> bytes:
        jpeg = os.pread(self._descriptor(part), size, offset)
        if len(jpeg) != size:
            raise layout.damaged(self._tars[part].parent, f"{layout.CROPS_FILE} ends too early")
        return jpeg

    def _descriptor(self, part: int) -> int:
        descriptor = self._descriptors.get(part)
        if descriptor is None:
            with self._opening:
                descriptor = self._descriptors.get(part)
                if descriptor is None:
                    descriptor = self._descriptors[part] = self._open(part)
        return descriptor

    def _open(self, part: int) -> int:
        try:
            return os.open(self._tars[part], os.O_RDONLY)
        except FileNotFoundError as error:
            raise layout.damaged(self._tars[part].parent, f"{layout.CROPS_FILE} is missing") from error

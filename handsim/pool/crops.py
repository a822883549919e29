"""The crops of a pool: each is one ``pread`` in its part's ``crops.tar``, at the offset that the table gives.

No file offset is moved, so threads and forked processes may share what is open.
"""

import errno
import io
import os
import tarfile
from collections.abc import Container
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from handsim.errors import HandsimError, NotThereError, UnusableError
from handsim.geometry import CROP_ENLARGEMENT, central_square, cut_crop
from handsim.hand import format_hand_id
from handsim.images import decode_image, encode_jpeg
from handsim.pool import layout
from handsim.processes import allow_more_files


def decode_crop(jpeg: bytes, hand_id: int) -> NDArray[np.uint8]:
    """RGB [S, S, 3] of what is stored of a hand; raises HandsimError, naming the hand, for a damaged one."""
    try:
        return decode_image(jpeg)
    except UnusableError as error:
        raise HandsimError(
            f"the crop of hand {format_hand_id(hand_id)} is damaged ({error}); move its part of the pool "
            f"away and ingest again"
        ) from error


def decode_central(jpeg: bytes, hand_id: int, enlargement: float) -> NDArray[np.uint8]:
    """SiMHand's crop out of what is stored of a hand, of the same size [S, S, 3]; raises as `decode_crop`."""
    stored = decode_crop(jpeg, hand_id)
    if enlargement == CROP_ENLARGEMENT:
        return stored
    return cut_crop(stored, central_square(len(stored), enlargement), len(stored))


_TAR_HEADER_BYTES: Final = 512
"""A USTAR member with a short name has exactly one header block."""


class TarWriter:
    """Writes the ``crops.tar`` of a part."""

    def __init__(self, directory: Path) -> None:
        """Begin the file in the directory of the part."""
        # It stays open until `close`.
        self._tar = tarfile.open(  # noqa: SIM115
            directory / layout.CROPS_FILE, "w", format=tarfile.USTAR_FORMAT
        )

    def add(self, hand_id: int, jpeg: bytes) -> int:
        """Append a hand's crop; returns its offset in the file."""
        member = tarfile.TarInfo(f"{format_hand_id(hand_id)}.jpg")
        member.size = len(jpeg)
        offset = self._tar.offset + _TAR_HEADER_BYTES
        self._tar.addfile(member, io.BytesIO(jpeg))
        return offset

    def close(self) -> None:
        """End the file."""
        self._tar.close()


class TarFiles:
    """The ``crops.tar`` of each published part of a pool, opened when it is first read.

    Until it is closed, none of these parts is deleted.
    """

    parts: list[Path]

    def __init__(self, pool: Path) -> None:
        self._descriptors: dict[int, int] = {}
        self._reading = ExitStack()
        self.parts = self._reading.enter_context(layout.reading(pool))

    def read(self, part: int, offset: int, size: int) -> bytes:
        """A JPEG of the part of that number; raises HandsimError for a tar that is missing or too short."""
        jpeg = os.pread(self._descriptor(part), size, offset)
        if len(jpeg) != size:
            raise layout.damaged(self.parts[part], f"{layout.CROPS_FILE} ends too early")
        return jpeg

    def _descriptor(self, part: int) -> int:
        known = self._descriptors.get(part)
        if known is not None:
            return known
        path = self.parts[part] / layout.CROPS_FILE
        try:
            opened = os.open(path, os.O_RDONLY)
        except FileNotFoundError as error:
            raise missing_crops(self.parts[part]) from error
        except OSError as error:
            # A pool of ten million hands has more parts than the usual 1,024 files.
            if error.errno != errno.EMFILE or not allow_more_files():
                raise
            opened = os.open(path, os.O_RDONLY)
        # No lock: one that another thread holds during a fork would stay locked in the child for ever.
        known = self._descriptors.setdefault(part, opened)
        if known != opened:
            os.close(opened)  # another thread was first
        return known

    def close(self) -> None:
        """Close the files; nobody may be reading."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])
        self._reading.close()

    def __del__(self) -> None:
        self.close()


def copy_crops(
    tars: TarFiles, number: int, hands: pa.Table, out: Path, mirrored: Container[int] = ()
) -> pa.Table:
    """Write the crops of some hands of the part of that number into the directory of another part.

    Those of the hands in ``mirrored`` are mirrored. Returns the table of the hands, with the places of the
    copies. Raises HandsimError for a damaged tar, or a damaged crop that is to be mirrored.
    """
    writer: TarWriter | None = None
    offsets: list[int] = []
    sizes: list[int] = []
    columns = (hands[name].to_pylist() for name in ("hand_id", "crop_offset", "crop_bytes"))
    for hand_id, offset, size in zip(*columns, strict=True):
        if offset >= 0:
            jpeg = tars.read(number, offset, size)
            if hand_id in mirrored:
                jpeg = encode_jpeg(decode_crop(jpeg, hand_id)[:, ::-1])
            writer = writer or TarWriter(out)
            offset, size = writer.add(hand_id, jpeg), len(jpeg)
        offsets.append(offset)
        sizes.append(size)
    if writer is not None:
        writer.close()
    return layout.with_column(layout.with_column(hands, "crop_offset", offsets), "crop_bytes", sizes)


def missing_crops(part: Path) -> HandsimError:
    """The error for a part without its ``crops.tar``, or with a link to one that is gone."""
    file = part / layout.CROPS_FILE
    if not file.is_symlink():
        return layout.damaged(part, f"{layout.CROPS_FILE} is missing")
    return HandsimError(
        f"{file} links to {os.readlink(file)}, which is gone: that pool was moved or compacted; put it back, "
        f"or make the subset again with `handsim pool subset`"
    )


class CropFiles:
    """The crops of a pool and nothing else of it, for processes and threads that decode.

    It takes 24 bytes a hand in memory, where a `Pool` takes some 300 for its keypoints and columns.
    """

    path: Path
    size_px: int
    """S, the side of every crop."""
    enlargement: float
    """`Pool.crop_enlargement`."""

    def __init__(self, pool: Path) -> None:
        """Open the published hands of a pool directory; raises HandsimError for a damaged part."""
        self.path, self.size_px = pool, layout.read_pool_json(pool)
        self.enlargement = layout.read_crop_enlargement(pool)
        self._tars = TarFiles(pool)
        parts, removed = self._tars.parts, layout.read_removed(pool)
        names = ["hand_id", "crop_offset", "crop_bytes"]
        tables = [layout.read_hands(part, names, removed) for part in parts]
        hand_ids, offsets, sizes = (
            np.concatenate([np.empty(0, dtype=dtype), *(table[name].to_numpy() for table in tables)])
            for name, dtype in zip(names, (np.uint64, np.int64, np.int32), strict=True)
        )
        part_of = np.repeat(np.arange(len(parts), dtype=np.int32), [len(table) for table in tables])
        order = np.argsort(hand_ids)
        self._hand_ids, self._offsets, self._sizes = hand_ids[order], offsets[order], sizes[order]
        self._part_of = part_of[order]

    def jpegs(self, hand_ids: NDArray[np.uint64]) -> list[bytes]:
        """The crops of hands [n] as they are stored: square JPEGs, as seen for right hands.

        Raises NotThereError for a hand without a crop, HandsimError for a damaged tar.
        """
        rows = np.searchsorted(self._hand_ids, hand_ids)
        has_crop = rows < len(self._hand_ids)
        has_crop[has_crop] = self._hand_ids[rows[has_crop]] == hand_ids[has_crop]
        has_crop[has_crop] = self._offsets[rows[has_crop]] >= 0
        if not has_crop.all():
            name = format_hand_id(int(hand_ids[~has_crop][0]))
            raise NotThereError(f"there is no picture of hand {name} in {self.path}")
        columns = (self._part_of, self._offsets, self._sizes)
        places = zip(*(column[rows].tolist() for column in columns), strict=True)
        return [self._tars.read(part, offset, size) for part, offset, size in places]

    def close(self) -> None:
        """Close the files; nobody may be reading."""
        self._tars.close()

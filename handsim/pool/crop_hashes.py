"""Hashes of a pool's crops, by which equal and similar pictures are found; the pool keeps them.

`CropHashes` has two for each crop. The hash of the JPEG's bytes is the same for the same file alone. The
perceptual hash survives other compression and small changes of size: 64 low frequencies of the grey picture,
each above their median or not (the DCT hash of Zauner, "Implementation and Benchmarking of Perceptual Image
Hash Functions", 2010). The number of bits in which two of them differ says how unlike the pictures are.
"""

import io
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from handsim.errors import HandsimError
from handsim.files import replacing
from handsim.geometry import CROP_ENLARGEMENT, central_square
from handsim.hashing import hash64
from handsim.pool.layout import read_crop_enlargement
from handsim.processes import available_cores

HASHES_FILE: Final = "crop_hashes.parquet"
"""In the pool's folder. A row holds until its crop is mirrored; a row too many does no harm."""

_SIZE_PX: Final = 32
_FREQUENCIES: Final = np.arange(1, 9)
"""Without the constant one: brighter is no other picture."""
_COSINES: Final = np.cos(np.pi / _SIZE_PX * _FREQUENCIES[:, None] * (np.arange(_SIZE_PX) + 0.5)).astype(
    np.float32
)
_CHUNK: Final = 2048
_DAMAGED: Final = (OSError, SyntaxError, ValueError, IndexError, RuntimeError)
_SCHEMA: Final = pa.schema(
    [pa.field(name, pa.uint64(), nullable=False) for name in ("hand_id", "jpeg_hash", "perceptual_hash")]
)

Progress = Callable[[int, int], None]
"""Called with (done, total)."""


@dataclass(frozen=True, eq=False)
class CropHashes:
    """The hashes of N crops."""

    hand_ids: NDArray[np.uint64]
    """[N]."""
    jpeg: NDArray[np.uint64]
    """[N] hash of the bytes."""
    perceptual: NDArray[np.uint64]
    """[N] 64 bits, nearly the same ones for pictures that look the same."""

    @classmethod
    def of_jpegs(
        cls,
        hand_ids: NDArray[np.uint64],
        read: Callable[[int], bytes],
        enlargement: float = CROP_ENLARGEMENT,
    ) -> "CropHashes":
        """Of hands [n], whose JPEGs ``read`` returns; those whose crop cannot be read are left out.

        Perceptual hashes are those of SiMHand's crops, in the middle of pictures of that ``enlargement``:
        more around a hand would make different hands before one wall alike.
        """
        with ThreadPoolExecutor(available_cores()) as threads:
            crops = threads.map(lambda hand_id: _read_grey(read, hand_id, enlargement), hand_ids.tolist())
            readable = [(hand_id, *crop) for hand_id, crop in zip(hand_ids, crops, strict=True) if crop]
        pictures = np.array([grey for _, _, grey in readable]).reshape(-1, _SIZE_PX, _SIZE_PX)
        ids, jpeg = (np.array([row[column] for row in readable], dtype=np.uint64) for column in (0, 1))
        return cls(ids, jpeg, perceptual_hashes(pictures))

    @classmethod
    def concatenate(cls, parts: Sequence["CropHashes"]) -> "CropHashes":
        """All of them (at least one), in their order."""
        columns = [(part.hand_ids, part.jpeg, part.perceptual) for part in parts]
        return cls(*map(np.concatenate, zip(*columns, strict=True)))

    def select(self, rows: NDArray[np.integer | np.bool_]) -> "CropHashes":
        """Those at ``rows`` [n], or where a mask [N] holds."""
        return CropHashes(self.hand_ids[rows], self.jpeg[rows], self.perceptual[rows])

    def __len__(self) -> int:
        return len(self.hand_ids)


def hash_crops(
    pool: Path, hand_ids: NDArray[np.uint64], read: Callable[[int], bytes], progress: Progress | None = None
) -> CropHashes:
    """The hashes of hands [N] of a pool that have a crop, of new ones alone read from it.

    ``read`` returns the JPEG of a hand, as `Pool.stored_jpeg`. Crops that cannot be read are left out, and
    tried again the next time. What was hashed is written down also when this is interrupted; a folder that
    cannot be written to costs the time of hashing again, no more.
    """
    known, enlargement = _load(pool / HASHES_FILE), read_crop_enlargement(pool)
    missing = hand_ids[~np.isin(hand_ids, known.hand_ids)]
    parts = [known]
    try:
        for start in range(0, len(missing), _CHUNK):
            parts.append(CropHashes.of_jpegs(missing[start : start + _CHUNK], read, enlargement))
            if progress is not None:
                progress(min(start + _CHUNK, len(missing)), len(missing))
    finally:
        hashes = CropHashes.concatenate(parts)
        if len(hashes) > len(known):
            with suppress(OSError):
                _save(pool / HASHES_FILE, hashes)
    return hashes.select(np.isin(hashes.hand_ids, hand_ids))


def forget_hashes(pool: Path, hand_ids: NDArray[np.uint64]) -> None:
    """Have the crops of hands [n] hashed anew, because they became others; raises OSError."""
    known = _load(pool / HASHES_FILE)
    stays = ~np.isin(known.hand_ids, hand_ids)
    if not stays.all():
        _save(pool / HASHES_FILE, known.select(stays))


def perceptual_hashes(grey: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """[n] hashes of grey pictures [n, 32, 32]."""
    frequencies = (_COSINES @ grey.astype(np.float32) @ _COSINES.T).reshape(-1, 64)
    bits = frequencies > np.median(frequencies, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(">u8").astype(np.uint64).reshape(-1)


def grey_thumbnail(image: Image.Image, enlargement: float = CROP_ENLARGEMENT) -> NDArray[np.uint8]:
    """[32, 32] of SiMHand's crop, the middle of a picture of that ``enlargement``.

    A JPEG that is not decoded yet is decoded small, in a third of the time.
    """
    least_px = math.ceil(_SIZE_PX * enlargement / CROP_ENLARGEMENT)
    image.draft("L", (least_px, least_px))
    x0, y0, x1, y1 = central_square(1.0, enlargement) * [*image.size, *image.size]
    part = (float(x0), float(y0), float(x1), float(y1))
    return np.asarray(image.convert("L").resize((_SIZE_PX, _SIZE_PX), Image.Resampling.BOX, part))


def _read_grey(
    read: Callable[[int], bytes], hand_id: int, enlargement: float
) -> tuple[int, NDArray[np.uint8]] | None:
    try:
        jpeg = read(hand_id)
        with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:
            return hash64(jpeg), grey_thumbnail(image, enlargement)
    except (HandsimError, *_DAMAGED):
        return None


def _load(path: Path) -> CropHashes:
    """What was written down; nothing where there is no such file or it is damaged: it is made again."""
    try:
        table = pq.read_table(path, schema=_SCHEMA)
    except (OSError, pa.ArrowException):
        table = _SCHEMA.empty_table()
    return CropHashes(*(table[name].to_numpy() for name in _SCHEMA.names))


def _save(path: Path, hashes: CropHashes) -> None:
    columns = [hashes.hand_ids, hashes.jpeg, hashes.perceptual]
    with replacing(path) as temporary:
        pq.write_table(pa.table(columns, schema=_SCHEMA), temporary)

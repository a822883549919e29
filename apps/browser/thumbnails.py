"""Crops as the page shows them: small, read once, and no more of them kept than fit."""

import base64
import io
from collections import OrderedDict
from threading import Lock
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from handsim.errors import HandsimError
from handsim.hand import format_hand_id
from handsim.media.images import encode_jpeg
from handsim.pool import Pool

SIDE_PX: Final = 192
"""Of a thumbnail, sharp enough on a dense screen; smaller crops go as they are stored."""
_KEPT: Final = 4000
"""About 40 MB of them."""


def data_uri(jpeg: bytes) -> str:
    """A JPEG as an address that holds it."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def picture_uri(image: NDArray[np.uint8]) -> str:
    """RGB [S, S, 3] as a thumbnail's address."""
    return data_uri(_shrunk(encode_jpeg(image)))


class Thumbnails:
    """The last thumbnails that were asked for; threads may share it."""

    def __init__(self, kept: int = _KEPT) -> None:
        """``kept`` is how many are remembered."""
        self._kept = kept
        self._lock = Lock()
        self._uris: OrderedDict[tuple[str, int], str | None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._uris)

    def uri(self, pool: Pool, hand_id: int) -> str | None:
        """A hand's crop; None where the pool has none, or a damaged one."""
        key = (str(pool.path), hand_id)
        with self._lock:
            if key in self._uris:
                self._uris.move_to_end(key)
                return self._uris[key]
        uri: str | None
        try:
            uri = _read(pool, hand_id)
        except HandsimError:
            uri = None
        except OSError:
            return None  # it may pass, as too many open files do: asked for again, it is read again
        with self._lock:
            self._uris[key] = uri
            while len(self._uris) > self._kept:
                self._uris.popitem(last=False)
        return uri


def _read(pool: Pool, hand_id: int) -> str:
    """Raises HandsimError for a hand without a crop, and for a damaged one; OSError where the disk does."""
    jpeg = pool.crop_jpeg(hand_id)
    try:
        return data_uri(jpeg if pool.crop_size_px <= SIDE_PX else _shrunk(jpeg))
    except OSError as error:
        raise HandsimError(f"the crop of hand {format_hand_id(hand_id)} is damaged: {error}") from error


def _shrunk(jpeg: bytes) -> bytes:
    image = Image.open(io.BytesIO(jpeg))
    image.draft("RGB", (SIDE_PX, SIDE_PX))  # decodes no more than it needs
    image.thumbnail((SIDE_PX, SIDE_PX))
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=85)
    return buffer.getvalue()

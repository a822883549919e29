"""The home that the browser shows: its pool and its index, opened once for all who look.

Crops as the page shows them: small, read once, and no more of them kept than fit.

Hands in a picture that somebody sends.
"""

import base64
import io
import shlex
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Final

import numpy as np
import streamlit as st
from numpy.typing import NDArray
from PIL import Image

from apps.browser.jobs import Jobs
from apps.browser.results.evaluations import ResultShelf
from apps.browser.serve import BrowserSettings
from apps.browser.training.runs import RunShelf
from apps.cli.console import EncoderFolders
from handsim.detection import DetectedHand, HandDetector, detect_hands, open_detector, require_model
from handsim.errors import HandsimError
from handsim.hand import format_hand_id
from handsim.home import Home
from handsim.images import decode_image, encode_jpeg
from handsim.pool import Pool
from index import Catalog, IndexVersion, LiveIndex, open_catalog

SIDE_PX: Final = 192
"""Of a thumbnail, sharp enough on a dense screen; smaller crops go as they are stored."""
_KEPT: Final = 4000
"""About 40 MB of them."""


def data_uri(jpeg: bytes) -> str:
    """A JPEG as an address that holds it."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def encode_thumbnail(image: NDArray[np.uint8]) -> str:
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


LIMIT_MB: Final = 25
"""Larger files are refused before they are read."""


_LONGEST_PX: Final = 3_000
"""Larger pictures are made smaller: the detector looks at parts of 192 px, and people wait for it in turn."""


class HandFinder:
    """Finds hands in encoded pictures; sessions share it and take turns."""

    def __init__(self, model: Path | None) -> None:
        """The model is looked for at the first picture; None takes the one in the cache."""
        self._model = model
        self._lock = Lock()
        self._detector: HandDetector | None = None

    def hands(self, data: bytes) -> list[DetectedHand]:
        """The hands of a picture, best first; a large picture's boxes are those of the smaller one.

        Raises HandsimError for what is too large, is no picture or shows no hand, NotThereError without a
        model.
        """
        if len(data) > LIMIT_MB * 2**20:
            raise HandsimError(
                f"{len(data) / 2**20:.0f} MB are too many; send a picture of at most {LIMIT_MB} MB"
            )
        image = limit_size(decode_image(data), _LONGEST_PX)
        with self._lock:
            if self._detector is None:
                self._detector = open_detector(require_model(self._model))
            seen = detect_hands(image, self._detector)
        if not seen:
            raise HandsimError("no hand was found in it; try a picture where one is larger or clearer")
        return seen


def limit_size(image: NDArray[np.uint8], longest_px: int) -> NDArray[np.uint8]:
    """RGB [H, W, 3] with no side longer than that."""
    if max(image.shape[:2]) <= longest_px:
        return image
    smaller = Image.fromarray(image)
    smaller.thumbnail((longest_px, longest_px), Image.Resampling.BOX, reducing_gap=2.0)
    return np.asarray(smaller)


class Library:
    """One pool and one index, shared by all sessions; nothing of it belongs to one of them.

    What it opens it keeps; what is away is looked for again at every question, so that pages recover by
    themselves. Its methods raise NotThereError for a pool or an index that is not there yet, UnavailableError
    for a server that does not answer.
    """

    def __init__(self, settings: BrowserSettings) -> None:
        """Nothing is opened before it is asked for."""
        self.settings = settings
        self.home = Home(settings.home)
        self.thumbnails = Thumbnails()
        self.finder = HandFinder(settings.model)
        self.runs = RunShelf(self.home)
        self.results = ResultShelf()
        self.jobs = Jobs(self.home.jobs)
        self._lock = Lock()
        self._pool_lock = Lock()
        self._catalog: Catalog | None = None
        self._live: LiveIndex | None = None
        self._pool: Pool | None = None

    @property
    def catalog(self) -> Catalog:
        """The index's versions."""
        with self._lock:
            if self._catalog is None:
                address = self.settings.index or self.home.index
                self._catalog = open_catalog(address, folders=EncoderFolders(self.home), wait=False)
            return self._catalog

    @contextmanager
    def open_version(self) -> Iterator[IndexVersion]:
        """The version that is current now, for as long as the block lasts: all answers in it agree."""
        catalog = self.catalog
        with self._lock:
            live = self._live = self._live or LiveIndex(catalog)
        with live.version() as version:
            yield version

    def open_all(self) -> None:
        """Open all there is before somebody asks for it."""
        with self.open_version():
            self.open_pool()

    def format_command(self, words: str) -> str:
        """A command line of handsim's on this home, wherever somebody types it."""
        return f"handsim --home {shlex.quote(str(self.home.path))} {words}"

    def open_pool(self) -> Pool:
        """The hands; opened anew where there are others by now."""
        with self._pool_lock:  # of its own: half a million hands take a second
            if self._pool is None or not self._pool.is_current():
                self._pool = Pool.open(self.home.pool)
            return self._pool


@st.cache_resource(show_spinner=False)
def get_library(settings: BrowserSettings) -> Library:
    """The library of a home, one for all sessions."""
    return Library(settings)

"""The home that the browser shows: its pool, index, runs and jobs, opened once and shared by all sessions.

Also thumbnails of crops as data URIs, and the hands in an uploaded picture.
"""

import base64
import io
import shlex
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Final

import numpy as np
import streamlit as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from apps.browser.jobs import Jobs
from apps.browser.results.evaluations import read_pose_report, read_results
from apps.browser.serve import BrowserSettings
from apps.browser.sign_in import read_sign_in
from apps.browser.training.runs import FileCache, RunStore
from apps.browser.tray.tray import Trays
from apps.cli.console import EncoderFolders
from handsim.detection import DetectedHand, DetectorOptions, HandDetector, detect_hands, open_detector
from handsim.errors import HandsimError
from handsim.hand import format_hand_id
from handsim.home import Home
from handsim.images import decode_image, encode_jpeg
from handsim.lists import HandLists
from handsim.pool import Pool
from index import Catalog, IndexVersion, LiveIndex, open_catalog
from index.random_pairs import RandomPairs, find_random_pairs

THUMBNAIL_PX: Final = 192
"""Longest side of a thumbnail, sharp enough on a dense screen; smaller crops are sent as they are stored."""
UPLOAD_LIMIT_MB: Final = 25
"""Larger files are refused before they are decoded."""
_STACKED: Final = 3
_CACHED_THUMBNAILS: Final = 4000
"""About 40 MB."""
_LONGEST_UPLOAD_PX: Final = 3_000
"""Larger pictures are reduced: the detector looks at 192 px anyway, and visitors wait for their turn."""


def encode_thumbnail(image: NDArray[np.uint8]) -> str:
    """RGB [S, S, 3] as the data URI of a thumbnail."""
    return _data_uri(_shrink(encode_jpeg(image)))


def stack_thumbnails(uris: Sequence[str]) -> str:
    """The first of some thumbnails laid over each other like cards, as one data URI."""
    some = [Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) for uri in uris[:_STACKED]]
    step = THUMBNAIL_PX // 6
    side = THUMBNAIL_PX - step * (len(some) - 1)
    sheet = Image.new("RGB", (THUMBNAIL_PX, THUMBNAIL_PX), "#8a949e")
    for place, picture in reversed(list(enumerate(some))):
        card = ImageOps.expand(picture.convert("RGB").resize((side - 4, side - 4)), 2, "#ffffff")
        sheet.paste(card, (place * step, place * step))
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=85)
    return _data_uri(buffer.getvalue())


def _data_uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def _shrink(jpeg: bytes) -> bytes:
    image = Image.open(io.BytesIO(jpeg))
    image.draft("RGB", (THUMBNAIL_PX, THUMBNAIL_PX))  # decodes at no higher resolution than needed
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


class Thumbnails:
    """A cache of the thumbnails used last; threads may share it."""

    def __init__(self, size: int = _CACHED_THUMBNAILS) -> None:
        self._size = size
        self._lock = Lock()
        self._uris: OrderedDict[tuple[str, int, bool], str | None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._uris)

    def get_uri(self, pool: Pool, hand_id: int) -> str | None:
        """A hand's crop as a data URI; None if the pool has none, or a damaged one."""
        is_left = hand_id in pool and bool(pool.is_left[pool.rows(hand_id)[0]])
        key = (str(pool.path), hand_id, is_left)  # given another side, a hand has another crop
        with self._lock:
            if key in self._uris:
                self._uris.move_to_end(key)
                return self._uris[key]
        uri: str | None
        try:
            uri = _read_thumbnail(pool, hand_id)
        except HandsimError:
            uri = None
        except OSError:
            return None  # not cached: it may be temporary, as too many open files are
        with self._lock:
            self._uris[key] = uri
            while len(self._uris) > self._size:
                self._uris.popitem(last=False)
        return uri


def _read_thumbnail(pool: Pool, hand_id: int) -> str:
    """Raises HandsimError for an absent or damaged crop, OSError if the disk fails."""
    jpeg = pool.crop_jpeg(hand_id)
    try:
        return _data_uri(jpeg if pool.crop_size_px <= THUMBNAIL_PX else _shrink(jpeg))
    except OSError as error:
        raise HandsimError(f"the crop of hand {format_hand_id(hand_id)} is damaged: {error}") from error


class HandFinder:
    """Finds the hands in encoded pictures; sessions share it and take turns."""

    def __init__(self, model: Path | None) -> None:
        """``model`` is loaded for the first picture; None: the one in the cache."""
        self._model = model
        self._lock = Lock()
        self._detector: HandDetector | None = None

    def find(self, data: bytes) -> list[DetectedHand]:
        """The hands in a picture, best first. Boxes are in pixels of the reduced picture if it was reduced.

        Raises HandsimError for files that are too large, that are no pictures, or that show no hand;
        NotThereError without a model.
        """
        if len(data) > UPLOAD_LIMIT_MB * 2**20:
            raise HandsimError(
                f"the file has {len(data) / 2**20:.0f} MB; upload a picture of at most {UPLOAD_LIMIT_MB} MB"
            )
        image = limit_size(decode_image(data), _LONGEST_UPLOAD_PX)
        with self._lock:
            if self._detector is None:
                self._detector = open_detector(DetectorOptions(mediapipe_model=self._model))
            hands = detect_hands(image, self._detector)
        if not hands:
            raise HandsimError("no hand was found; try a picture where one is larger or clearer")
        return hands


def limit_size(image: NDArray[np.uint8], longest_px: int) -> NDArray[np.uint8]:
    """RGB [H, W, 3] reduced such that no side is longer than ``longest_px``."""
    if max(image.shape[:2]) <= longest_px:
        return image
    reduced = Image.fromarray(image)
    reduced.thumbnail((longest_px, longest_px), Image.Resampling.BOX, reducing_gap=2.0)
    return np.asarray(reduced)


class Library:
    """A home and what belongs to it, for all sessions; it holds no state of a single session.

    What is open stays open. What is absent or does not answer is tried again at each request, so pages
    recover by themselves. The methods raise NotThereError for a pool or an index that does not exist yet,
    and UnavailableError for a server that does not answer.
    """

    def __init__(self, settings: BrowserSettings) -> None:
        self.settings = settings
        self.home = Home(settings.home)
        self.thumbnails = Thumbnails()
        self.finder = HandFinder(settings.model)
        self.runs = RunStore(self.home)
        self.pose_reports = FileCache(read_pose_report)
        self.experiments = FileCache(read_results)
        self.jobs = Jobs(self.home.jobs)
        self._listed = FileCache(_read_list)
        self.sign_in = read_sign_in(self.home)
        self.trays = Trays(self.home.trays if settings.actions else None)
        self.was_ready = False
        """Whether there once were hands and an index (`first_steps`)."""
        self._lock = Lock()
        self._pool_lock = Lock()
        self._catalog: Catalog | None = None
        self._live: LiveIndex | None = None
        self._pool: Pool | None = None
        self._random_pairs: dict[tuple[str, str, str], RandomPairs] = {}

    @property
    def catalog(self) -> Catalog:
        if self._catalog is None:
            # Opened outside the lock: one session that waits for a slow server does not stall the others.
            address = self.settings.index or self.home.index
            opened = open_catalog(address, folders=EncoderFolders(self.home), wait=False)
            with self._lock:
                catalog = self._catalog = self._catalog or opened
            if catalog is not opened:  # another session was faster
                opened.close()
        return self._catalog

    @contextmanager
    def open_version(self) -> Iterator[IndexVersion]:
        """The current version, the same one until the block ends."""
        catalog = self.catalog
        with self._lock:
            live = self._live = self._live or LiveIndex(catalog)
        with live.version() as version:
            yield version

    def find_random_pairs(self, version: IndexVersion) -> RandomPairs:
        """The distances of random pairs of a version, which tell how near a distance is."""
        state = version.info.state
        if state not in self._random_pairs:
            folder = self.home.random_pairs(self.settings.index)
            self._random_pairs = {state: find_random_pairs(version, folder)}
        return self._random_pairs[state]

    def open_pool(self) -> Pool:
        """The pool; opened again if hands were added since."""
        with self._pool_lock:  # not the other lock: half a million hands take a second
            if self._pool is None or not self._pool.is_current():
                self._pool = Pool.open(self.home.pool)
            return self._pool

    def read_lists(self, names: tuple[str, ...]) -> frozenset[int]:
        """`HandLists.union`; a list is read again where it changed: 100,000 ids take 0.2 s."""
        lists = HandLists(self.home.lists)
        found = [self._listed(lists.file(name)) for name in names]
        if any(not hands for hands in found):
            return lists.union(names)  # which says what is wrong
        return found[0] if len(found) == 1 and found[0] else frozenset[int]().union(*filter(None, found))

    def open_all(self) -> None:
        """Open the index and the pool before somebody needs them."""
        with self.open_version():
            self.open_pool()

    def format_command(self, command: str) -> str:
        """A command line of handsim on this home, for a shell in any directory."""
        index = "" if self.settings.index is None else f" --index {shlex.quote(self.settings.index)}"
        return f"handsim --home {shlex.quote(str(self.home.path))}{index} {command}"


def _read_list(file: Path) -> frozenset[int]:
    return HandLists(file.parent).union([file.stem])


@st.cache_resource(show_spinner=False)
def get_library(settings: BrowserSettings) -> Library:
    return Library(settings)

"""The home that the browser shows: its pool and its index, opened once for all who look."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import streamlit as st

from apps.browser.jobs import Jobs
from apps.browser.results.shelf import ResultShelf
from apps.browser.runs.shelf import RunShelf
from apps.browser.settings import BrowserSettings
from apps.browser.thumbnails import Thumbnails
from apps.browser.uploads import HandFinder
from apps.places import EncoderFolders
from handsim.home import Home
from handsim.pool import Pool
from index import Catalog, IndexVersion, LiveIndex, open_catalog


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
                self._catalog = open_catalog(address, folders=EncoderFolders(self.home), patient=False)
            return self._catalog

    @contextmanager
    def version(self) -> Iterator[IndexVersion]:
        """The version that is current now, for as long as the block lasts: all answers in it agree."""
        catalog = self.catalog
        with self._lock:
            live = self._live = self._live or LiveIndex(catalog)
        with live.version() as version:
            yield version

    def open(self) -> None:
        """Open all there is before somebody asks for it."""
        with self.version():
            self.pool()

    def command(self, words: str) -> str:
        """A command line of handsim's on this home, wherever somebody types it."""
        return f"handsim --home {shlex.quote(str(self.home.path))} {words}"

    def pool(self) -> Pool:
        """The hands; opened anew where there are others by now."""
        with self._pool_lock:  # of its own: half a million hands take a second
            if self._pool is None or not self._pool.is_current():
                self._pool = Pool.open(self.home.pool)
            return self._pool


@st.cache_resource(show_spinner=False)
def library_of(settings: BrowserSettings) -> Library:
    """The library of a home, one for all sessions."""
    return Library(settings)

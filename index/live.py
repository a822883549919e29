"""Reading an index while others rebuild it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

from handsim.errors import NotThereError
from index.catalog import Catalog
from index.version import IndexVersion


class LiveIndex:
    """Always the current version: each block asks the one that is current when it starts.

        with LiveIndex(open_catalog(address)) as live:
            while True:
                with live.version() as version:  # all queries in this block go to one version
                    version.search_hands(...)

    Threads may share it; across a fork each process opens its own. While one thread opens a new version, the
    others go on with the old one.
    """

    def __init__(self, catalog: Catalog) -> None:
        """Nothing is opened before the first query."""
        self._catalog = catalog
        self._current: _SharedVersion | None = None
        # Guards `_current` and the counts of users; nobody reads files or calls a server while holding it.
        self._lock = Lock()
        # Held by the thread that opens a version.
        self._opening = Lock()

    @contextmanager
    def version(self) -> Iterator[IndexVersion]:
        """The version that is current now; it stays open until the block ends.

        A version to which hands were added in place counts as a new one. Raises NotThereError when nothing
        was published yet.
        """
        shared = self._acquire()
        try:
            yield shared.version
        finally:
            self._release(shared)

    def close(self) -> None:
        """Close the version as soon as nobody uses it."""
        with self._opening:
            self._replace(None)

    def __enter__(self) -> "LiveIndex":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _acquire(self) -> "_SharedVersion":
        while True:
            self._refresh()
            with self._lock:
                if self._current is not None:  # else another thread called `close` since
                    self._current.users += 1
                    return self._current

    def _release(self, shared: "_SharedVersion") -> None:
        with self._lock:
            shared.users -= 1
            is_unused = shared.users == 0
        if is_unused:
            shared.version.close()

    def _refresh(self) -> None:
        """Open the current version, unless it is open already or another thread is opening it."""
        shared = self._current
        if shared is not None and self._is_current(shared.version):
            return
        if self._opening.acquire(blocking=shared is None):
            try:
                if self._current is shared:  # else another thread has opened it meanwhile
                    self._replace(_SharedVersion(self._catalog.current()))
            finally:
                self._opening.release()

    def _replace(self, shared: "_SharedVersion | None") -> None:
        with self._lock:
            old, self._current = self._current, shared
        if old is not None:
            self._release(old)

    def _is_current(self, version: IndexVersion) -> bool:
        try:
            return self._catalog.current_info().state == version.info.state
        except NotThereError:
            return False  # removed: `Catalog.current` opens the next one, or raises


@dataclass(eq=False)
class _SharedVersion:
    """An open version and how many use it: the blocks in it, and `LiveIndex` while it is current."""

    version: IndexVersion
    users: int = 1

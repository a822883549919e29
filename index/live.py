"""Reading an index while others rebuild it."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from types import TracebackType

from index.catalog import Catalog
from index.version import IndexVersion


class LiveIndex:
    """The current version, whichever that is when a question is asked.

        with LiveIndex(open_catalog(address)) as live:
            while True:
                with live.version() as version:  # all that is asked in here is asked of one version
                    version.search_hands(...)

    Threads may share it; across a fork each process opens its own.
    """

    def __init__(self, catalog: Catalog) -> None:
        """Nothing is opened before the first question."""
        self._catalog = catalog
        self._lock = Lock()
        self._held: _Held | None = None

    @contextmanager
    def version(self) -> Iterator[IndexVersion]:
        """The version that is current now, for one question; it stays open until the block ends.

        Raises NotThereError when nothing was published yet.
        """
        held = self._take()
        try:
            yield held.version
        finally:
            self._give_back(held)

    def close(self) -> None:
        """Let go of the version, once nobody is in it any more."""
        with self._lock:
            held, self._held = self._held, None
            if held is not None:
                held.leave()

    def _take(self) -> "_Held":
        with self._lock:
            if self._held is None or self._held.version.info.name != self._catalog.current_name():
                newer = _Held(self._catalog.current())
                if self._held is not None:
                    self._held.leave()
                self._held = newer
            self._held.users += 1
            return self._held

    def _give_back(self, held: "_Held") -> None:
        with self._lock:
            held.leave()

    def __enter__(self) -> "LiveIndex":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Held:
    """An open version and how many are in it: those who ask, and the `LiveIndex` while it is current."""

    def __init__(self, version: IndexVersion) -> None:
        self.version = version
        self.users = 1

    def leave(self) -> None:
        self.users -= 1
        if not self.users:
            self.version.close()

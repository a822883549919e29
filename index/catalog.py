"""The versions of an index: written beside each other, published, rolled back, removed."""

import math
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Final

import numpy as np

from handsim.embedding import Embedding
from handsim.errors import HandsimError, NotThereError
from index.evaluation import LEAST_RECALL, Verification, verify
from index.info import DEFAULT_SETTINGS, IndexSettings, VersionInfo
from index.points import HandColumns, PointSource, PoolPoints, Progress
from index.version import IndexVersion

_SAMPLE_BEFORE_PUBLISHING: Final = 500
_SURELY_POOR: Final = LEAST_RECALL - 2 * math.sqrt(
    LEAST_RECALL * (1 - LEAST_RECALL) / _SAMPLE_BEFORE_PUBLISHING
)
"""Two standard errors of such a sample below: what only an index below `LEAST_RECALL` shows."""


class Catalog(ABC):
    """The versions of one index, and which of them is current.

    A version never changes once it is complete. Publishing one is atomic; readers that hold a version go
    on in it, and `index.live.LiveIndex` moves to the new one between two questions.
    """

    address: str
    """The directory or URL it was opened by."""

    def build(
        self,
        hands: HandColumns,
        embedding: Embedding,
        settings: IndexSettings = DEFAULT_SETTINGS,
        *,
        publish: bool = True,
        progress: Progress | None = None,
    ) -> VersionInfo:
        """Write a new version beside the others, verify it and, unless told not to, make it current.

        ``progress`` counts hands written; linking them into the graph comes after the last call.
        Raises HandsimError when there are no hands, while another process builds, and when the version
        does not find what exact search finds: it then stays, unpublished.
        """
        if len(hands) == 0:
            raise HandsimError("there are no hands to build an index of; `handsim ingest PATH` first")
        name = self._write(PoolPoints(hands, embedding), embedding, settings, progress)
        return self._release(name, publish)

    def add(
        self,
        hands: HandColumns,
        *,
        in_place: bool = False,
        publish: bool = True,
        progress: Progress | None = None,
    ) -> VersionInfo:
        """Make those of the hands searchable that the current version lacks, placed by its own embedding.

        They go into a new version that starts as a copy; with ``in_place``, on a server, into the current
        one. Returns the current version where none is new. Raises as `build` does.
        """
        with self.current() as current:
            held = [page.hand_ids for page in current.scroll(with_payload=False)]
            embedding, base = current.embedding, current.info
        rows = np.flatnonzero(~np.isin(hands.hand_ids, np.concatenate(held)))
        if not len(rows):
            return base
        points = PoolPoints(hands, embedding, rows)
        name = self._extend(base.name, points, embedding, progress, in_place)
        return self._release(name, publish)

    def current(self) -> IndexVersion:
        """Open the current version; raises NotThereError when nothing was published yet."""
        while True:
            name = self.current_name()
            if name is None:
                raise self._nothing_published()
            try:
                return self.open(name)
            except NotThereError:
                # Another was published and this one removed, between looking and opening: look again.
                if name == self.current_name():
                    raise

    def current_name(self) -> str | None:
        """The name of the current version, or None when nothing was published yet."""
        return next(iter(self.publications()), None)

    def prune(self, keep: int) -> tuple[list[str], list[str]]:
        """Keep the newest ``keep`` versions; returns the names of those removed, and of those left as in use.

        The current version and those a reader has open stay, however old. What builders that were killed
        left behind goes. Raises HandsimError for fewer than 1.
        """
        if keep < 1:
            raise HandsimError(f"keep is {keep}; keep at least 1 version, or `handsim index drop --all`")
        self.sweep()
        current = self.current_name()
        names = [info.name for info in self.versions()][:-keep]
        removed: list[str] = []
        in_use: list[str] = []
        for name in names:
            if name == current:
                continue
            try:
                (removed if self.remove(name) else in_use).append(name)
            except HandsimError:
                # Another process was quicker to remove it, or published it; else it is as bad as it sounds.
                if name != self.current_name() and name in [info.name for info in self.versions()]:
                    raise
        return removed, in_use

    @abstractmethod
    def versions(self) -> list[VersionInfo]:
        """All complete versions, oldest first."""

    @abstractmethod
    def info(self, name: str) -> VersionInfo:
        """What is known of a version; raises NotThereError when there is none of that name."""

    @abstractmethod
    def under_way(self) -> str | None:
        """Who is writing a version just now, or None."""

    @abstractmethod
    def open(self, name: str) -> IndexVersion:
        """Open a version by name; raises NotThereError, or HandsimError when it is damaged."""

    @abstractmethod
    def publications(self) -> list[str]:
        """Names of the current version and of those published before it, latest first."""

    @abstractmethod
    def publish(self, name: str) -> None:
        """Make a version the current one, at once and for all readers from their next query on."""

    @abstractmethod
    def rollback(self) -> str:
        """Make the version current that was published before the current one; returns its name.

        Raises HandsimError when there is none.
        """

    @abstractmethod
    def remove(self, name: str) -> bool:
        """Remove a version for good, unless a reader has it open (returns False).

        Raises NotThereError for an unknown version, HandsimError for the current one.
        """

    @abstractmethod
    def sweep(self) -> None:
        """Remove what builders that were killed left behind; does nothing while one is at work."""

    @abstractmethod
    def drop(self) -> None:
        """Remove the whole index; raises HandsimError while a reader has a version open."""

    @abstractmethod
    def record_verification(self, name: str, verification: Verification) -> None:
        """Keep what a verification found, for `list`."""

    @abstractmethod
    def close(self) -> None:
        """Let go of connections."""

    @abstractmethod
    def _write(
        self,
        points: PointSource,
        embedding: Embedding,
        settings: IndexSettings,
        progress: Progress | None,
        name: str | None = None,
    ) -> str:
        """Write a complete version that no reader gets unless by name; returns its name, new or as given."""

    @abstractmethod
    def _extend(
        self, base: str, points: PointSource, embedding: Embedding, progress: Progress | None, in_place: bool
    ) -> str:
        """Write a version of a base and further points; returns its name."""

    def __enter__(self) -> "Catalog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _release(self, name: str, publish: bool) -> VersionInfo:
        """Verify a version just written, and publish it if that is wanted and it is sound."""
        with self.open(name) as version:
            verification = verify(version, sample=_SAMPLE_BEFORE_PUBLISHING)
        self.record_verification(name, verification)
        if publish:
            for problem in verification.problems(_SURELY_POOR):
                raise HandsimError(f"{name} is written but not published: {problem}")
            self.publish(name)
        return self.info(name)

    def _nothing_published(self) -> NotThereError:
        return NotThereError(f"there is no index at {self.address} yet; `handsim index build` makes one")

    def _nothing_to_roll_back_to(self) -> HandsimError:
        return HandsimError(
            f"{self.current_name()} is the only version of {self.address} left to go back to; "
            f"`handsim index list` shows what `handsim index publish` could take"
        )

    def _is_current(self, name: str) -> HandsimError:
        return HandsimError(f"{name} is the current version; publish another one first, then remove it")

    def _in_use(self, name: str) -> HandsimError:
        return HandsimError(f"a reader has {name} of {self.address} open; end it first, or wait")

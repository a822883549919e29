"""The versions of an index: written beside each other, published, rolled back, removed.

`open_catalog` opens the index at an address; `Catalog` is what both engines, Qdrant Edge and a server,
promise.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from handsim.embedding import Embedding, can_embed_hands
from handsim.english import pluralize
from handsim.errors import HandsimError, NotThereError, UnavailableError
from index.doctor import Finding
from index.ef_sweep import check_target_recall, find_ef, unreached_recall
from index.evaluation import LEAST_RECALL, Verification, verify
from index.info import DEFAULT_SETTINGS, IndexSettings, Remnant, VersionHealth, VersionInfo
from index.plan import BuildPlan
from index.points import (
    ConcatenatedPoints,
    Difference,
    HandColumns,
    PointSource,
    PointsWithout,
    PoolPoints,
    Progress,
)
from index.version import IndexVersion

if TYPE_CHECKING:
    from index.server.client import OnWait

Announce = Callable[[str], object]
"""Gets a sentence for people."""

_LITTLE_PATIENCE_S: Final = 0.5
"""Enough for the second try that a connection needs after its server was started again."""

_SAMPLE_BEFORE_PUBLISHING: Final = 500
_PUBLISHABLE_RECALL: Final = LEAST_RECALL - 2 * math.sqrt(
    LEAST_RECALL * (1 - LEAST_RECALL) / _SAMPLE_BEFORE_PUBLISHING
)
"""Two standard errors of such a sample below `LEAST_RECALL`: a sound index hardly ever measures less."""


def ignore(sentence: str) -> None:
    """Announce it to nobody."""


def open_catalog(
    address: str | Path,
    *,
    folders: Iterable[str | Path] = (),
    wait: bool = True,
    patience_s: float | None = None,
    on_wait: "OnWait | None" = None,
) -> "Catalog":
    """The index at an address: the path of a directory, which need not exist yet, or a Qdrant server's
    ``http(s)://HOST[:6333][,HOST...][/NAME][?grpc_port=6334&patience=60]``, with its API key in
    HANDSIM_QDRANT_API_KEY (or in the file that HANDSIM_QDRANT_API_KEY_FILE names).

    ``folders`` may hold the weights of image embeddings, which a server does not store. ``patience_s`` is how
    long a server that does not answer is waited for, in this call and in each later one (None: what the
    address says, else a minute); without ``wait`` it is half a second. ``on_wait`` is told of waits longer
    than half a second, see `index.server.client.OnWait`. Raises HandsimError for a directory or collections
    that another program uses, UnavailableError for a server that does not answer.
    """
    if "://" in str(address):
        from index.server.catalog import ServerCatalog

        if not wait:
            patience_s = _LITTLE_PATIENCE_S
        return ServerCatalog.at(str(address), folders=folders, patience_s=patience_s, on_wait=on_wait)
    from index.edge.catalog import EdgeCatalog

    return EdgeCatalog(Path(address))


class Catalog(ABC):
    """The versions of one index, and which of them is current.

    A complete version does not change (but see `add` with ``in_place``). Publishing one is atomic; readers
    that have a version open continue with it, and `index.live.LiveIndex` moves to the new one between two
    queries.
    """

    address: str
    """The directory or URL it was opened by."""
    root: Path | None = None
    """The directory of an embedded index; None on a server."""

    def build(
        self,
        hands: HandColumns,
        embedding: Embedding,
        settings: IndexSettings = DEFAULT_SETTINGS,
        *,
        publish: bool = True,
        recall: float | None = None,
        progress: Progress | None = None,
        announce: Announce = ignore,
    ) -> VersionInfo:
        """Write a new version beside the others, verify it and, with ``publish``, make it current.

        Where an earlier build of the same hands, embedding and settings ended before it was published, that
        version is verified and published instead, and an unfinished one is continued, where the engine can.
        Hands of unknown side are left out, and those with unlabelled joints, unless the embedding completes
        them. With ``recall``, queries look at as many candidates as that recall@1 takes, see
        `index.ef_sweep`, and not at ``settings.ef``.
        ``progress`` counts hands written; the graph is built after its last call. ``announce`` gets a
        sentence on what is about to be done. Raises HandsimError when there are no hands, where the engine
        cannot hold the version, while another process builds, and when the version does not find what exact
        search finds: it then stays, unpublished.
        """
        if recall is not None:
            check_target_recall(recall)
        if len(hands) == 0:
            raise HandsimError("there are no hands to build an index of; `handsim ingest PATH` first")
        points = PoolPoints(hands, embedding)
        if not hands.has_side.any():
            raise HandsimError(
                f"all {len(hands):,} hands are of unknown side, and an index takes none of them; "
                f"`handsim pool relabel --side unknown --set-side left` (or right) gives them one"
            )
        if len(points) == 0:
            raise HandsimError(
                f"all {len(hands):,} hands have unlabelled joints, and this embedding takes none of them; "
                f"`handsim embedding fit --unlabelled complete` makes one that completes them"
            )
        finished = self._finish(
            points.origin, len(points), embedding, settings, publish, announce, recall=recall
        )
        if finished is not None:
            return finished
        announce(f"writing {self.plan(points, embedding, settings)}")
        name = self.write_version(points, embedding, settings, progress)
        return self._verify_and_publish(name, publish, recall=recall)

    def add(
        self,
        hands: HandColumns,
        *,
        difference: Difference | None = None,
        in_place: bool = False,
        publish: bool = True,
        progress: Progress | None = None,
        announce: Announce = ignore,
    ) -> VersionInfo:
        """Have the index follow a pool, with the current version's own embedding.

        Hands that are new become searchable, those that the pool lost are left out, those of another video,
        source, label or side get it. All go into a new version; with ``in_place``, on a server, into the
        current one. Where hands are only new, it starts as a copy. ``difference`` is what `compare` returned,
        None to compare here. Returns the current version where nothing differs. ``announce`` is as in
        `build`, and an addition that ended before it was published is published now. Raises as `build` does,
        and HandsimError where index and pool have no hand in common.
        """
        difference = difference or self.compare(hands)
        if not difference:
            return self.info(difference.base)
        rows = np.sort(np.concatenate([difference.new, difference.changed]))
        replaced = np.concatenate([difference.removed, hands.hand_ids[difference.changed]])
        with self.open(difference.base) as base:
            embedding, before, ef = base.embedding, base.info, base.default_ef
            points = PoolPoints(hands, embedding, rows)
            extended = ConcatenatedPoints(PointsWithout(base, replaced), points)
        if len(difference.removed) == before.points:
            raise HandsimError(
                f"none of the {before.points:,} hands of {before.name} is in the pool; name the home of its "
                f"own pool, or `handsim index build`"
            )
        if not in_place:
            wanted = extended.origin, len(extended), embedding, before.settings
            finished = self._finish(*wanted, publish, announce, ef=ef)
            if finished is not None:
                return finished
        name = self._extend(before.name, points, replaced, embedding, progress, in_place, extended.origin)
        return self._verify_and_publish(name, publish, ef=ef)

    def compare(self, hands: HandColumns) -> Difference:
        """How the current version differs from a pool; raises NotThereError without one."""
        with self.current() as current:
            usable = can_embed_hands(current.embedding, hands)
            return Difference.between(current.info.name, current.scroll(), hands, usable)

    def current(self) -> IndexVersion:
        """Open the current version; raises NotThereError when nothing was published yet."""
        while True:
            name = self.current_name()
            if name is None:
                raise self._not_published_error()
            try:
                return self.open(name)
            except NotThereError:
                # Another process published a version and removed this one after we read its name: read it
                # again.
                if name == self.current_name():
                    raise

    def current_name(self) -> str | None:
        """The name of the current version, or None when nothing was published yet."""
        return next(iter(self.publications()), None)

    def prune(self, keep: int, announce: Announce = ignore) -> tuple[list[str], list[str]]:
        """Keep the newest ``keep`` versions; returns the names of those removed, and of those still in use.

        The current version and those a reader has open stay, however old. What ended processes left behind is
        removed, but nothing that a builder is writing; ``announce`` gets a sentence on it before. Raises
        HandsimError for fewer than 1.
        """
        if keep < 1:
            raise HandsimError(f"keep is {keep}; keep at least 1 version, or `handsim index drop --all`")
        if not self.active_builder():
            for remnant in self.remnants():
                announce(f"removing {remnant}")
        self.sweep()
        published = self.publications()
        removed: list[str] = []
        in_use: list[str] = []
        for info in self.versions()[:-keep]:
            name = info.name
            if name in published[:1]:
                continue
            if name not in published:
                announce(f"removing {name} ({pluralize(info.points, 'hand')}, unpublished)")
            try:
                (removed if self.remove(name) else in_use).append(name)
            except HandsimError:
                # Not an error where another process has removed or published it meanwhile.
                if name != self.current_name() and name in [info.name for info in self.versions()]:
                    raise
        return removed, in_use

    def info(self, name: str) -> VersionInfo:
        """What is known of a version; raises NotThereError when there is none of that name."""
        return self._read_info(name, is_current=name == self.current_name())

    def current_info(self) -> VersionInfo:
        """What is known of the current version; raises NotThereError when nothing was published yet."""
        name = self.current_name()
        if name is None:
            raise self._not_published_error()
        return self._read_info(name, is_current=True)

    @abstractmethod
    def version_names(self) -> list[str]:
        """Names of all complete versions, the damaged too, oldest first."""

    @abstractmethod
    def versions(self) -> list[VersionInfo]:
        """All complete versions, oldest first."""

    @abstractmethod
    def remnants(self) -> list[Remnant]:
        """What ended processes left of versions, oldest first, and what a builder is writing."""

    def read_health(self, name: str) -> VersionHealth | None:
        """How a server holds a version; None embedded, and where the server tells nothing."""
        return None

    @abstractmethod
    def examine_version(self, name: str) -> Iterator[Finding]:
        """What the engine knows to be wrong with a version, for `index.doctor.examine`."""

    @abstractmethod
    def examine_engine(self) -> Iterator[Finding]:
        """What is wrong with its disk or its nodes, for `index.doctor.examine`."""

    @abstractmethod
    def plan(self, points: PointSource, embedding: Embedding, settings: IndexSettings) -> BuildPlan:
        """What a version of these hands comes to; raises HandsimError where it certainly does not fit."""

    @abstractmethod
    def active_builder(self) -> str | None:
        """Who is writing a version now, or None."""

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
        """Remove what killed builders left behind; does nothing while a builder is active."""

    @abstractmethod
    def drop(self) -> None:
        """Remove the whole index; raises HandsimError while a reader has a version open."""

    @abstractmethod
    def set_publications(self, names: list[str]) -> None:
        """Make the first the current version at once, and the others those published before it, latest first.

        Raises NotThereError for an unknown one.
        """

    @abstractmethod
    def record_verification(self, name: str, verification: Verification) -> None:
        """Store what a verification measured, for `versions`."""

    @abstractmethod
    def read_verification(self, name: str) -> Verification | None:
        """What the last verification of a version measured; None where there was none."""

    @abstractmethod
    def write_version(
        self,
        points: PointSource,
        embedding: Embedding,
        settings: IndexSettings,
        progress: Progress | None = None,
        name: str | None = None,
    ) -> str:
        """Write a complete, unpublished version under ``name`` or the next free one; returns its name."""

    def copy_version(
        self, version: IndexVersion, settings: IndexSettings, progress: Progress | None = None
    ) -> None:
        """Write a version of another index under its own name, complete and unpublished."""
        self.write_version(version, version.embedding, settings, progress, version.info.name)

    @abstractmethod
    def close(self) -> None:
        """Release connections."""

    @abstractmethod
    def _read_info(self, name: str, *, is_current: bool) -> VersionInfo:
        """What is known of a version; raises NotThereError when there is none of that name."""

    @abstractmethod
    def _extend(
        self,
        base: str,
        points: PointSource,
        replaced: NDArray[np.uint64],
        embedding: Embedding,
        progress: Progress | None,
        in_place: bool,
        origin: str,
    ) -> str:
        """Write a version of a base without the hands ``replaced`` and further points; returns its name.

        ``origin`` is that of all its hands.
        """

    def _rebuild(
        self,
        base: str,
        points: PointSource,
        replaced: NDArray[np.uint64],
        embedding: Embedding,
        progress: Progress | None,
    ) -> str:
        """As `_extend`, all hands anew into an empty version."""
        with self.open(base) as version:
            both = ConcatenatedPoints(PointsWithout(version, replaced), points)
            return self.write_version(both, embedding, version.info.settings, progress)

    def __enter__(self) -> "Catalog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _verify_and_publish(
        self, name: str, publish: bool, *, ef: int | None = None, recall: float | None = None
    ) -> VersionInfo:
        problems = self._verify(name, ef, recall)
        if problems and publish:
            raise HandsimError(f"{name} is written but not published: {problems[0]}")
        return self._publish_verified(name, publish)

    def _verify(self, name: str, ef: int | None, recall: float | None) -> list[str]:
        """Verify a version, record the result, and return what keeps it from being published.

        Its queries look at ``ef`` candidates from then on, or at as many as ``recall`` takes.
        """
        unreached: list[str] = []
        with self.open(name) as version:
            if recall is not None:
                ef = find_ef(version, recall)
                unreached = [] if ef else [unreached_recall(recall)]
            verification = verify(version, sample=_SAMPLE_BEFORE_PUBLISHING, ef=ef)
        self.record_verification(name, verification)
        return unreached + verification.problems(_PUBLISHABLE_RECALL)

    def _publish_verified(self, name: str, publish: bool) -> VersionInfo:
        if publish:
            self.publish(name)
        return self.info(name)

    def _finish(
        self,
        origin: str,
        points: int,
        embedding: Embedding,
        settings: IndexSettings,
        publish: bool,
        announce: Announce,
        *,
        ef: int | None = None,
        recall: float | None = None,
    ) -> VersionInfo | None:
        """Verify and publish a version of these hands that is complete and not published; None without one.

        ``origin`` is that of its `index.points.PointSource`.
        """
        wanted = origin, points, embedding.fingerprint, settings
        published = set(self.publications())
        for info in reversed(self.versions()):
            if info.name in published:
                continue
            if (info.origin, info.points, info.embedding_fingerprint, info.settings) != wanted:
                continue
            announce(f"{info.name} holds exactly these hands and is not published: nothing is written anew")
            try:
                problems = self._verify(info.name, ef, recall)
            except UnavailableError:
                raise
            except HandsimError as error:  # damaged, or removed just now
                problems = [str(error)]
            if not problems:
                self.sweep()  # a build that was begun of the same hands is not needed any more
                return self._publish_verified(info.name, publish)
            announce(f"{info.name} is not fit for use, another one is written: {problems[0]}")
        return None

    def _not_published_error(self) -> NotThereError:
        names = [info.name for info in self.versions()]
        if names:
            standing = "which is not current" if len(names) == 1 else "none of them current"
            return NotThereError(
                f"the index {self.address} has {', '.join(names)}, {standing}; "
                f"`handsim index publish {names[-1]}` makes it so"
            )
        if self.remnants():
            return NotThereError(
                f"the index {self.address} has no complete version yet, but an unfinished one; "
                f"`handsim index build` makes one, `handsim index list` says more"
            )
        return NotThereError(f"there is no index at {self.address} yet; `handsim index build` makes one")

    def _missing_error(self, name: str, known: Iterable[str]) -> NotThereError:
        for remnant in self.remnants():
            if remnant.name == name:
                return NotThereError(
                    f"the index {self.address} has no version {name!r} that is complete, only {remnant}; "
                    f"`handsim index build` continues or replaces it"
                )
        return NotThereError(
            f"the index {self.address} has no version {name!r} (it has: {', '.join(known) or 'none'}); "
            f"`handsim index build` makes one"
        )

    def _no_rollback_error(self) -> HandsimError:
        return HandsimError(
            f"{self.current_name()} is the only version of {self.address} left to go back to; "
            f"`handsim index list` shows what `handsim index publish` could take"
        )

    def _current_version_error(self, name: str) -> HandsimError:
        return HandsimError(f"{name} is the current version; publish another one first, then remove it")

    def _in_use_error(self, name: str) -> HandsimError:
        return HandsimError(f"a reader has {name} of {self.address} open; end it first, or wait")

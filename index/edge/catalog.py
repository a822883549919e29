"""The embedded index: a directory for each version and a pointer to the current one."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from handsim.embedding import Embedding
from handsim.errors import HandsimError, NotThereError
from handsim.files import sync
from index.catalog import Catalog
from index.doctor import Finding
from index.edge import health, layout, locks
from index.edge.build import BuildRequest, convert_full_disk_errors, copy_version, write_version
from index.edge.version import EdgeVersion
from index.evaluation import Verification
from index.info import IndexSettings, Remnant, VersionInfo
from index.plan import BuildPlan, server_only_error
from index.points import PointSource, Progress
from index.version import IndexVersion


class EdgeCatalog(Catalog):
    """The versions in one directory; see `index.catalog.Catalog` for what each method promises."""

    root: Path

    def __init__(self, root: Path) -> None:
        """Take a directory, which need not exist yet; raises HandsimError for one that is not an index."""
        layout.check_catalog(root)
        self.root = root
        self.address = str(root)

    def versions(self) -> list[VersionInfo]:
        infos = []
        for name in layout.version_names(self.root):
            with suppress(NotThereError):  # removed since they were listed
                infos.append(self.info(name))
        return infos

    def version_names(self) -> list[str]:
        return layout.version_names(self.root)

    def examine_version(self, name: str) -> Iterator[Finding]:
        return health.examine_version(self.root / name)

    def examine_engine(self) -> Iterator[Finding]:
        if not self.root.is_dir():
            return
        newest: int | None = None
        with suppress(HandsimError):  # a damaged version is a finding already
            newest = max((info.bytes_on_disk or 0 for info in self.versions()[-1:]), default=None)
        yield from health.examine_disk(self.root, newest)

    def remnants(self) -> list[Remnant]:
        return [
            Remnant(directory.name, directory.name != layout.BUILDING, None, None)
            for directory in sorted(layout.leftovers(self.root))
            if directory.exists()
        ]

    def plan(self, points: PointSource, embedding: Embedding, settings: IndexSettings) -> BuildPlan:
        if (settings.shards, settings.replicas, settings.on_disk) != (1, 1, False):
            raise server_only_error(self.root)
        return BuildPlan(len(points), embedding.dimension, settings, is_embedded=True)

    def active_builder(self) -> str | None:
        return locks.active_builder(self.root)

    def open(self, name: str) -> EdgeVersion:
        self._check_exists(name)
        try:
            return EdgeVersion(self.root / name, is_current=name == self.current_name())
        except FileNotFoundError as error:
            if (self.root / name).exists():
                raise layout.damaged_error(self.root / name, f"{layout.VERSION_FILE} is missing") from error
            raise self._missing_error(name, layout.version_names(self.root)) from error

    def publications(self) -> list[str]:
        return layout.read_publications(self.root)

    def publish(self, name: str) -> None:
        self._check_exists(name)
        with convert_full_disk_errors(self.root), locks.lock_pointer(self.root):
            self._check_exists(name)
            known = set(layout.version_names(self.root))
            earlier = [other for other in self.publications() if other != name and other in known]
            layout.write_publications(self.root, [name, *earlier])

    def set_publications(self, names: list[str]) -> None:
        with convert_full_disk_errors(self.root), locks.lock_pointer(self.root):
            for name in names:
                self._check_exists(name)
            layout.write_publications(self.root, names)

    def rollback(self) -> str:
        if not self.publications():
            raise self._not_published_error()
        with convert_full_disk_errors(self.root), locks.lock_pointer(self.root):
            known = set(layout.version_names(self.root))
            earlier = [name for name in self.publications()[1:] if name in known]
            if not earlier:
                raise self._no_rollback_error()
            layout.write_publications(self.root, earlier)
        return earlier[0]

    def remove(self, name: str) -> bool:
        self._check_exists(name)
        with locks.lock_pointer(self.root):
            self._check_exists(name)
            if name == self.current_name():
                raise self._current_version_error(name)
            try:
                lock = self._lock_for_removal(name)
            except BlockingIOError:
                return False
            with lock:
                removed = self._rename_as_removed(name)
        layout.remove_tree(removed)
        return True

    def sweep(self) -> None:
        if self.root.is_dir() and not self.active_builder():
            with suppress(locks.ActiveBuilderError), self._sole_builder():
                pass

    def drop(self) -> None:
        if not self.root.is_dir():
            return
        with self._sole_builder(), locks.lock_pointer(self.root):
            names = layout.version_names(self.root)
            with ExitStack() as version_locks:
                for name in names:
                    try:
                        version_locks.enter_context(self._lock_for_removal(name))
                    except BlockingIOError as error:
                        raise self._in_use_error(name) from error
                layout.write_publications(self.root, [])
                removed = [self._rename_as_removed(name) for name in names]
            for directory in removed:
                layout.remove_tree(directory)
            layout.remove_root(self.root)

    def record_verification(self, name: str, verification: Verification) -> None:
        with convert_full_disk_errors(self.root), locks.lock_pointer(self.root):
            self._check_exists(name)
            layout.write_verification(self.root / name, verification)

    def read_verification(self, name: str) -> Verification | None:
        self._check_exists(name)
        return layout.read_verification(self.root / name)

    def write_version(
        self,
        points: PointSource,
        embedding: Embedding,
        settings: IndexSettings,
        progress: Progress | None = None,
        name: str | None = None,
    ) -> str:
        return self._build(BuildRequest(points, embedding, settings, points.origin), progress, name)

    def copy_version(
        self, version: IndexVersion, settings: IndexSettings, progress: Progress | None = None
    ) -> None:
        """As `Catalog.copy_version`; of an embedded version the files, with its graph and its settings."""
        if isinstance(version, EdgeVersion):
            source = version.directory
            self._add_version(lambda directory: copy_version(source, directory, progress), version.info.name)
        else:
            super().copy_version(version, settings, progress)

    def close(self) -> None:
        """Nothing to release."""

    def _read_info(self, name: str, *, is_current: bool) -> VersionInfo:
        self._check_exists(name)
        try:
            return layout.read_info(self.root / name, is_current=is_current)
        except HandsimError:
            self._check_exists(name)  # it may have been removed meanwhile
            raise

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
        if in_place:
            raise HandsimError(
                "an embedded version never changes, other processes read its files; leave --in-place out"
            )
        if len(replaced):  # deleting points from a copy would leave holes in its graph
            return self._rebuild(base, points, replaced, embedding, progress)
        try:
            lock = locks.lock_version(self.root / base / layout.VERSION_FILE, exclusive=False)
        except FileNotFoundError as error:
            raise self._missing_error(
                base, layout.version_names(self.root)
            ) from error  # it was removed just now
        with lock:
            settings = layout.read_record(self.root / base).settings
            return self._build(BuildRequest(points, embedding, settings, origin, self.root / base), progress)

    def _build(self, request: BuildRequest, progress: Progress | None, name: str | None = None) -> str:
        return self._add_version(lambda directory: write_version(directory, request, progress), name)

    def _add_version(self, write: Callable[[Path], None], name: str | None) -> str:
        """Have a version written into an empty directory, which then gets its name, or the next free one."""
        self.root.mkdir(parents=True, exist_ok=True)
        with convert_full_disk_errors(self.root), self._sole_builder():
            layout.mark_catalog(self.root)
            directory = self.root / layout.BUILDING
            directory.mkdir()
            try:
                write(directory)
            except BaseException:
                layout.remove_tree(directory)
                raise
            name = name or layout.next_version_name(self.root)
            layout.record_number(self.root, name)
            os.rename(directory, self.root / name)
            sync(self.root)
        return name

    @contextmanager
    def _sole_builder(self) -> Iterator[None]:
        """Hold the builder's lock; first remove what killed processes left behind."""
        with locks.lock_builder(self.root):
            for leftover in layout.leftovers(self.root):
                layout.remove_tree(leftover)
            with locks.lock_pointer(self.root):  # without it another process might be writing such a file
                for leftover in layout.leftover_files(self.root):
                    leftover.unlink()
                for name in layout.version_names(self.root):
                    with suppress(BlockingIOError), self._lock_for_removal(name):
                        for leftover in layout.engine_leftovers(self.root / name):
                            layout.remove_tree(leftover)
            yield

    def _lock_for_removal(self, name: str) -> AbstractContextManager[object]:
        """Keep readers out of a version; raises BlockingIOError while somebody reads it."""
        try:
            return locks.lock_version(self.root / name / layout.VERSION_FILE, exclusive=True)
        except FileNotFoundError:
            return nullcontext()  # without that file nobody can have it open

    def _rename_as_removed(self, name: str) -> Path:
        """Rename a version so that no reader finds it; the caller deletes its files."""
        removed = self.root / f"{layout.REMOVED}{name}"
        os.rename(self.root / name, removed)
        sync(self.root)
        return removed

    def _check_exists(self, name: str) -> None:
        known = layout.version_names(self.root)
        if name not in known:
            raise self._missing_error(name, known)

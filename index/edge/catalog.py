"""The embedded index: a directory for each version and a pointer to the current one."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path

from handsim.embedding import Embedding
from handsim.errors import HandsimError, NotThereError
from handsim.files import sync
from index.catalog import Catalog
from index.edge import layout
from index.edge.build import Draft, full_disk_told, write_version
from index.edge.locks import BuilderAtWorkError, VersionLock, builder_at_work, pointer_held, sole_builder
from index.edge.version import EdgeVersion
from index.evaluation import Verification
from index.info import IndexSettings, VersionInfo
from index.points import PointSource, Progress


class EdgeCatalog(Catalog):
    """The versions in one directory; see `index.catalog.Catalog` for what each call promises."""

    def __init__(self, root: Path) -> None:
        """Point at a directory, which may not exist yet; raises HandsimError for another program's."""
        layout.check_catalog(root)
        self.root = root
        self.address = str(root)

    def versions(self) -> list[VersionInfo]:
        """All complete versions, oldest first."""
        known = []
        for name in layout.version_names(self.root):
            with suppress(NotThereError):  # removed since they were listed
                known.append(self.info(name))
        return known

    def info(self, name: str) -> VersionInfo:
        """What is known of a version; raises NotThereError when there is none of that name."""
        self._check_name(name)
        directory = self.root / name
        try:
            record = layout.read_record(directory)
        except HandsimError:
            self._check_name(name)  # it may have been removed meanwhile
            raise
        return record.info(directory, is_current=name == self.current_name())

    def under_way(self) -> str | None:
        """Who is writing a version just now, or None."""
        return builder_at_work(self.root)

    def open(self, name: str) -> EdgeVersion:
        """Open a version by name; raises NotThereError, or HandsimError when it is damaged."""
        self._check_name(name)
        try:
            return EdgeVersion(self.root / name, is_current=name == self.current_name())
        except FileNotFoundError as error:
            if (self.root / name).exists():
                raise layout.damaged(self.root / name, f"{layout.VERSION_FILE} is missing") from error
            raise layout.missing(self.root, name) from error

    def publications(self) -> list[str]:
        """Names of the current version and of those published before it, latest first."""
        return layout.read_publications(self.root)

    def publish(self, name: str) -> None:
        """Make a version the current one, at once and for all readers from their next query on."""
        self._check_name(name)
        with full_disk_told(self.root), pointer_held(self.root):
            self._check_name(name)
            known = set(layout.version_names(self.root))
            earlier = [other for other in self.publications() if other != name and other in known]
            layout.write_publications(self.root, [name, *earlier])

    def rollback(self) -> str:
        """Make the version current that was published before the current one; returns its name."""
        if not self.publications():
            raise self._nothing_published()
        with full_disk_told(self.root), pointer_held(self.root):
            known = set(layout.version_names(self.root))
            earlier = [name for name in self.publications()[1:] if name in known]
            if not earlier:
                raise self._nothing_to_roll_back_to()
            layout.write_publications(self.root, earlier)
        return earlier[0]

    def remove(self, name: str) -> bool:
        """Remove a version for good, unless a reader has it open (returns False)."""
        self._check_name(name)
        with pointer_held(self.root):
            self._check_name(name)
            if name == self.current_name():
                raise self._is_current(name)
            try:
                claim = self._claim_alone(name)
            except BlockingIOError:
                return False
            with claim:
                removed = self._set_aside(name)
        layout.remove_tree(removed)
        return True

    def sweep(self) -> None:
        """Remove what builders that were killed left behind; does nothing while one is at work."""
        if self.root.is_dir() and not builder_at_work(self.root):
            with suppress(BuilderAtWorkError), self._building():
                pass

    def drop(self) -> None:
        """Remove the whole index; raises HandsimError while a reader has a version open."""
        if not self.root.is_dir():
            return
        with self._building(), pointer_held(self.root):
            names = layout.version_names(self.root)
            with ExitStack() as claims:
                for name in names:
                    try:
                        claims.enter_context(self._claim_alone(name))
                    except BlockingIOError as error:
                        raise self._in_use(name) from error
                layout.write_publications(self.root, [])
                removed = [self._set_aside(name) for name in names]
            for directory in removed:
                layout.remove_tree(directory)
            layout.remove_root(self.root)

    def record_verification(self, name: str, verification: Verification) -> None:
        """Keep what a verification found, for `list`."""
        with full_disk_told(self.root), pointer_held(self.root):
            self._check_name(name)
            layout.write_verification(self.root / name, verification)

    def close(self) -> None:
        """Nothing to let go of."""

    def _write(
        self,
        points: PointSource,
        embedding: Embedding,
        settings: IndexSettings,
        progress: Progress | None,
        name: str | None = None,
    ) -> str:
        return self._write_draft(Draft(points, embedding, settings), progress, name)

    def _extend(
        self, base: str, points: PointSource, embedding: Embedding, progress: Progress | None, in_place: bool
    ) -> str:
        if in_place:
            raise HandsimError(
                "an embedded version never changes, other processes read its files; leave --in-place out"
            )
        try:
            claim = VersionLock(self.root / base / layout.VERSION_FILE, alone=False)
        except FileNotFoundError as error:
            raise layout.missing(self.root, base) from error  # it was removed just now
        with claim:
            settings = layout.read_record(self.root / base).settings
            return self._write_draft(Draft(points, embedding, settings, self.root / base), progress, None)

    def _write_draft(self, draft: Draft, progress: Progress | None, name: str | None) -> str:
        self.root.mkdir(parents=True, exist_ok=True)
        with full_disk_told(self.root), self._building():
            layout.mark_catalog(self.root)
            building = self.root / layout.BUILDING
            building.mkdir()
            try:
                write_version(building, draft, progress)
            except BaseException:
                layout.remove_tree(building)
                raise
            name = name or layout.next_version_name(self.root)
            layout.note_number(self.root, name)
            os.rename(building, self.root / name)
            sync(self.root)
        return name

    @contextmanager
    def _building(self) -> Iterator[None]:
        """Be the only builder, with nothing left of those that were killed."""
        with sole_builder(self.root):
            for leftover in layout.leftovers(self.root):
                layout.remove_tree(leftover)
            with pointer_held(self.root):  # else one might be just about to be put in its place
                for leftover in layout.leftover_files(self.root):
                    leftover.unlink()
                for name in layout.version_names(self.root):
                    with suppress(BlockingIOError), self._claim_alone(name):
                        for leftover in layout.engine_leftovers(self.root / name):
                            layout.remove_tree(leftover)
            yield

    def _claim_alone(self, name: str) -> AbstractContextManager[object]:
        """See that nobody reads a version; raises BlockingIOError while somebody does."""
        try:
            return VersionLock(self.root / name / layout.VERSION_FILE, alone=True)
        except FileNotFoundError:
            return nullcontext()  # without that file nobody can have it open

    def _set_aside(self, name: str) -> Path:
        """Have a version disappear at once; its files are left to be removed."""
        removed = self.root / f"{layout.REMOVED}{name}"
        os.rename(self.root / name, removed)
        sync(self.root)
        return removed

    def _check_name(self, name: str) -> None:
        if name not in layout.version_names(self.root):
            raise layout.missing(self.root, name)

"""The embedded index: a directory for each version and a pointer to the current one."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from handsim.atomic_file import sync
from handsim.embedding import PoseEmbedding
from handsim.errors import HandsimError, NotThereError
from index import edge_layout as layout
from index.catalog import Progress
from index.columns import HandColumns
from index.edge_build import build_version
from index.edge_version import EdgeVersion
from index.settings import DEFAULT_SETTINGS, IndexSettings
from index.version import VersionInfo


class EdgeCatalog:
    """The versions in one directory; see `index.catalog.Catalog` for what each call promises."""

    def __init__(self, root: Path) -> None:
        """Point at a directory, which may not exist yet; raises HandsimError for another program's."""
        layout.check_catalog(root)
        self.root = root

    def build(
        self,
        hands: HandColumns,
        embedding: PoseEmbedding,
        settings: IndexSettings = DEFAULT_SETTINGS,
        *,
        publish: bool = True,
        progress: Progress | None = None,
    ) -> VersionInfo:
        """Build a new version beside the others and, unless told not to, make it current when complete."""
        if len(hands) == 0:
            raise HandsimError("there are no hands to build an index of; `handsim ingest PATH` first")
        layout.mark_catalog(self.root)
        with _sole_builder(self.root):
            building = self.root / layout.BUILDING
            # Whoever left one here was killed: we hold the lock.
            shutil.rmtree(building, ignore_errors=True)
            building.mkdir()
            build_version(building, hands, embedding, settings, progress)
            name = layout.next_version_name(self.root)
            os.rename(building, self.root / name)
            sync(self.root)
        if publish:
            self.publish(name)
        return self._info(name)

    def list(self) -> list[VersionInfo]:
        """All complete versions, oldest first."""
        return [self._info(name) for name in layout.version_names(self.root)]

    def current(self) -> EdgeVersion:
        """Open the current version; raises NotThereError when nothing was published yet."""
        name = layout.read_pointer(self.root)
        if name is None:
            raise NotThereError(f"there is no index at {self.root} yet; `handsim index build` makes one")
        return self.open(name)

    def open(self, name: str) -> EdgeVersion:
        """Open a version by name; raises NotThereError, or HandsimError when it is damaged."""
        self._check_name(name)
        return EdgeVersion(self.root / name, is_current=name == layout.read_pointer(self.root))

    def publish(self, name: str) -> None:
        """Make a version the current one, at once and for all later readers."""
        self._check_name(name)
        layout.write_pointer(self.root, name)

    def _check_name(self, name: str) -> None:
        if name not in layout.version_names(self.root):
            raise layout.missing(self.root, name)

    def _info(self, name: str) -> VersionInfo:
        directory = self.root / name
        is_current = name == layout.read_pointer(self.root)
        return layout.read_record(directory).info(directory, is_current=is_current)


@contextmanager
def _sole_builder(root: Path) -> Iterator[None]:
    """Hold the lock of a directory; the kernel frees it when the process ends, however it ends."""
    lock = os.open(root / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(lock, 100, 0).decode(errors="replace") or "another process"
            raise HandsimError(
                f"{root} is being built by {holder}; wait for it to end, or stop it"
            ) from error
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"process {os.getpid()}".encode(), 0)
        yield
    finally:
        os.close(lock)

"""A version and further hands, read as one."""

from collections.abc import Iterator

from index.points import PointBatch, PointSource
from index.version import IndexVersion


class Both:
    """All hands of a version, then those of a source: what a version with hands added is written from."""

    def __init__(self, version: IndexVersion, further: PointSource) -> None:
        """The version stays open as long as this is read."""
        self._version = version
        self._further = further

    def __len__(self) -> int:
        return len(self._version) + len(self._further)

    def batches(self) -> Iterator[PointBatch]:
        """All of them, with vectors."""
        yield from self._version.scroll(with_vectors=True)
        yield from self._further.batches()

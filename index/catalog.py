"""The versions of an index, and what they are built from."""

from collections.abc import Callable
from typing import Protocol

from handsim.embedding import PoseEmbedding
from index.columns import HandColumns
from index.settings import DEFAULT_SETTINGS, IndexSettings
from index.version import IndexVersion, VersionInfo

Progress = Callable[[int, int], None]
"""Called with (done, total)."""


class Catalog(Protocol):
    """The versions of one index, and which of them is current."""

    def build(
        self,
        hands: HandColumns,
        embedding: PoseEmbedding,
        settings: IndexSettings = DEFAULT_SETTINGS,
        *,
        publish: bool = True,
        progress: Progress | None = None,
    ) -> VersionInfo:
        """Build a new version beside the others and, unless told not to, make it current when complete.

        ``progress`` counts hands written; linking them into the graph comes after the last call.
        Raises HandsimError when there are no hands, or while another process builds.
        """
        ...

    def list(self) -> list[VersionInfo]:
        """All complete versions, oldest first."""
        ...

    def current(self) -> IndexVersion:
        """Open the current version; raises NotThereError when nothing was published yet."""
        ...

    def open(self, name: str) -> IndexVersion:
        """Open a version by name; raises NotThereError, or HandsimError when it is damaged."""
        ...

    def publish(self, name: str) -> None:
        """Make a version the current one, at once and for all later readers."""
        ...

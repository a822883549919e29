"""What a version will come to, known before anything is written."""

from dataclasses import dataclass
from typing import Final

from handsim.english import pluralize
from handsim.errors import HandsimError
from index.info import IndexSettings

# Two million hands with 14 components and m 16 took 404 bytes each on a server, and 68 more in a directory.
_BYTES_PER_HAND: Final = 220
"""A hand's id, payload and entries in the payload indexes."""
_BYTES_PER_EDGE: Final = 8
_BYTES_PER_NUMBER: Final = 4
_BYTES_PER_ROW: Final = 12
"""A hand's id and video in the mapped columns of an embedded index, see `index.edge.columns`."""


def server_only_error(directory: object) -> HandsimError:
    """The error for settings of a server that are asked of an embedded index."""
    return HandsimError(
        f"--shards, --replicas and --on-disk are for servers, and {directory} is a directory; leave them out"
    )


@dataclass(frozen=True)
class BuildPlan:
    """A version about to be written."""

    points: int
    """Hands."""
    dimension: int
    """Length of a vector."""
    settings: IndexSettings
    """How it is built and, on a server, spread."""
    nodes: int | None = None
    """Of the server; None embedded, and where it does not tell."""
    unfinished: str = ""
    """The version of the same hands that an earlier build began, and that this one continues."""
    present: int = 0
    """Hands that it holds already."""
    is_embedded: bool = False
    """In a directory, with the vectors once more in its mapped columns."""

    @property
    def bytes_on_disk(self) -> int:
        """About what it takes on all disks together."""
        settings = self.settings
        vector = _BYTES_PER_NUMBER * self.dimension
        per_hand = _BYTES_PER_HAND + _BYTES_PER_EDGE * settings.m + vector
        if self.is_embedded:
            per_hand += _BYTES_PER_ROW + vector
        return self.points * per_hand * settings.replicas

    @property
    def least_bytes_per_node(self) -> int:
        """What a node cannot do without: its share of the vectors."""
        return self.points * self.dimension * _BYTES_PER_NUMBER * self.settings.replicas // (self.nodes or 1)

    def __str__(self) -> str:
        shards, replicas = self.settings.shards, self.settings.replicas
        text = f"{pluralize(self.points, 'hand')}, some {self.bytes_on_disk / 1e6:,.1f} MB"
        if self.nodes is not None or shards > 1 or replicas > 1:
            where = "" if self.nodes is None else f" on {pluralize(self.nodes, 'node')}"
            text += f": {pluralize(shards, 'shard')} x {pluralize(replicas, 'replica')}{where}"
        if self.unfinished:
            left = max(0, self.points - self.present)
            text += f"; {self.unfinished} was begun and has {self.present:,} of them, {left:,} are left"
        return text

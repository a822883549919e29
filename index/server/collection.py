"""The collection that holds one version."""

from dataclasses import dataclass
from typing import Any, Final

from qdrant_client import QdrantClient, models

from index.server.connection import Connection
from index.server.record import VersionRecord

_MAX_SEGMENT_KB: Final = 2**30
"""A terabyte, no bound: one graph over all hands of a shard answers faster than several."""


@dataclass(frozen=True)
class VersionCollection:
    """A collection that is, or is to be, a version."""

    connection: Connection
    """The way to the server."""
    name: str
    """What the server calls it."""

    def look(self) -> models.CollectionInfo:
        """How it is doing; raises AbsentError when there is none."""
        return self.connection.call(lambda client: client.get_collection(self.name))

    def record(self) -> VersionRecord:
        """What is written down of the version; raises AbsentError, or HandsimError when it is damaged."""
        return VersionRecord.parse(self.look().config.metadata, self.name)

    def note(self, **facts: Any) -> None:
        """Write facts down, in place of what was written of the same; None takes one back."""
        self.connection.call(lambda client: client.update_collection(self.name, metadata=facts))

    def count(self) -> int:
        """How many hands it holds, counted one by one."""
        return self.connection.call(lambda client: client.count(self.name, exact=True)).count

    def delete(self) -> None:
        """Remove it with all that it holds."""
        self.connection.call(lambda client: client.delete_collection(self.name))

    def create(self, draft: VersionRecord) -> None:
        """Make it, empty, with payload indexes; vectors are not linked before `index_from` is told."""
        settings = draft.settings

        def create(client: QdrantClient) -> object:
            return client.create_collection(
                self.name,
                vectors_config=models.VectorParams(
                    size=draft.dimension, distance=models.Distance.EUCLID, on_disk=settings.on_disk
                ),
                shard_number=settings.shards,
                replication_factor=settings.replicas,
                write_consistency_factor=settings.replicas // 2 + 1,
                hnsw_config=models.HnswConfigDiff(
                    m=settings.m,
                    ef_construct=settings.ef_construct,
                    full_scan_threshold=settings.full_scan_below_kb,
                    max_indexing_threads=settings.threads,
                    on_disk=settings.on_disk,
                ),
                optimizers_config=models.OptimizersConfigDiff(
                    default_segment_number=1, max_segment_size=_MAX_SEGMENT_KB, indexing_threshold=0
                ),
                # Only handsim asks it, within bounds of its own; a server's defaults may forbid exact search.
                strict_mode_config=models.StrictModeConfig(enabled=False),
                metadata=draft.metadata,
            )

        self.connection.call(create)

    def create_payload_indexes(self, on_disk: bool) -> None:
        """Index what filters ask for: before the vectors are linked, as Qdrant advises.

        No edges of their own in the graph: searching through filters by ACORN finds as much without.
        """
        keyword = models.KeywordIndexParams(
            type=models.KeywordIndexType.KEYWORD, on_disk=on_disk, enable_hnsw=False
        )
        number = models.FloatIndexParams(type=models.FloatIndexType.FLOAT, on_disk=on_disk, enable_hnsw=False)
        for field in ("video", "source", "side", "label"):
            self._create_payload_index(field, keyword)
        self._create_payload_index("score", number)

    def index_from(self, threshold_kb: int) -> None:
        """Have the server link the hands, where more than that lie together."""
        optimizers = models.OptimizersConfigDiff(indexing_threshold=threshold_kb)
        self.connection.call(lambda client: client.update_collection(self.name, optimizers_config=optimizers))

    def _create_payload_index(self, field: str, schema: models.PayloadSchemaParams) -> None:
        self.connection.call(lambda client: client.create_payload_index(self.name, field, schema, wait=True))

"""The collection that holds one version on a server, its metadata, and the names of an index's collections.

The metadata hold the embedding as a text, the JSON that `Embedding.save` writes: a server that stores
numbers may return the last digit changed, and with it another fingerprint.
"""

import json
import re
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Literal

from qdrant_client import QdrantClient, models

from handsim.embedding import Embedding
from handsim.errors import HandsimError
from index.evaluation import Verification
from index.info import BaseRecord, IndexSettings, VersionInfo, check_format, version_number
from index.points import PointSource
from index.server.client import Connection
from index.server.failures import AlreadyExistsError, NotFoundError, other_program_error

_FORMAT: Final = "handsim-index-version"
_FORMAT_VERSION: Final = 1

_MAX_SEGMENT_KB: Final = 2**30
"""A terabyte, no bound: one graph over all hands of a shard answers faster than several."""


@dataclass(frozen=True, kw_only=True)
class VersionRecord(BaseRecord):
    """What a collection's metadata say of its version; an unfinished one has no checksum yet."""

    state: Literal["building", "complete", "growing", "removing"]
    """``growing``: hands are being added in place. Readers cannot open ``building`` and ``removing``."""
    embedding: str
    """JSON."""
    published_at: int | None = None
    """Grows with every publication; None before the first."""
    recall_at_1: float | None = None
    """At the last verification."""
    origin: str = ""
    """What it is built of, see `index.points.PointSource`; empty after hands were added in place."""
    verification: str | None = None
    """What that measured; JSON."""

    @classmethod
    def draft(cls, embedding: Embedding, settings: IndexSettings, points: PointSource) -> "VersionRecord":
        """A version about to be built; equal drafts hold the same hands."""
        return cls(
            state="building",
            embedding=json.dumps(embedding.to_json()),
            embedding_kind=embedding.kind,
            embedding_fingerprint=embedding.fingerprint,
            dimension=embedding.dimension,
            settings=settings,
            points=len(points),
            built_at="",
            build_seconds=0.0,
            checksum="",
            origin=points.origin,
        )

    @classmethod
    def parse(cls, metadata: dict[str, Any] | None, collection: str) -> "VersionRecord":
        """Read `metadata`; raises HandsimError when it is damaged or newer than this program."""
        if metadata is None or metadata.get("format") != _FORMAT:
            raise damaged_error(collection, "its metadata are not handsim's")
        check_format(metadata.get("version"), _FORMAT_VERSION, collection)
        names = [field.name for field in fields(cls)]
        values = {name: metadata[name] for name in names if metadata.get(name) is not None}
        try:
            return cls(**{**values, "settings": IndexSettings(**metadata["settings"])})
        except (KeyError, TypeError, HandsimError) as error:
            raise damaged_error(collection, f"its metadata lack a field: {error}") from error

    @property
    def metadata(self) -> dict[str, Any]:
        """As JSON values, for the collection; a field that is None is left out."""
        values = {"format": _FORMAT, "version": _FORMAT_VERSION, **asdict(self)}
        return {key: value for key, value in values.items() if value is not None}

    @property
    def ef(self) -> int:
        """Candidates that a query looks at: those of the last verification, else those of the settings."""
        verification = self.verification and Verification.parse(json.loads(self.verification))
        return (verification and verification.ef) or self.settings.ef

    @property
    def is_readable(self) -> bool:
        """Whether readers may open it."""
        return self.state in ("complete", "growing")

    def info(self, name: str, *, is_current: bool) -> VersionInfo:
        """Without what only the server needs."""
        return self.to_info(
            name,
            bytes_on_disk=None,
            recall_at_1=self.recall_at_1,
            is_current=is_current,
            origin=self.origin,
        )


def damaged_error(collection: str, why: str) -> HandsimError:
    """The error for a version that cannot be read."""
    return HandsimError(
        f"{collection} is damaged ({why}); remove that collection and `handsim index build` again"
    )


def least_acknowledgements(replicas: int) -> int:
    """How many replicas must have a write before it counts: half of them, rounded up.

    So writing goes on while one of two is away, or one of three. A replica that missed a write is taken out
    of service by the cluster, and brought up to date from the others before it answers again.
    """
    return (replicas + 1) // 2


@dataclass(frozen=True)
class VersionCollection:
    """A collection that is, or will be, a version."""

    connection: Connection
    """To the server."""
    name: str
    """The collection's own name."""

    def read_info(self) -> models.CollectionInfo:
        """The server's report of it; raises NotFoundError when there is none."""
        return self.connection.read(lambda client: client.get_collection(self.name))

    def read_record(self) -> VersionRecord:
        """The record of the version; raises NotFoundError, or HandsimError when it is damaged."""
        return VersionRecord.parse(self.read_info().config.metadata, self.name)

    def update_metadata(self, **values: Any) -> None:
        """Replace values of the metadata; None removes one."""
        self.connection.call(lambda client: client.update_collection(self.name, metadata=values))

    def count(self) -> int:
        """How many hands it holds, counted one by one."""
        return self.connection.call(lambda client: client.count(self.name, exact=True)).count

    def delete(self) -> None:
        """Remove it with all that it holds; nothing happens where it is gone."""
        with suppress(NotFoundError):
            self.connection.call(lambda client: client.delete_collection(self.name))

    def create(self, record: VersionRecord) -> None:
        """Create it, empty; the server builds no graph before `set_indexing_threshold`.

        Only a builder calls it, for a name that nobody has: where it exists, an answer was lost, and the
        request repeated.
        """
        settings = record.settings
        with suppress(AlreadyExistsError):
            self.connection.call(
                lambda client: client.create_collection(
                    self.name,
                    vectors_config=models.VectorParams(
                        size=record.dimension, distance=models.Distance.EUCLID, on_disk=settings.on_disk
                    ),
                    shard_number=settings.shards,
                    replication_factor=settings.replicas,
                    write_consistency_factor=least_acknowledgements(settings.replicas),
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
                    # Only handsim queries it, within bounds of its own; a server's defaults may forbid
                    # exact search.
                    strict_mode_config=models.StrictModeConfig(enabled=False),
                    metadata=record.metadata,
                )
            )

    def create_payload_indexes(self, on_disk: bool) -> None:
        """Index the fields that filters use, before the graph is built, as Qdrant advises.

        No edges of their own in the graph: searching through filters by ACORN finds as much without.
        """
        schemas: dict[str, models.PayloadFieldSchema]
        keyword = models.KeywordIndexParams(
            type=models.KeywordIndexType.KEYWORD, on_disk=on_disk, enable_hnsw=False
        )
        number = models.FloatIndexParams(type=models.FloatIndexType.FLOAT, on_disk=on_disk, enable_hnsw=False)
        schemas = {**dict.fromkeys(("video", "source", "side", "label"), keyword), "score": number}
        for field, schema in schemas.items():
            self.connection.create_payload_index(self.name, field, schema)

    def set_indexing_threshold(self, threshold_kb: int) -> None:
        """Have the server build the graph of every part that is larger than this."""
        optimizers = models.OptimizersConfigDiff(indexing_threshold=threshold_kb)
        self.connection.call(lambda client: client.update_collection(self.name, optimizers_config=optimizers))


@dataclass(frozen=True)
class CollectionNames:
    """`NAME-v0001`, ... are the versions of an index, the alias `NAME` points to the current one."""

    connection: Connection
    """To the server."""
    index: str
    """NAME."""
    address: str
    """The index in messages."""

    def collection(self, version: str) -> str:
        """The collection of a version."""
        return f"{self.index}-{version}"

    def versions(self) -> list[str]:
        """All versions, the unfinished too, oldest first."""
        versions = [self._version(collection) for collection in self._collections()]
        return sorted((version for version in versions if version is not None), key=version_number)

    def current(self) -> str | None:
        """The version that the alias points to; None without one.

        Raises HandsimError when it points to something else.
        """
        collection = self.connection.read(self._target)
        if collection is None:
            return None
        version = self._version(collection)
        if version is None:
            raise HandsimError(
                f"the alias {self.index} points to {collection}, which is no version of "
                f"{self.address}; `handsim index publish VERSION` points it to one"
            )
        return version

    def point_alias(self, version: str) -> None:
        """Point the alias to a version, in one step for all readers, unless it points there already."""
        target = self.collection(version)
        create = models.CreateAliasOperation(
            create_alias=models.CreateAlias(collection_name=target, alias_name=self.index)
        )

        def change(client: QdrantClient) -> bool:
            # Looked up at every try: the answer of one before may have been lost.
            now = self._target(client)
            if now == target:
                return True
            return client.update_collection_aliases(
                [create] if now is None else [self._delete_alias(), create]
            )

        self.connection.call(change)

    def remove_alias(self) -> None:
        """Leave the index without a current version."""

        def change(client: QdrantClient) -> bool:
            if self._target(client) is None:
                return True
            return client.update_collection_aliases([self._delete_alias()])

        self.connection.call(change)

    def check_free(self) -> None:
        """Raise HandsimError when another program has a collection with the alias's name."""
        if self.index in self._collections():
            raise other_program_error(self.index)

    def _collections(self) -> list[str]:
        """Names of all collections of the server."""
        response = self.connection.read(lambda client: client.get_collections())
        return [collection.name for collection in response.collections]

    def _version(self, collection: str) -> str | None:
        match = re.fullmatch(rf"{re.escape(self.index)}-(v\d{{4,}})", collection)
        return match and match[1]

    def _target(self, client: QdrantClient) -> str | None:
        """The collection that the alias points to."""
        aliases = client.get_aliases().aliases
        return next((alias.collection_name for alias in aliases if alias.alias_name == self.index), None)

    def _delete_alias(self) -> models.DeleteAliasOperation:
        return models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=self.index))

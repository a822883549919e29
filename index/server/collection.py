"""The collection that holds one version.

What is written down of one version: the metadata of its collection.

The embedding is kept as a text, the JSON that `Embedding.save` writes: a server that keeps it as numbers
may give back the last digit changed, and with it another fingerprint.

What the collections and the alias of an index are called.
"""

import json
import re
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Literal

from qdrant_client import QdrantClient, models

from handsim.embedding import Embedding
from handsim.errors import HandsimError
from index.evaluation import Verification
from index.info import IndexSettings, VersionInfo
from index.server.client import Connection

FORMAT_VERSION: Final = 1
_FORMAT: Final = "handsim-index-version"

State = Literal["building", "complete", "growing", "removing"]


@dataclass(frozen=True)
class VersionRecord:
    """One version."""

    state: State
    """``growing``: hands are being added in place. ``building`` and ``removing``: no reader gets it."""
    embedding: str
    """JSON."""
    embedding_kind: str
    embedding_fingerprint: str
    dimension: int
    settings: IndexSettings
    """How it was built, and is searched."""
    points: int
    """How many hands it holds, or is to hold."""
    checksum: str = ""
    built_at: str = ""
    build_seconds: float = 0.0
    published_at: int | None = None
    """Rises with every publication; None before the first."""
    recall_at_1: float | None = None
    """At the last verification."""

    @classmethod
    def draft(cls, embedding: Embedding, settings: IndexSettings, points: int) -> "VersionRecord":
        """A version about to be built."""
        return cls(
            state="building",
            embedding=json.dumps(embedding.to_json()),
            embedding_kind=embedding.kind,
            embedding_fingerprint=embedding.fingerprint,
            dimension=embedding.dimension,
            settings=settings,
            points=points,
        )

    @classmethod
    def parse(cls, facts: dict[str, Any] | None, shown: str) -> "VersionRecord":
        """What `metadata` told; raises HandsimError when it is damaged or newer than this program."""
        if facts is None or facts.get("format") != _FORMAT:
            raise damaged(shown, "its metadata are not handsim's")
        version = facts.get("version")
        if not isinstance(version, int) or version > FORMAT_VERSION:
            raise HandsimError(
                f"{shown} has format {version}, this handsim reads up to {FORMAT_VERSION}; upgrade handsim"
            )
        names = [field.name for field in fields(cls)]
        known = {name: facts[name] for name in names if facts.get(name) is not None}
        try:
            return cls(**{**known, "settings": IndexSettings(**facts["settings"])})
        except (KeyError, TypeError, HandsimError) as error:
            raise damaged(shown, f"its metadata lack a field: {error}") from error

    @property
    def metadata(self) -> dict[str, Any]:
        """It as JSON values, for the collection; what is None is not mentioned."""
        facts = {"format": _FORMAT, "version": FORMAT_VERSION, **asdict(self)}
        return {key: value for key, value in facts.items() if value is not None}

    @property
    def is_readable(self) -> bool:
        """Whether readers may have it."""
        return self.state in ("complete", "growing")

    def info(self, name: str, *, is_current: bool) -> VersionInfo:
        """What people see of it."""
        return VersionInfo(
            name=name,
            points=self.points,
            dimension=self.dimension,
            embedding_kind=self.embedding_kind,
            embedding_fingerprint=self.embedding_fingerprint,
            built_at=self.built_at,
            build_seconds=self.build_seconds,
            settings=self.settings,
            checksum=self.checksum,
            bytes_on_disk=None,
            recall_at_1=self.recall_at_1,
            is_current=is_current,
        )


def verification_metadata(verification: Verification) -> dict[str, Any]:
    """What a verification found, for the collection."""
    return {"recall_at_1": verification.recall_at_1, "verification": json.dumps(asdict(verification))}


def damaged(shown: str, why: str) -> HandsimError:
    """The error for a version that cannot be read."""
    return HandsimError(f"{shown} is damaged ({why}); remove that collection and `handsim index build` again")


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


@dataclass(frozen=True)
class Names:
    """Of one index: `NAME-v0001`, ... are its versions, the alias `NAME` points to the current one."""

    index: str
    """NAME."""
    shown: str
    """What people call it."""

    def collection(self, version: str) -> str:
        """The collection of a version."""
        return f"{self.index}-{version}"

    def collections(self, connection: Connection) -> dict[str, str]:
        """Collections of all versions and drafts, by version, oldest first."""
        found = connection.call(lambda client: client.get_collections()).collections
        names = [self._version(collection.name) for collection in found]
        versions = sorted((name for name in names if name is not None), key=number)
        return {version: self.collection(version) for version in versions}

    def current(self, connection: Connection) -> str | None:
        """The version that the alias points to; None without one.

        Raises HandsimError when it points to something else.
        """
        aliases = connection.call(lambda client: client.get_aliases()).aliases
        for alias in aliases:
            if alias.alias_name == self.index:
                version = self._version(alias.collection_name)
                if version is None:
                    raise HandsimError(
                        f"the alias {self.index} points to {alias.collection_name}, which is no version of "
                        f"{self.shown}; `handsim index publish VERSION` points it to one"
                    )
                return version
        return None

    def point_alias(self, connection: Connection, version: str) -> None:
        """Have the alias point to a version, in one step for all readers."""
        moves: list[models.AliasOperations] = []
        aliases = connection.call(lambda client: client.get_aliases()).aliases
        if any(alias.alias_name == self.index for alias in aliases):
            moves.append(self._without_alias())
        target = models.CreateAlias(collection_name=self.collection(version), alias_name=self.index)
        moves.append(models.CreateAliasOperation(create_alias=target))
        connection.call(lambda client: client.update_collection_aliases(change_aliases_operations=moves))

    def remove_alias(self, connection: Connection) -> None:
        """Have no current version any more."""
        connection.call(
            lambda client: client.update_collection_aliases(change_aliases_operations=[self._without_alias()])
        )

    def check_free(self, connection: Connection) -> None:
        """Raise HandsimError when another program has a collection where the alias belongs."""
        found = connection.call(lambda client: client.get_collections()).collections
        if any(collection.name == self.index for collection in found):
            raise HandsimError(
                f"the collection {self.index} is another program's; "
                f"give this index another name: http://host:6333/NAME"
            )

    def _version(self, collection: str) -> str | None:
        match = re.fullmatch(rf"{re.escape(self.index)}-(v\d{{4,}})", collection)
        return match and match[1]

    def _without_alias(self) -> models.DeleteAliasOperation:
        return models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=self.index))


def number(version: str) -> int:
    """7 of ``v0007``."""
    return int(version[1:])

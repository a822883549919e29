"""The small collection `NAME-catalog` beside the versions: it marks an index, and says who is at work in it.

Its metadata hold the format and the number of the newest version. Its points have no vectors: one for
the builder, one for the publisher, one for each reader (see `index.server.presence`).
"""

from contextlib import suppress
from functools import partial
from typing import Any, Final
from uuid import uuid4

from qdrant_client import QdrantClient, models

from handsim.errors import HandsimError
from index.server.connection import Connection
from index.server.faults import AbsentError, PresentError
from index.server.presence import Presence, Role

FORMAT_VERSION: Final = 1
_FORMAT: Final = "handsim-index"
_ID: Final[dict[Role, int]] = {"builder": 1, "publisher": 2}
_PAGE: Final = 1000


class Register:
    """What the collection `NAME-catalog` says."""

    def __init__(self, connection: Connection, name: str, shown: str) -> None:
        """Of the index ``name``, told to people as ``shown``; the collection need not exist."""
        self._connection = connection
        self._index = name
        self._name = f"{name}-catalog"
        self._shown = shown

    def hasty(self) -> "Register":
        """The same without the patience: for what may as well be left undone."""
        return Register(self._connection.hasty(), self._index, self._shown)

    def exists(self) -> bool:
        """Whether there is an index; raises HandsimError for another program's, or a newer format."""
        return self._facts() is not None

    def create(self, replicas: int) -> None:
        """Make the index, if it is not there yet, kept on that many nodes."""
        if self._facts() is not None:
            return

        def create(client: QdrantClient) -> object:
            return client.create_collection(
                self._name,
                vectors_config={},
                replication_factor=replicas,
                write_consistency_factor=replicas // 2 + 1,
                strict_mode_config=models.StrictModeConfig(enabled=False),
                metadata={"format": _FORMAT, "version": FORMAT_VERSION, "newest": 0},
            )

        with suppress(PresentError):  # another was as quick
            self._connection.call(create)
        for field in ("token", "role"):
            self._connection.call(
                partial(
                    QdrantClient.create_payload_index,
                    collection_name=self._name,
                    field_name=field,
                    field_schema=models.PayloadSchemaType.KEYWORD,
                    wait=True,
                )
            )

    def drop(self) -> None:
        """Remove it, and with it the mark of an index."""
        self._connection.call(lambda client: client.delete_collection(self._name))

    def newest(self) -> int:
        """Number of the newest version that was ever complete."""
        return int((self._facts() or {}).get("newest", 0))

    def note_newest(self, number: int) -> None:
        """Have the numbers count on from there."""
        newest = max(number, self.newest())
        self._connection.call(
            lambda client: client.update_collection(self._name, metadata={"newest": newest})
        )

    def at_work(self, role: Role) -> Presence | None:
        """The builder or the publisher that was last heard of, alive or not."""
        try:
            points = self._connection.call(
                lambda client: client.retrieve(
                    self._name, [_ID[role]], consistency=models.ReadConsistencyType.MAJORITY
                )
            )
        except AbsentError:
            return None
        return Presence.parse(points[0].payload or {}) if points else None

    def readers(self) -> dict[str, Presence]:
        """All readers ever heard of that did not say goodbye, by the ids of their points."""
        found: dict[str, Presence] = {}
        offset: models.ExtendedPointId | None = None
        is_reader = models.Filter(must=[_matches("role", "reader")])
        while True:
            try:
                points, offset = self._connection.call(
                    partial(
                        QdrantClient.scroll,
                        collection_name=self._name,
                        scroll_filter=is_reader,
                        limit=_PAGE,
                        offset=offset,
                        consistency=models.ReadConsistencyType.MAJORITY,
                    )
                )
            except AbsentError:
                return {}
            for point in points:
                presence = Presence.parse(point.payload or {})
                if presence is not None:
                    found[str(point.id)] = presence
            if offset is None:
                return found

    def enter(self, presence: Presence, instead_of: Presence | None = None) -> bool:
        """Write a builder or publisher down, in place of the one given and of no other; whether it stands.

        Atomic: the server looks at who stands there and writes in one step.
        """
        tokens = [presence.token] + ([] if instead_of is None else [instead_of.token])
        self._put(_ID[presence.role], presence, models.Filter(must=[_matches("token", *tokens)]))
        standing = self.at_work(presence.role)
        return standing is not None and standing.token == presence.token

    def leave(self, presence: Presence) -> None:
        """Take a builder or publisher out again, unless another stands there by now."""
        own = models.Filter(
            must=[models.HasIdCondition(has_id=[_ID[presence.role]]), _matches("token", presence.token)]
        )
        self._delete(models.FilterSelector(filter=own))

    def put_reader(self, presence: Presence, point: str | None = None) -> str:
        """Write a reader down, anew or once more at its point; returns the id of that."""
        point = point or str(uuid4())
        self._put(point, presence)
        return point

    def remove_readers(self, points: list[str]) -> None:
        """Take readers out again."""
        if points:
            self._delete(models.PointIdsList(points=list(points)))

    def _put(self, point: int | str, presence: Presence, only: models.Filter | None = None) -> None:
        points = [models.PointStruct(id=point, vector={}, payload=presence.payload)]
        self._connection.call(
            lambda client: client.upsert(
                self._name, points, wait=True, ordering=models.WriteOrdering.STRONG, update_filter=only
            )
        )

    def _delete(self, selector: models.FilterSelector | models.PointIdsList) -> None:
        self._connection.call(
            lambda client: client.delete(
                self._name, selector, wait=True, ordering=models.WriteOrdering.STRONG
            )
        )

    def _facts(self) -> dict[str, Any] | None:
        try:
            info = self._connection.call(lambda client: client.get_collection(self._name))
        except AbsentError:
            return None
        facts = info.config.metadata or {}
        if facts.get("format") != _FORMAT:
            raise HandsimError(
                f"the collection {self._name} is another program's; "
                f"give this index another name: http://host:6333/NAME"
            )
        version = facts.get("version")
        if not isinstance(version, int) or version > FORMAT_VERSION:
            raise HandsimError(
                f"{self._shown} has format {version}, this handsim reads up to {FORMAT_VERSION}; "
                f"upgrade handsim"
            )
        return facts


def _matches(field: str, *values: str) -> models.FieldCondition:
    return models.FieldCondition(key=field, match=models.MatchAny(any=list(values)))

"""Who reads, builds and publishes an index on a server: leases in the small collection `NAME-catalog`.

The collection marks an index. Its metadata hold the format and the number of the newest version. Its points
have no vectors: one for the builder, one for the publisher, one for each reader. Each process renews its
lease every half a minute; a lease that was not renewed for minutes has expired. A process of the same host
that no longer runs has lost its lease at once.
"""

import os
import socket
import warnings
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from threading import Event, Thread
from typing import Any, Final, Literal
from uuid import uuid4

from qdrant_client import models

from handsim.errors import HandsimError, HandsimWarning
from index.info import check_format
from index.server.capacity import count_nodes
from index.server.client import Connection
from index.server.collection import VersionCollection
from index.server.failures import AlreadyExistsError, DeniedError, NotFoundError, other_program_error

Role = Literal["builder", "publisher", "reader"]

HEARTBEAT_S: Final = 30.0
_EXPIRES_AFTER_S: Final[dict[Role, float]] = {"builder": 300.0, "publisher": 120.0, "reader": 120.0}
"""Far more than the clocks of two hosts may differ."""

_RELEASE_PATIENCE_S: Final = 5.0
"""A cluster that lost a node takes writes again within seconds; a lease left behind keeps others waiting for
minutes."""
_PUBLISHER_TRIES: Final = 40
_BETWEEN_TRIES_S: Final = 0.25

_FORMAT: Final = "handsim-index"
_FORMAT_VERSION: Final = 1
_POINT_ID: Final[dict[Role, int]] = {"builder": 1, "publisher": 2}
_PAGE: Final = 1000

# A lease is on three nodes where there are as many. Two must have it before it counts, and two are asked: so
# whoever asks meets it, and one node may be away. Asking for a majority would not do: that asks all three.
# One replica at a time puts writes in order, whichever is alive; with strong ordering it would be one that
# never changes, and no lease could be written while that one is away.
_COPIES: Final = 3
_QUORUM: Final = models.ReadConsistencyType.QUORUM
_ORDERING: Final = models.WriteOrdering.MEDIUM


@dataclass(frozen=True)
class LeaseHolder:
    """One process that reads, builds or publishes; its fields are the payload of its point."""

    role: Role
    version: str
    """The version that it reads; empty for the other roles."""
    token: str
    """Unique."""
    host: str
    """The machine, or the container on it, that it runs in."""
    pid: int
    since: str
    """ISO 8601, UTC."""
    seen_at: float
    """When it last renewed its lease; seconds since 1970."""

    @classmethod
    def this_process(cls, role: Role, now: float, version: str = "") -> "LeaseHolder":
        """A new lease of this process."""
        since = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
        return cls(role, version, str(uuid4()), _this_host(), os.getpid(), since, now)

    @classmethod
    def parse(cls, payload: dict[str, Any] | None) -> "LeaseHolder | None":
        """Read the payload of a point; None for anything else."""
        try:
            return cls(**(payload or {}))
        except TypeError:
            return None

    def is_alive(self, now: float) -> bool:
        """Whether its lease is valid: not expired and, for a process of this host, still running."""
        if now - self.seen_at > _EXPIRES_AFTER_S[self.role]:
            return False
        return self.host != _this_host() or _is_running(self.pid)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host.partition(' ')[0]} since {self.since}"


def _this_host() -> str:
    """The host's name and the PID namespace: each container counts its processes on its own."""
    try:
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class LeaseRegistry:
    """The collection `NAME-catalog`: the mark of an index, its newest number, and its leases."""

    def __init__(self, connection: Connection, name: str, address: str) -> None:
        """Of the index ``name``, ``address`` in messages; the collection need not exist."""
        self.connection = connection
        self.address = address
        self._name = f"{name}-catalog"

    @property
    def collection(self) -> VersionCollection:
        """Itself."""
        return VersionCollection(self.connection, self._name)

    def with_patience(self, seconds: float) -> "LeaseRegistry":
        """The same, with less patience: for calls that need not succeed."""
        other = copy(self)
        other.connection = self.connection.with_patience(seconds)
        return other

    def exists(self) -> bool:
        """Whether there is an index; raises HandsimError for another program's, or a newer format."""
        return self._metadata() is not None

    def create(self) -> None:
        """Create the collection, if there is none yet."""
        if self.exists():
            return
        copies = min(_COPIES, count_nodes(self.connection) or _COPIES)
        with suppress(AlreadyExistsError):  # another process created it meanwhile
            self.connection.call(
                lambda client: client.create_collection(
                    self._name,
                    vectors_config={},
                    shard_number=1,
                    replication_factor=copies,
                    write_consistency_factor=copies // 2 + 1,
                    strict_mode_config=models.StrictModeConfig(enabled=False),
                    metadata={"format": _FORMAT, "version": _FORMAT_VERSION, "newest": 0},
                )
            )
        keyword = models.PayloadSchemaType.KEYWORD
        for field in ("token", "role"):
            self.connection.create_payload_index(self._name, field, keyword)

    def drop(self) -> None:
        """Remove it, and with it the mark of an index; nothing happens where it is gone."""
        with suppress(NotFoundError):
            self.connection.call(lambda client: client.delete_collection(self._name))

    def newest_number(self) -> int:
        """Number of the newest version that was ever complete."""
        return int((self._metadata() or {}).get("newest", 0))

    def record_number(self, number: int) -> None:
        """Record that the number of a version is in use."""
        newest = max(number, self.newest_number())
        self.connection.call(lambda client: client.update_collection(self._name, metadata={"newest": newest}))

    def holder(self, role: Role) -> LeaseHolder | None:
        """The last builder or publisher that did not release its lease, alive or not."""
        ids: list[models.ExtendedPointId] = [_POINT_ID[role]]
        with suppress(NotFoundError):
            points = self.connection.read(
                lambda client: client.retrieve(self._name, ids, consistency=_QUORUM)
            )
            return LeaseHolder.parse(points[0].payload) if points else None
        return None

    def readers(self) -> dict[str, LeaseHolder]:
        """All readers that did not release their lease, alive or not, by the ids of their points."""
        readers: dict[str, LeaseHolder] = {}
        is_reader = models.Filter(must=[_matches("role", "reader")])
        with suppress(NotFoundError):
            for points in self.connection.pages(
                self._name, scroll_filter=is_reader, limit=_PAGE, consistency=_QUORUM
            ):
                for point in points:
                    reader = LeaseHolder.parse(point.payload)
                    if reader is not None:
                        readers[str(point.id)] = reader
        return readers

    def acquire(self, holder: LeaseHolder, previous: LeaseHolder | None = None) -> bool:
        """Write a builder or publisher in place of the previous one and no other; returns whether it worked.

        Atomic: the server compares the token and writes in one step.
        """
        tokens = [holder.token] + ([] if previous is None else [previous.token])
        self._put(_POINT_ID[holder.role], holder, models.Filter(must=[_matches("token", *tokens)]))
        winner = self.holder(holder.role)
        return winner is not None and winner.token == holder.token

    def release(self, holder: LeaseHolder) -> None:
        """Remove a builder or publisher, unless another one has its place by now."""
        own = models.Filter(
            must=[models.HasIdCondition(has_id=[_POINT_ID[holder.role]]), _matches("token", holder.token)]
        )
        self._delete(models.FilterSelector(filter=own))

    def put_reader(self, reader: LeaseHolder, point: str | None = None) -> str:
        """Write a reader, as a new point or again into its own; returns the point's id."""
        point = point or str(uuid4())
        self._put(point, reader)
        return point

    def remove_readers(self, points: list[str]) -> None:
        """Remove the points of readers."""
        if points:
            self._delete(models.PointIdsList(points=list(points)))

    def _put(self, point: int | str, holder: LeaseHolder, condition: models.Filter | None = None) -> None:
        points = [models.PointStruct(id=point, vector={}, payload=asdict(holder))]
        self.connection.call(
            lambda client: client.upsert(
                self._name, points, wait=True, ordering=_ORDERING, update_filter=condition
            )
        )

    def _delete(self, selector: models.FilterSelector | models.PointIdsList) -> None:
        self.connection.call(
            lambda client: client.delete(self._name, selector, wait=True, ordering=_ORDERING)
        )

    def _metadata(self) -> dict[str, Any] | None:
        try:
            info = self.connection.read(lambda client: client.get_collection(self._name))
        except NotFoundError:
            return None
        metadata = info.config.metadata or {}
        if metadata.get("format") != _FORMAT:
            raise other_program_error(self._name)
        check_format(metadata.get("version"), _FORMAT_VERSION, self.address)
        return metadata


def _matches(field: str, *values: str) -> models.FieldCondition:
    return models.FieldCondition(key=field, match=models.MatchAny(any=list(values)))


class Heartbeat:
    """A daemon thread that renews a lease until it is stopped."""

    def __init__(self, renew: Callable[[], None]) -> None:
        """Call ``renew`` every half a minute, first in half a minute."""
        self._stopped = Event()
        self._renew = renew
        self._thread = Thread(target=self._run, name="handsim-heartbeat", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop, after a renewal that has begun."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(HEARTBEAT_S):
            # The server is away, or the key was changed: the lease's owner learns it from its own calls.
            with suppress(HandsimError):
                self._renew()


class ExclusiveLease:
    """Being the one builder, or the one publisher, of an index."""

    def __init__(self, registry: LeaseRegistry, role: Role) -> None:
        """Acquire it; a publisher's waits some seconds. Raises HandsimError that names who holds it."""
        self._registry = registry
        self._now = registry.connection.clock
        self._holder = LeaseHolder.this_process(role, self._now())
        self._is_lost = False
        tries = 1 if role == "builder" else _PUBLISHER_TRIES
        while not self._try_to_acquire():
            tries -= 1
            if not tries:
                who = registry.holder(role) or "another process"
                doing = "built" if role == "builder" else "published"
                raise HandsimError(
                    f"{registry.address} is being {doing} by {who}; wait for it to end, or stop it"
                )
            registry.connection.sleep(_BETWEEN_TRIES_S)
        self._heartbeat = Heartbeat(self.renew)

    def _try_to_acquire(self) -> bool:
        previous = self._registry.holder(self._holder.role)
        if previous is not None and previous.is_alive(self._now()):
            return False
        return self._registry.acquire(self._holder, previous)

    def renew(self) -> None:
        """Renew it, unless another process has it by now."""
        renewed = replace(self._holder, seen_at=self._now())
        self._is_lost = not self._registry.with_patience(0.0).acquire(renewed, renewed)

    def check(self) -> None:
        """Raise HandsimError when another process has it, because this one did not renew it in time."""
        if self._is_lost:
            raise HandsimError(
                f"another process took over building {self._registry.address}, because nothing was heard of "
                f"this one for minutes; see `handsim index list`"
            )

    def release(self) -> None:
        """Release it; where that fails it expires, and what was done under it stands."""
        self._heartbeat.stop()
        if not self._is_lost:
            with suppress(HandsimError):
                self._registry.with_patience(_RELEASE_PATIENCE_S).release(self._holder)

    def __enter__(self) -> "ExclusiveLease":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class ReaderLease:
    """Being a reader of one version, which nobody removes meanwhile."""

    def __init__(self, registry: LeaseRegistry, version: str) -> None:
        """Acquire it. A key that may only read cannot: such a reader is warned, and goes on without."""
        self._registry = registry
        self._holder = LeaseHolder.this_process("reader", registry.connection.clock(), version)
        self._point: str | None = None
        try:
            self._point = registry.put_reader(self._holder)
        except DeniedError:
            warnings.warn(
                f"this API key may only read, so nobody sees that {registry.address} {version} is read here: "
                f"`handsim index prune` may remove it meanwhile",
                HandsimWarning,
                stacklevel=2,
            )
            return
        self._heartbeat = Heartbeat(self.renew)

    def renew(self) -> None:
        """Renew it."""
        renewed = replace(self._holder, seen_at=self._registry.connection.clock())
        self._registry.with_patience(0.0).put_reader(renewed, self._point)

    def release(self) -> None:
        """Release it; if the server is away, it expires. A second call changes nothing."""
        if self._point is not None:
            self._heartbeat.stop()
            point, self._point = self._point, None
            with suppress(HandsimError):
                self._registry.with_patience(_RELEASE_PATIENCE_S).remove_readers([point])

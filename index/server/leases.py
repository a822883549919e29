"""Saying every so often that one is still there.

Who is at work in an index on a server: what each process leaves there about itself.

The small collection `NAME-catalog` beside the versions: it marks an index, and says who is at work in it.

Its metadata hold the format and the number of the newest version. Its points have no vectors: one for
the builder, one for the publisher, one for each reader (see `index.server.leases`).
"""

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from threading import Event, Thread
from types import TracebackType
from typing import Any, Final, Literal
from uuid import uuid4

from qdrant_client import QdrantClient, models

from handsim.errors import HandsimError, UnavailableError
from index.server.client import AbsentError, Connection, DeniedError, PresentError

Role = Literal["builder", "publisher", "reader"]

BEAT_S: Final = 30.0
"""How often those who are there say so."""

_PATIENCE_S: Final[dict[Role, float]] = {"builder": 300.0, "publisher": 120.0, "reader": 120.0}
"""How long nothing may be heard of one before it counts as gone; hosts' clocks must agree far better."""


@dataclass(frozen=True)
class Presence:
    """One process that reads, builds or publishes."""

    role: Role
    """What it does."""
    version: str
    """The version it reads; empty for the others."""
    token: str
    """Tells it apart from all others, ever."""
    host: str
    """The machine, or the container on it, that it runs in."""
    pid: int
    """Its number there."""
    since: str
    """ISO 8601, UTC."""
    seen_at: float
    """When it last said that it is there; seconds since 1970."""

    @classmethod
    def own(cls, role: Role, now: float, version: str = "") -> "Presence":
        """This process."""
        since = datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
        return cls(role, version, str(uuid4()), _this_host(), os.getpid(), since, now)

    @classmethod
    def parse(cls, payload: dict[str, Any]) -> "Presence | None":
        """What `payload` told; None for anything else."""
        try:
            return cls(**payload)
        except TypeError:
            return None

    @property
    def payload(self) -> dict[str, Any]:
        """It as JSON values."""
        return asdict(self)

    def seen(self, now: float) -> "Presence":
        """The same, still there now."""
        return replace(self, seen_at=now)

    def is_alive(self, now: float) -> bool:
        """Whether it is to be reckoned with: heard of lately and, on this host, still running."""
        if now - self.seen_at > _PATIENCE_S[self.role]:
            return False
        return self.host != _this_host() or _is_running(self.pid)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host.partition(' ')[0]} since {self.since}"


def _this_host() -> str:
    """The host's name and, as containers count processes on their own, the space that counts ours."""
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


_TRIES_AT_THE_DOOR: Final = 40
_BETWEEN_TRIES_S: Final = 0.25


class Heart:
    """A daemon thread that beats until it is stopped."""

    def __init__(self, beat: Callable[[], None]) -> None:
        """Starts to call ``beat``, first in half a minute; a beat that a server refuses is left out."""
        self._stopped = Event()
        self._beat = beat
        self._thread = Thread(target=self._run, name="handsim-heart", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """No beat starts after this; one under way comes to its end."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(BEAT_S):
            try:
                self._beat()
            except HandsimError:
                # The server is away, or the key was changed: whoever works finds out in its own calls.
                continue


class Claim:
    """Being the one builder, or the one publisher, of an index."""

    def __init__(self, connection: Connection, register: Register, role: Role, shown: str) -> None:
        """Take the place; raises HandsimError that says who has it. For a publisher's this waits a moment."""
        self._connection = connection
        self._register = register
        self._shown = shown
        self._own = Presence.own(role, connection.clock())
        self._lost = False
        tries = 1 if role == "builder" else _TRIES_AT_THE_DOOR
        while not self._enter():
            tries -= 1
            if not tries:
                who = register.at_work(role) or "another process"
                doing = "built" if role == "builder" else "published"
                raise HandsimError(f"{shown} is being {doing} by {who}; wait for it to end, or stop it")
            connection.pause(_BETWEEN_TRIES_S)
        self._heart = Heart(self.beat)

    def _enter(self) -> bool:
        standing = self._register.at_work(self._own.role)
        if standing is not None and standing.is_alive(self._connection.clock()):
            return False
        return self._register.enter(self._own, instead_of=standing)

    def beat(self) -> None:
        """Say that this process is still at it."""
        now = self._own.seen(self._connection.clock())
        self._lost = not self._register.hasty().enter(now, instead_of=now)

    def check(self) -> None:
        """Raise HandsimError when another took the place, because nothing was heard of this one for long."""
        if self._lost:
            raise HandsimError(
                f"another process took over building {self._shown}, because nothing was heard of this one "
                f"for minutes; see `handsim index list`"
            )

    def release(self) -> None:
        """Give the place up; with the server away it runs out by itself."""
        self._heart.stop()
        if not self._lost:
            with suppress(UnavailableError):
                self._register.hasty().leave(self._own)

    def __enter__(self) -> "Claim":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Lease:
    """Being a reader of one version, which keeps that from being removed."""

    def __init__(self, connection: Connection, register: Register, version: str) -> None:
        """Sign in. With a key that may only read nobody can: such readers go on without, unprotected."""
        self._connection = connection
        self._register = register
        self._own = Presence.own("reader", connection.clock(), version)
        self._point: str | None = None
        try:
            self._point = register.put_reader(self._own)
        except DeniedError:
            return
        self._heart = Heart(self.beat)

    def beat(self) -> None:
        """Say that this reader is still there."""
        self._register.hasty().put_reader(self._own.seen(self._connection.clock()), self._point)

    def release(self) -> None:
        """Sign out; with the server away the lease runs out by itself. A second time changes nothing."""
        if self._point is not None:
            self._heart.stop()
            point, self._point = self._point, None
            with suppress(HandsimError):
                self._register.hasty().remove_readers([point])

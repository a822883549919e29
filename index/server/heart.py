"""Saying every so often that one is still there."""

from collections.abc import Callable
from contextlib import suppress
from threading import Event, Thread
from types import TracebackType
from typing import Final

from handsim.errors import HandsimError, UnavailableError
from index.server.connection import Connection
from index.server.faults import DeniedError
from index.server.presence import BEAT_S, Presence, Role
from index.server.register import Register

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

"""Who is at work in an index on a server: what each process leaves there about itself."""

import os
import socket
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal
from uuid import uuid4

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

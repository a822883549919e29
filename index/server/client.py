"""Where a server's index is: `http(s)://host[:6333][/NAME][?grpc_port=6334]`.

What went wrong in a call to a Qdrant server, told apart by what can be done about it.

The same refusal arrives as a gRPC status, as an HTTP status or, in the client's local mode, as a
ValueError: whoever calls sees one of the errors below instead, with one line for people.

The one way to a Qdrant server: every call goes through `Connection.call`.
"""

import os
import random
import re
import time
import warnings
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from threading import BoundedSemaphore
from typing import Final, Literal, TypeVar
from urllib.parse import parse_qs, urlsplit

import grpc
import httpx
from qdrant_client import QdrantClient
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from handsim.errors import HandsimError, NotThereError, UnavailableError

KEY_VARIABLE: Final = "HANDSIM_QDRANT_API_KEY"
"""The only place where an API key is taken from; it is sent to the server and goes nowhere else."""

_DEFAULT_NAME: Final = "hands"
_DEFAULT_PORT: Final = 6333
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")


@dataclass(frozen=True)
class ServerAddress:
    """An index on a server."""

    scheme: str
    """``http`` or ``https``, for both protocols."""
    host: str
    """Name or number; an IPv6 one without its brackets."""
    port: int
    """Of the REST interface."""
    grpc_port: int
    """Of the gRPC interface."""
    name: str
    """Of the index: its collections are called NAME-v0001, ..."""

    @classmethod
    def parse(cls, text: str) -> "ServerAddress":
        """Read an address; raises HandsimError for a malformed one, and for one with credentials in it."""
        if "@" in text or "key" in text.partition("?")[2].lower():
            raise HandsimError(f"that address has credentials in it; put the API key into {KEY_VARIABLE}")
        try:
            parts = urlsplit(text)
            port = parts.port or _DEFAULT_PORT
            asked = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
            grpc_port = int(asked.pop("grpc_port", [str(port + 1)])[-1])
        except ValueError as error:
            raise HandsimError(f"{_bare(text)} is not an address; {_LIKE}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname or asked or parts.fragment:
            raise HandsimError(f"{_bare(text)} is not an address; {_LIKE}")
        if not 0 < grpc_port < 65536:
            raise HandsimError(f"{_bare(text)} asks for gRPC port {grpc_port}; ports are 1 to 65535")
        name = parts.path.strip("/") or _DEFAULT_NAME
        if not _NAME.fullmatch(name):
            raise HandsimError(f"{name!r} cannot name an index on a server; letters, digits and ._- can")
        return cls(parts.scheme, parts.hostname, port, grpc_port, name)

    @property
    def server(self) -> str:
        """The server's address, without the index."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    def __str__(self) -> str:
        grpc = "" if self.grpc_port == self.port + 1 else f"?grpc_port={self.grpc_port}"
        return f"{self.server}/{self.name}{grpc}"


def read_key() -> str | None:
    """The API key from the environment, or None; raises HandsimError, without telling it, for an odd one."""
    key = os.environ.get(KEY_VARIABLE) or None
    # Such a key would be quoted in the complaint of whatever library sends it as a header.
    if key is not None and not re.fullmatch(r"[\x21-\x7e]+", key):
        raise HandsimError(f"{KEY_VARIABLE} holds blanks or unusual characters; copy the key once more")
    return key


_LIKE: Final = "one looks like http://127.0.0.1:6333/hands?grpc_port=6334"


def _bare(text: str) -> str:
    """The text up to its path."""
    return repr(re.split(r"(?<![:/])[/?#]", text)[0])


Kind = Literal["passing", "denied", "absent", "present", "refused"]


class DeniedError(HandsimError):
    """The API key is missing or wrong, or may not do this."""


class AbsentError(NotThereError):
    """There is no such collection."""


class PresentError(HandsimError):
    """There is such a collection already."""


@dataclass(frozen=True)
class Fault:
    """What went wrong."""

    kind: Kind
    """``passing`` may succeed when tried again; nothing else does."""
    why: str
    """In the server's words, one line."""
    wait_s: float = 0.0
    """How long the server asks to be left alone."""


_BY_GRPC: Final[dict[grpc.StatusCode, Kind]] = {
    grpc.StatusCode.UNAVAILABLE: "passing",
    grpc.StatusCode.CANCELLED: "passing",  # by a server that shuts down
    grpc.StatusCode.DEADLINE_EXCEEDED: "passing",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "passing",
    grpc.StatusCode.UNAUTHENTICATED: "denied",
    grpc.StatusCode.PERMISSION_DENIED: "denied",
    grpc.StatusCode.NOT_FOUND: "absent",
    grpc.StatusCode.ALREADY_EXISTS: "present",
}
_BY_HTTP: Final[dict[int, Kind]] = {
    **dict.fromkeys((408, 429, 502, 503, 504), "passing"),
    **dict.fromkeys((401, 403), "denied"),
    404: "absent",
    409: "present",
}
_PASSING_WORDS: Final = re.compile(
    # A stream cut by a dying server; a collection that another client created a moment ago.
    r"RST_STREAM|Stream removed|0 of 0 read operations failed"
)
_LOCAL: Final[dict[str, Kind]] = {"not found": "absent", "already exists": "present"}


def fault_of(error: Exception) -> Fault | None:
    """The fault that an exception of the client stands for; None for one that is no answer of a server."""
    if isinstance(error, ResourceExhaustedResponse):
        return Fault("passing", _line(str(error)), float(error.retry_after_s))
    if isinstance(error, grpc.RpcError) and isinstance(error, grpc.Call):
        why = _line(error.details() or error.code().name)
        kind = _BY_GRPC.get(error.code(), "refused")
        return Fault("passing" if _PASSING_WORDS.search(why) else kind, why)
    if isinstance(error, UnexpectedResponse):
        why = _line(f"{error.status_code} {error.reason_phrase} {error.content.decode(errors='replace')}")
        kind = _BY_HTTP.get(error.status_code or 0, "refused")
        return Fault("passing" if _PASSING_WORDS.search(why) else kind, why)
    if isinstance(error, ResponseHandlingException):
        kind = "passing" if isinstance(error.source, httpx.TransportError) else "refused"
        return Fault(kind, _line(str(error.source) or type(error.source).__name__))
    if type(error) is ValueError and str(error).startswith("Collection "):
        for ending, kind in _LOCAL.items():
            if str(error).endswith(ending):
                return Fault(kind, _line(str(error)))
    return None


def _line(text: str) -> str:
    return " ".join(text.split())[:200]


OLDEST_SERVER: Final = (1, 16)
"""Collections have had metadata since then, and upserts conditions: the index keeps its records in
the one, and who may build it rests on the other."""

_TIMEOUT_S: Final = 60
_PROBE_TIMEOUT_S: Final = 5
_TRIES: Final = 8
_IMPATIENT_TRIES: Final = 2
_FIRST_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 8.0
_CALLS_AT_ONCE: Final = 16

T = TypeVar("T")


class Connection:
    """A client of one server, patient with what passes by and with nothing else.

    Threads may share it. gRPC does not outlive a fork: open another one in each process.
    """

    def __init__(
        self,
        client: QdrantClient,
        address: str,
        *,
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
        calls_at_once: int = _CALLS_AT_ONCE,
        tries: int = _TRIES,
    ) -> None:
        """``pause`` waits seconds, ``clock`` tells them; no more than ``calls_at_once`` are under way.

        ``tries`` is how often the server is asked before it counts as away.
        """
        self.address = address
        self.pause = pause
        self.clock = clock
        self._client = client
        self._places = BoundedSemaphore(calls_at_once)
        self._tries = tries

    def hasty(self) -> "Connection":
        """The same connection without the patience: for what may as well be left undone."""
        other = copy(self)
        other._tries = 1
        return other

    def call(self, ask: Callable[[QdrantClient], T]) -> T:
        """What the server answers; asked again, ever later, while the fault is one that passes.

        So ``ask`` must bear being done twice. Raises UnavailableError when the server stays away, and at
        once DeniedError, AbsentError, PresentError, or HandsimError with its reason for anything else.
        """
        for left in reversed(range(self._tries)):
            try:
                with self._places:
                    return ask(self._client)
            except Exception as error:
                fault = fault_of(error)
                if fault is None:
                    raise
                if fault.kind != "passing" or not left:
                    # Without the original: it may hold the request's headers, and so the key.
                    raise self._told(fault) from None
            backed_off = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** (self._tries - 1 - left))
            # Readers that lost the same server do not come back all at the same moment.
            self.pause(max(fault.wait_s, backed_off * random.uniform(0.5, 1.5)))
        raise AssertionError("tries is at least 1")

    def close(self) -> None:
        """Hang up."""
        self._client.close()

    def _told(self, fault: Fault) -> HandsimError:
        match fault.kind:
            case "passing":
                return UnavailableError(
                    f"the Qdrant server at {self.address} does not answer ({fault.why}); "
                    f"start it, or check the address"
                )
            case "denied":
                return DeniedError(
                    f"the Qdrant server at {self.address} does not admit this ({fault.why}); "
                    f"set {KEY_VARIABLE} to an API key that may"
                )
            case "absent":
                return AbsentError(f"the Qdrant server at {self.address} has no such thing ({fault.why})")
            case "present":
                return PresentError(f"the Qdrant server at {self.address} has that already ({fault.why})")
            case "refused":
                return HandsimError(f"the Qdrant server at {self.address} refuses this: {fault.why}")


def connect(
    address: ServerAddress,
    key: str | None,
    *,
    pause: Callable[[float], None] = time.sleep,
    patient: bool = True,
) -> Connection:
    """Reach a server, over gRPC or, where only that port answers, over REST with a warning.

    ``patient`` waits about half a minute for a server that is away, in this call and in all later ones.
    Raises UnavailableError, or HandsimError for a server too old or for something that is not Qdrant.
    """
    tries = _TRIES if patient else _IMPATIENT_TRIES
    probes = [_client(address, key, grpc=grpc, timeout_s=_PROBE_TIMEOUT_S) for grpc in (True, False)]

    def greet(_: QdrantClient) -> tuple[bool, str]:
        try:
            return True, probes[0].info().version
        except Exception as error:
            fault = fault_of(error)
            if fault is None or fault.kind == "denied":
                raise
        return False, probes[1].info().version

    try:
        over_grpc, version = Connection(probes[1], address.server, pause=pause, tries=tries).call(greet)
    finally:
        for probe in probes:
            probe.close()
    check_version(version, address.server)
    if not over_grpc:
        warnings.warn(
            f"no gRPC at port {address.grpc_port} of {address.host}: going on over REST, which is slower",
            stacklevel=2,
        )
    return Connection(
        _client(address, key, grpc=over_grpc, timeout_s=_TIMEOUT_S), address.server, pause=pause, tries=tries
    )


def check_version(version: str, server: str) -> None:
    """Raise HandsimError when a server's version is older than what the index rests on."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is None or tuple(map(int, numbers.groups())) < OLDEST_SERVER:
        oldest = ".".join(map(str, OLDEST_SERVER))
        raise HandsimError(f"{server} runs Qdrant {version}; handsim needs {oldest} or newer: upgrade it")


def _client(address: ServerAddress, key: str | None, *, grpc: bool, timeout_s: int) -> QdrantClient:
    with warnings.catch_warnings():
        # Whoever writes http:// has chosen so; behind a proxy or on this very machine it is right.
        warnings.filterwarnings("ignore", "Api key is used with an insecure connection")
        return QdrantClient(
            url=address.server,
            grpc_port=address.grpc_port,
            prefer_grpc=grpc,
            api_key=key,
            timeout=timeout_s,
            check_compatibility=False,
            # gRPC's own patience grows to two minutes, long after a restarted server is back.
            grpc_options={"grpc.initial_reconnect_backoff_ms": 200, "grpc.max_reconnect_backoff_ms": 2000},
        )

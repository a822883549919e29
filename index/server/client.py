"""The connection to a Qdrant server: its address and key, its errors, and one way to call it.

`ServerAddress` is ``http(s)://host[:6333][/NAME][?grpc_port=6334]``. Every call goes through
`Connection.call`, which repeats it while the error may pass. A refusal arrives as a gRPC status, as an HTTP
status or, in the client's local mode, as a ValueError; callers get one of the errors below instead, with
one line for people.
"""

import os
import random
import re
import time
import warnings
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass
from threading import BoundedSemaphore
from typing import Any, Final, TypeVar
from urllib.parse import parse_qs, urlsplit

import grpc
import httpx
from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from handsim.errors import HandsimError, NotThereError, UnavailableError

KEY_VARIABLE: Final = "HANDSIM_QDRANT_API_KEY"
"""The only place that an API key is read from; it is sent to the server and nowhere else."""

OLDEST_SERVER: Final = (1, 16)
"""Since then collections have metadata, where the index keeps its records, and upserts have conditions, which
decide who may build it."""

_DEFAULT_NAME: Final = "hands"
_DEFAULT_PORT: Final = 6333
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
_EXAMPLE: Final = "one looks like http://127.0.0.1:6333/hands?grpc_port=6334"

_TIMEOUT_S: Final = 60
_PROBE_TIMEOUT_S: Final = 5
_TRIES: Final = 8
_TRIES_WITHOUT_WAIT: Final = 2
_FIRST_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 8.0
_MAX_CONCURRENT_CALLS: Final = 16

T = TypeVar("T")


@dataclass(frozen=True)
class ServerAddress:
    """An index on a server."""

    scheme: str
    """``http`` or ``https``, for both protocols."""
    host: str
    """Name or number; an IPv6 one without its brackets."""
    port: int
    """The port of the REST interface."""
    grpc_port: int
    """The port of the gRPC interface."""
    name: str
    """The name of the index: its collections are called NAME-v0001, ..."""

    @classmethod
    def parse(cls, text: str) -> "ServerAddress":
        """Read an address; raises HandsimError for a malformed one, and for one with credentials in it."""
        if "@" in text or "key" in text.partition("?")[2].lower():
            raise HandsimError(f"that address has credentials in it; put the API key into {KEY_VARIABLE}")
        shortened = repr(re.split(r"(?<![:/])[/?#]", text)[0])
        try:
            parts = urlsplit(text)
            port = parts.port or _DEFAULT_PORT
            options = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
            grpc_port = int(options.pop("grpc_port", [str(port + 1)])[-1])
            if parts.scheme not in ("http", "https") or not parts.hostname or options or parts.fragment:
                raise ValueError("another scheme, no host, or more than a path and a port")
        except ValueError as error:
            raise HandsimError(f"{shortened} is not an address; {_EXAMPLE}") from error
        if not 0 < grpc_port < 65536:
            raise HandsimError(f"{shortened} asks for gRPC port {grpc_port}; ports are 1 to 65535")
        name = parts.path.strip("/") or _DEFAULT_NAME
        if not _NAME.fullmatch(name):
            raise HandsimError(f"{name!r} cannot name an index on a server; letters, digits and ._- can")
        return cls(parts.scheme, parts.hostname, port, grpc_port, name)

    @property
    def server(self) -> str:
        """The server's address, without the index."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def read_key() -> str | None:
    """The API key from the environment, or None; raises HandsimError, without the key, for an odd one."""
    key = os.environ.get(KEY_VARIABLE) or None
    # The library that sends the key as a header would quote such a key in its error message.
    if key is not None and not re.fullmatch(r"[\x21-\x7e]+", key):
        raise HandsimError(f"{KEY_VARIABLE} holds blanks or unusual characters; copy the key once more")
    return key


class DeniedError(HandsimError):
    """The API key is missing or wrong, or may not do this."""


class NotFoundError(NotThereError):
    """There is no such collection."""


class AlreadyExistsError(HandsimError):
    """There is already such a collection."""


def other_program_error(collection: str) -> HandsimError:
    """The error for a collection in the index's place that handsim did not create."""
    return HandsimError(
        f"the collection {collection} is another program's; "
        f"give this index another name: http://host:6333/NAME"
    )


@dataclass(frozen=True)
class _Failure:
    """What an exception of the client says."""

    kind: type[HandsimError]
    """An `UnavailableError` may pass when the call is repeated; no other does."""
    reason: str
    """The server's message, in one line."""
    wait_s: float = 0.0
    """How long the server asks to wait before the next call."""


_GRPC_KINDS: Final[dict[grpc.StatusCode, type[HandsimError]]] = {
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.CANCELLED: UnavailableError,  # by a server that shuts down
    grpc.StatusCode.DEADLINE_EXCEEDED: UnavailableError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: UnavailableError,
    grpc.StatusCode.UNAUTHENTICATED: DeniedError,
    grpc.StatusCode.PERMISSION_DENIED: DeniedError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExistsError,
}
_HTTP_KINDS: Final[dict[int, type[HandsimError]]] = {
    **dict.fromkeys((408, 429, 502, 503, 504), UnavailableError),
    **dict.fromkeys((401, 403), DeniedError),
    404: NotFoundError,
    409: AlreadyExistsError,
}
_TRANSIENT_MESSAGES: Final = re.compile(
    # A stream that a dying server cut; a collection that another client created a moment ago.
    r"RST_STREAM|Stream removed|0 of 0 read operations failed"
)
_LOCAL_MESSAGE: Final = re.compile(r"Collection .*(not found|already exists)", re.DOTALL)
_MESSAGES: Final[dict[type[HandsimError], str]] = {
    UnavailableError: "does not answer ({}); start it, or check the address",
    DeniedError: f"does not admit this ({{}}); set {KEY_VARIABLE} to an API key that may",
    NotFoundError: "has no such thing ({})",
    AlreadyExistsError: "has that already ({})",
    HandsimError: "refuses this: {}",
}


def _classify(error: Exception) -> _Failure | None:
    """What an exception of the client says about the server; None where it says nothing about it."""
    kind: type[HandsimError]
    wait_s = 0.0
    if isinstance(error, ResourceExhaustedResponse):
        kind, reason, wait_s = UnavailableError, str(error), float(error.retry_after_s)
    elif isinstance(error, grpc.RpcError) and isinstance(error, grpc.Call):
        kind = _GRPC_KINDS.get(error.code(), HandsimError)
        reason = error.details() or error.code().name
    elif isinstance(error, UnexpectedResponse):
        kind = _HTTP_KINDS.get(error.status_code or 0, HandsimError)
        reason = f"{error.status_code} {error.reason_phrase} {error.content.decode(errors='replace')}"
    elif isinstance(error, ResponseHandlingException):
        kind = UnavailableError if isinstance(error.source, httpx.TransportError) else HandsimError
        reason = str(error.source) or type(error.source).__name__
    elif type(error) is ValueError and (local := _LOCAL_MESSAGE.fullmatch(str(error))):
        kind = NotFoundError if local[1] == "not found" else AlreadyExistsError
        reason = str(error)
    else:
        return None
    reason = " ".join(reason.split())[:200]
    return _Failure(UnavailableError if _TRANSIENT_MESSAGES.search(reason) else kind, reason, wait_s)


class Connection:
    """A client of one server that repeats a call while its error is transient.

    Threads may share it. gRPC does not survive a fork: open another one in each process.
    """

    def __init__(
        self,
        client: QdrantClient,
        address: str,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
        max_concurrent: int = _MAX_CONCURRENT_CALLS,
        tries: int = _TRIES,
    ) -> None:
        """``tries`` is how often a call is made before the server counts as unavailable."""
        self.address = address
        self.sleep = sleep
        self.clock = clock
        self._client = client
        self._slots = BoundedSemaphore(max_concurrent)
        self._tries = tries

    def without_retries(self) -> "Connection":
        """The same connection with a single try: for calls that need not succeed."""
        other = copy(self)
        other._tries = 1
        return other

    def call(self, request: Callable[[QdrantClient], T]) -> T:
        """What the server answers; repeated, at growing intervals, while the error is transient.

        So ``request`` must be idempotent. Raises UnavailableError when the tries are used up, and at once
        DeniedError, NotFoundError, AlreadyExistsError, or HandsimError with the server's reason.
        """
        for tries_left in reversed(range(self._tries)):
            try:
                with self._slots:
                    return request(self._client)
            except Exception as error:
                failure = _classify(error)
                if failure is None:
                    raise
                if failure.kind is not UnavailableError or not tries_left:
                    message = _MESSAGES[failure.kind].format(failure.reason)
                    # Without the original: it may hold the request's headers, and so the key.
                    raise failure.kind(f"the Qdrant server at {self.address} {message}") from None
            backoff_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** (self._tries - 1 - tries_left))
            # Random, so that readers that lost the same server do not all return at the same moment.
            self.sleep(max(failure.wait_s, backoff_s * random.uniform(0.5, 1.5)))
        raise AssertionError("tries is at least 1")

    def create_payload_index(self, collection: str, field: str, schema: models.PayloadFieldSchema) -> None:
        """Index a field that filters use, and wait for it."""
        self.call(lambda client: client.create_payload_index(collection, field, schema, wait=True))

    def pages(self, collection: str, **options: Any) -> Iterator[list[models.Record]]:
        """All points of a collection, page by page; the options are those of `QdrantClient.scroll`."""
        offset: models.ExtendedPointId | None = None

        def scroll(client: QdrantClient) -> tuple[list[models.Record], models.ExtendedPointId | None]:
            return client.scroll(collection, offset=offset, **options)

        while True:
            page, offset = self.call(scroll)
            yield page
            if offset is None:
                return

    def close(self) -> None:
        """Close the client."""
        self._client.close()


def connect(
    address: ServerAddress,
    key: str | None,
    *,
    sleep: Callable[[float], None] = time.sleep,
    wait: bool = True,
) -> Connection:
    """Connect to a server over gRPC or, where only the other port answers, over REST with a warning.

    ``wait`` gives a server that does not answer about half a minute, in this call and in all later ones.
    Raises UnavailableError, or HandsimError for a server too old or for something that is not Qdrant.
    """
    tries = _TRIES if wait else _TRIES_WITHOUT_WAIT
    probes = [_client(address, key, grpc=grpc, timeout_s=_PROBE_TIMEOUT_S) for grpc in (True, False)]

    def read_server_version(_: QdrantClient) -> tuple[bool, str]:
        try:
            return True, probes[0].info().version
        except Exception as error:
            failure = _classify(error)
            if failure is None or failure.kind is DeniedError:
                raise
        return False, probes[1].info().version

    try:
        probe = Connection(probes[1], address.server, sleep=sleep, tries=tries)
        over_grpc, version = probe.call(read_server_version)
    finally:
        for client in probes:
            client.close()
    check_version(version, address.server)
    if not over_grpc:
        warnings.warn(
            f"no gRPC at port {address.grpc_port} of {address.host}: going on over REST, which is slower",
            stacklevel=2,
        )
    client = _client(address, key, grpc=over_grpc, timeout_s=_TIMEOUT_S)
    return Connection(client, address.server, sleep=sleep, tries=tries)


def check_version(version: str, server: str) -> None:
    """Raise HandsimError when a server's version is older than `OLDEST_SERVER`."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is None or tuple(map(int, numbers.groups())) < OLDEST_SERVER:
        oldest = ".".join(map(str, OLDEST_SERVER))
        raise HandsimError(f"{server} runs Qdrant {version}; handsim needs {oldest} or newer: upgrade it")


def _client(address: ServerAddress, key: str | None, *, grpc: bool, timeout_s: int) -> QdrantClient:
    with warnings.catch_warnings():
        # http:// is the user's choice; behind a proxy or on this machine it is right.
        warnings.filterwarnings("ignore", "Api key is used with an insecure connection")
        return QdrantClient(
            url=address.server,
            grpc_port=address.grpc_port,
            prefer_grpc=grpc,
            api_key=key,
            timeout=timeout_s,
            check_compatibility=False,
            # gRPC's own intervals grow to two minutes, long after a restarted server is back.
            grpc_options={"grpc.initial_reconnect_backoff_ms": 200, "grpc.max_reconnect_backoff_ms": 2000},
        )

"""The one way to a Qdrant server: every call goes through `Connection.call`."""

import random
import re
import time
import warnings
from collections.abc import Callable
from copy import copy
from threading import BoundedSemaphore
from typing import Final, TypeVar

from qdrant_client import QdrantClient

from handsim.errors import HandsimError, UnavailableError
from index.server.address import KEY_VARIABLE, ServerAddress
from index.server.faults import AbsentError, DeniedError, Fault, PresentError, fault_of

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

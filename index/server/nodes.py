"""The nodes of a Qdrant server: which of them is asked, and whether each is what the address says.

A node is connected to when it is first asked. It must be Qdrant, of a version that handsim knows, and of the
same cluster as the others: two servers side by side would answer in turn from two indexes.
"""

import re
import ssl
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from queue import Empty, Queue
from threading import Lock, Thread
from typing import Any, Final, NamedTuple

import httpx
from qdrant_client import QdrantClient
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from handsim.errors import HandsimError, HandsimWarning, one_line
from index.server.address import NodeAddress, ServerAddress
from index.server.failures import DeniedError, classify

OLDEST_SERVER: Final = (1, 16)
"""Since then collections have metadata, where the index keeps its records, and upserts have conditions, which
decide who may build it."""

_READ_TIMEOUT_S: Final = 10
"""A node answers a query in milliseconds, a batch from a cold disk in seconds. Longer, it hangs."""
_TIMEOUT_S: Final = 60
"""Of writes and of exact searches: what is asked for again before it is done is done twice."""
_PROBE_TIMEOUT_S: Final = 5
_RETRY_GRPC_S: Final = 30.0
_SLOWER_BY_S: Final = 1.0

_RETRY_THREAD: Final = "handsim-grpc"

_filtering_warnings = Lock()
"""Held to filter warnings, which all threads of a process share."""


class NodeClient(NamedTuple):
    """The clients of one node."""

    general: QdrantClient
    """For what may take a minute."""
    quick: QdrantClient
    """For what is answered within seconds."""
    reason_for_rest: str = ""
    """Why they use REST; empty where they use gRPC."""

    def close(self) -> None:
        """Close both."""
        self.general.close()
        self.quick.close()


class NodeClients:
    """Clients of the nodes of one server, of which one is asked until it fails; threads may share them."""

    def __init__(
        self,
        openers: Sequence[Callable[[], NodeClient]],
        urls: Sequence[str] = (),
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Each of ``openers`` connects to one node, and raises what a client raises while it is away."""
        self.urls = urls or [f"node {number}" for number in range(len(openers))]
        """Of the nodes, for people."""
        self.current = 0
        """The node to ask."""
        self._openers = openers
        self._clock = clock
        self._clients: list[NodeClient | None] = [None] * len(openers)
        self._opened_at = [0.0] * len(openers)
        self._replaced: list[NodeClient] = []
        """Those over REST whose node answers over gRPC by now; other threads may still use them."""
        self._opening = [Lock() for _ in openers]
        self._moving = Lock()

    @classmethod
    def of(cls, address: ServerAddress, key: str | None, ca: Path | None) -> "NodeClients":
        """Those of an address; ``ca`` is a PEM file with the authorities to trust, None: the usual ones."""
        access = _Access(key, ca)
        cluster = _Cluster() if len(address.nodes) > 1 else None
        openers = [partial(_open, node, access, cluster) for node in address.nodes]
        return cls(openers, [node.url for node in address.nodes])

    def __len__(self) -> int:
        return len(self._openers)

    def client(self, node: int) -> NodeClient:
        """The clients of a node, connected to if need be; raises HandsimError for what is no node of it.

        Where they use REST, gRPC is tried again every half a minute; no call waits for that.
        """
        with self._opening[node]:
            client, now = self._clients[node], self._clock()
            if client is None:
                client = self._clients[node] = self._openers[node]()
                self._opened_at[node] = now
                if client.reason_for_rest:
                    warnings.warn(
                        f"{client.reason_for_rest}: going on over REST, which is slower, until it answers",
                        HandsimWarning,
                        stacklevel=2,
                    )
            elif client.reason_for_rest and now - self._opened_at[node] >= _RETRY_GRPC_S:
                self._opened_at[node] = now
                Thread(target=self._retry_grpc, args=(node,), name=_RETRY_THREAD, daemon=True).start()
            return client

    def _retry_grpc(self, node: int) -> None:
        """Connect to a node once more, and take that instead of REST if gRPC answers."""
        try:
            client = self._openers[node]()
        except Exception as error:
            # The node is away: whoever asks it next learns that. It may be another one by now: likewise.
            if not isinstance(error, HandsimError) and classify(error) is None:
                raise
            return
        with self._opening[node]:
            before = self._clients[node]
            if before is not None and not client.reason_for_rest:
                self._clients[node] = client
                self._replaced.append(before)
                return
        client.close()

    def leave(self, node: int) -> None:
        """Ask the next one from now on, unless another thread has moved on already."""
        with self._moving:
            if self.current == node:
                self.current = (node + 1) % len(self)

    def open(self) -> None:
        """Connect to all nodes that answer, and ask the first of them from now on.

        Raises what the last one raised where none answers, and HandsimError for a stranger among them. Of
        those that are slower than the others by a second, it is found out when they are first asked.
        """
        outcomes: Queue[tuple[int, Exception | None]] = Queue()

        def connect(node: int) -> None:
            try:
                self.client(node)
            except Exception as error:
                outcomes.put((node, error))
            else:
                outcomes.put((node, None))

        for node in range(len(self)):
            # Daemons: a node whose packets are lost does not hold up the end of a command.
            Thread(target=connect, args=(node,), name="handsim-nodes", daemon=True).start()
        opened: list[int] = []
        errors: list[Exception] = []
        with suppress(Empty):
            while len(opened) + len(errors) < len(self):
                node, error = outcomes.get(timeout=_SLOWER_BY_S if opened else None)
                if error is None:
                    opened.append(node)
                elif (failure := classify(error)) is None or not failure.may_pass:
                    raise error
                else:
                    errors.append(error)
        if not opened:
            raise errors[-1]
        self.current = min(opened)

    def close(self) -> None:
        """Close all clients."""
        for client in [*self._clients, *self._replaced]:
            if client is not None:
                client.close()


@dataclass(frozen=True)
class _Access:
    """What opens a server."""

    key: str | None = field(repr=False)
    ca: Path | None

    def client(self, node: NodeAddress, *, grpc: bool, timeout_s: int) -> QdrantClient:
        """A client of one node."""
        # gRPC's own intervals grow to two minutes, long after a restarted server is back.
        grpc_options: dict[str, Any] = {
            "grpc.initial_reconnect_backoff_ms": 200,
            "grpc.max_reconnect_backoff_ms": 2000,
        }
        rest_options: dict[str, Any] = {}
        if self.ca is not None and node.scheme == "https":
            grpc_options["root_certificates"] = self.ca.read_bytes()
            rest_options["verify"] = ssl.create_default_context(cafile=str(self.ca))
        with _filtering_warnings, warnings.catch_warnings():
            # http:// is the user's choice; behind a proxy or on this machine it is right.
            warnings.filterwarnings("ignore", "Api key is used with an insecure connection")
            return QdrantClient(
                url=node.url,
                grpc_port=node.grpc_port,
                prefer_grpc=grpc,
                api_key=self.key,
                timeout=timeout_s,
                check_compatibility=False,
                grpc_options=grpc_options,
                **rest_options,
            )


class _Cluster:
    """Which nodes belong together, by the peers that each of them knows."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._url = ""
        self._peers: frozenset[int] | None = None

    def admit(self, node: NodeAddress, peers: frozenset[int] | None) -> None:
        """Raise HandsimError for a node of another cluster, or of none.

        ``peers`` are the ids of all that it knows, itself among them; None where it does not tell.
        """
        if peers is None:
            return
        if not peers:
            raise HandsimError(
                f"{node.url} is a server of its own and no node of a cluster; an address with several hosts "
                f"names nodes of one cluster"
            )
        with self._lock:
            if self._peers is not None and self._peers.isdisjoint(peers):
                raise HandsimError(
                    f"{node.url} is a node of another cluster than {self._url}; an address names nodes of one"
                )
            self._url = self._url or node.url
            self._peers = peers | (self._peers or frozenset())


def _open(node: NodeAddress, access: _Access, cluster: _Cluster | None) -> NodeClient:
    """Connect to a node; raises what a client raises while it is away, and HandsimError for good reasons."""
    probes = [access.client(node, grpc=grpc, timeout_s=_PROBE_TIMEOUT_S) for grpc in (True, False)]
    try:
        over_grpc, version = _read_version(node, *probes)
        check_version(version, node.url)
        if cluster is not None:
            cluster.admit(node, _read_peers(probes[1]))
    finally:
        for probe in probes:
            probe.close()
    general, quick = (
        access.client(node, grpc=over_grpc, timeout_s=seconds) for seconds in (_TIMEOUT_S, _READ_TIMEOUT_S)
    )
    return NodeClient(general, quick, "" if over_grpc else f"no gRPC at port {node.grpc_port} of {node.host}")


def _read_version(node: NodeAddress, grpc: QdrantClient, rest: QdrantClient) -> tuple[bool, str]:
    """Whether a node answers over gRPC, and its version."""
    try:
        return True, grpc.info().version
    except Exception as error:
        failure = classify(error)
        if failure is None or failure.kind is DeniedError:
            raise
    try:
        return False, rest.info().version
    except Exception as error:
        if not _is_foreign(error):
            raise
        reason = one_line(str(error))
    raise HandsimError(f"{node.url} is no Qdrant server ({reason}); check the address and its port")


def _is_foreign(error: Exception) -> bool:
    """Whether the answer to the question for its version is none that Qdrant gives."""
    if isinstance(error, UnexpectedResponse):
        return error.status_code not in (401, 403) and (error.status_code or 0) < 500
    source = error.source if isinstance(error, ResponseHandlingException) else error
    if isinstance(source, httpx.RemoteProtocolError):
        return "illegal" in str(source)  # no HTTP at all
    return isinstance(source, ValueError)


def _read_peers(rest: QdrantClient) -> frozenset[int] | None:
    """The peers that a node knows, none if it is of no cluster; None where the key may not ask."""
    try:
        status = rest.cluster_status()
    except Exception as error:
        if classify(error) is None and not _is_foreign(error):
            raise
        return None
    if status.status != "enabled":
        return frozenset()
    return frozenset([status.peer_id, *map(int, status.peers)])


def check_version(version: str, server: str) -> None:
    """Raise HandsimError when a server's version is older than `OLDEST_SERVER`."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is None or tuple(map(int, numbers.groups())) < OLDEST_SERVER:
        oldest = ".".join(map(str, OLDEST_SERVER))
        raise HandsimError(f"{server} runs Qdrant {version}; handsim needs {oldest} or newer: upgrade it")

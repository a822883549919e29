"""The connection to a Qdrant server or cluster, and one way to call it.

Every call goes through `Connection.call`, which repeats it while the error may pass: first on the other nodes
of the address, then, after growing pauses, on all of them again, until its patience ends.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from threading import BoundedSemaphore, Event, Lock, Timer
from typing import Any, Final, TypeVar

from qdrant_client import QdrantClient, models

from handsim.errors import HandsimError, UnavailableError
from index.server.address import PATIENCE_S, ServerAddress
from index.server.failures import Failure, classify
from index.server.nodes import NodeClient, NodeClients

_FIRST_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 8.0
_SILENT_S: Final = 0.5
"""Nobody is told of a shorter wait."""
_SLOW_S: Final = 1.0
"""Connecting takes no longer, unless packets are lost on their way."""
_MAX_CONCURRENT_CALLS: Final = 16

T = TypeVar("T")

OnWait = Callable[[UnavailableError | None, float], None]
"""Called with (error, seconds at most) when a server is waited for, with (None, seconds waited) when it
answers again: once each, however many threads wait, and from any of them."""


class Connection:
    """Clients of the nodes of one server, and calls that are repeated while their error may pass.

    Threads may share it. gRPC does not survive a fork: open another one in each process.
    """

    def __init__(
        self,
        client: QdrantClient | NodeClients,
        address: str,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
        max_concurrent: int = _MAX_CONCURRENT_CALLS,
        patience_s: float = PATIENCE_S,
        on_wait: OnWait | None = None,
    ) -> None:
        """``patience_s`` is how long a call is repeated before the server counts as unavailable."""
        self.address = address
        self.sleep = sleep
        self.clock = clock
        if isinstance(client, QdrantClient):
            single = NodeClient(client, client)
            client = NodeClients([lambda: single], [address])
        self._nodes = client
        self._slots = BoundedSemaphore(max_concurrent)
        self._patience_s = patience_s
        self._reporter = _WaitReporter(on_wait)

    def with_patience(self, seconds: float) -> "Connection":
        """The same connection, with less patience: for calls that need not succeed."""
        other = copy(self)
        other._patience_s = min(seconds, self._patience_s)
        return other

    def without_retries(self) -> "Connection":
        """The same connection with a single try on each node: for calls that need not succeed."""
        return self.with_patience(0.0)

    def open(self) -> None:
        """Connect to all nodes that answer; raises as `call`, and HandsimError for a stranger among them."""
        error = UnavailableError(f"the Qdrant server at {self.address} has not answered yet")
        with self._reporter.watch(error, self._patience_s):
            self._repeat(lambda node, is_first: self._nodes.open(), nodes=1)

    def call(self, request: Callable[[QdrantClient], T]) -> T:
        """What the server answers; repeated, at growing intervals, while the error may pass.

        So ``request`` must be idempotent. Raises UnavailableError when patience ends, and at once
        DeniedError, NotFoundError, AlreadyExistsError, or HandsimError with the server's reason.
        """
        return self._repeat(
            lambda node, is_first: request(self._nodes.client(node).general), nodes=len(self._nodes)
        )

    def read(self, request: Callable[[QdrantClient], T]) -> T:
        """As `call`, for what a server answers within seconds: a node that hangs is left sooner.

        If none of them answers so soon, they are slow: all further tries take as long as those of `call`.
        """

        def attempt(node: int, is_first: bool) -> T:
            client = self._nodes.client(node)
            return request(client.quick if is_first else client.general)

        return self._repeat(attempt, nodes=len(self._nodes))

    def ask_nodes(self, request: Callable[[QdrantClient], T]) -> dict[str, T | HandsimError]:
        """What each node of the address answers, by its URL, or why it does not; each is asked once."""
        answers: dict[str, T | HandsimError] = {}
        for node, url in enumerate(self._nodes.urls):
            try:
                answers[url] = request(self._nodes.client(node).quick)
            except HandsimError as error:
                answers[url] = error
            except Exception as error:
                failure = classify(error)
                if failure is None:
                    raise
                answers[url] = failure.to_error(url, 0.0)
        return answers

    def _repeat(self, attempt: Callable[[int, bool], T], nodes: int) -> T:
        """What ``attempt`` returns for one of the nodes; ``nodes`` are tried before each pause.

        It gets the node's number, and whether that one was not tried before.
        """
        with _Wait(self.address, self._patience_s, nodes, self._reporter) as wait:
            while True:
                node, started = self._nodes.current, time.monotonic()
                try:
                    with self._slots:
                        return attempt(node, wait.is_first_round)
                except Exception as error:
                    failure = classify(error)
                    if failure is None:
                        raise
                # Outside the block, so that the error does not hold the request's headers, and so the key.
                self._nodes.leave(node)
                if pause_s := wait.pause_after(failure, time.monotonic() - started):
                    self.sleep(pause_s)
        raise AssertionError("a wait suppresses no error")

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
        """Close the clients."""
        self._nodes.close()


class _Wait:
    """How long one call has been repeated, how long it still may be, and whether that was reported."""

    def __init__(self, address: str, patience_s: float, nodes: int, reporter: "_WaitReporter") -> None:
        self._address, self._patience_s, self._nodes, self._reporter = address, patience_s, nodes, reporter
        self._tries = 0
        self._backoff_s = _FIRST_PAUSE_S
        # What was slept and what failed calls took, not a clock: a test may sleep in no time.
        self._waited_s = 0.0
        self._is_reported = False

    @property
    def is_first_round(self) -> bool:
        """Whether a node is left that was not tried yet."""
        return self._tries < self._nodes

    def pause_after(self, failure: Failure, took_s: float) -> float:
        """Seconds to pause before the next try, 0 while a node is left to be tried; raises the last error."""
        self._waited_s += took_s
        self._tries += 1
        left_s = self._patience_s - self._waited_s
        rounds, is_node_left = divmod(self._tries, self._nodes)
        error = failure.to_error(self._address, self._waited_s)
        # A connection that broke unnoticed takes one call until its deadline: there is always a second one.
        is_over = left_s <= 0 and not is_node_left and (rounds > 1 or self._patience_s <= 0)
        if is_over or not failure.may_pass:
            raise error
        if is_node_left:
            return 0.0
        # Random, so that readers that lost the same server do not all return at the same moment.
        pause_s = max(failure.wait_s, self._backoff_s * random.uniform(0.5, 1.5))
        pause_s = min(pause_s, max(left_s, _FIRST_PAUSE_S))
        self._backoff_s = min(_LONGEST_PAUSE_S, 2 * self._backoff_s)
        if (
            isinstance(error, UnavailableError)
            and self._waited_s + pause_s > _SILENT_S
            and not self._is_reported
        ):
            self._is_reported = True
            self._reporter.begin(error, max(left_s, 0.0))
        self._waited_s += pause_s
        return pause_s

    def __enter__(self) -> "_Wait":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._is_reported:
            self._reporter.end(self._waited_s if kind is None else None)


class _WaitReporter:
    """Tells once that a server is waited for, and once that it answers again, however many calls wait."""

    def __init__(self, on_wait: OnWait | None) -> None:
        self._on_wait = on_wait
        self._lock = Lock()
        self._waits = 0

    def begin(self, error: UnavailableError, left_s: float) -> None:
        """A call waits for that long at most."""
        with self._lock:
            self._waits += 1
            if self._on_wait is not None and self._waits == 1:
                self._on_wait(error, left_s)

    def end(self, waited_s: float | None) -> None:
        """A call got its answer, or, with None, gave up."""
        with self._lock:
            self._waits -= 1
            if self._on_wait is not None and self._waits == 0 and waited_s is not None:
                self._on_wait(None, waited_s)

    @contextmanager
    def watch(self, error: UnavailableError, left_s: float) -> Iterator[None]:
        """Tell of ``error`` if the block takes so long that somebody wonders, and may take longer."""
        if left_s <= _SLOW_S:
            yield
            return
        started = time.monotonic()
        is_slow = Event()

        def begin() -> None:
            is_slow.set()
            self.begin(error, left_s)

        timer = Timer(_SLOW_S, begin)
        timer.daemon = True
        timer.start()
        waited_s: float | None = None
        try:
            yield
            waited_s = time.monotonic() - started
        finally:
            timer.cancel()
            timer.join()
            if is_slow.is_set():
                self.end(waited_s)


def connect(
    address: ServerAddress,
    key: str | None,
    *,
    ca: Path | None = None,
    sleep: Callable[[float], None] = time.sleep,
    on_wait: OnWait | None = None,
) -> Connection:
    """Connect to a server or cluster, over gRPC or, if only the other port answers, over REST with a warning.

    ``ca`` is a PEM file with the authorities that may have signed its certificate; None: the usual ones. The
    address's patience counts for this call and for all later ones. Raises UnavailableError when no node
    answers, and HandsimError for a server too old, for something that is not Qdrant, and for a node that is
    not of the same cluster.
    """
    nodes = NodeClients.of(address, key, ca)
    connection = Connection(
        nodes, address.server, sleep=sleep, patience_s=address.patience_s, on_wait=on_wait
    )
    try:
        connection.open()
    except BaseException:
        connection.close()
        raise
    return connection

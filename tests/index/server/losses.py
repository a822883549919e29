"""Nodes of a small cluster that are killed at scripted moments, and come back while the work goes on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock, Timer
from typing import Any, Final

import pytest

from index.server.client import Connection
from tests.index.server.small_cluster import SmallCluster
from tests.index.server.small_node import NODES

AWAY_S: Final = 0.5
"""How long a node is away: for some time the others refuse much, then they go on without it, if they can."""


class Losses:
    """Kills one node after the other, each just before a call that this process makes to the cluster."""

    def __init__(self, cluster: SmallCluster, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cluster = cluster
        self.victims = 0
        self._moments: set[int] = set()
        self._calls = 0
        self._lock = Lock()
        self._return: tuple[int, Timer] | None = None
        for name in ("call", "read"):
            monkeypatch.setattr(Connection, name, self._strike_before(getattr(Connection, name)))

    def _strike_before(self, ask: Callable[[Connection, Any], Any]) -> Callable[[Connection, Any], Any]:
        def strike_and_ask(connection: Connection, request: Any) -> Any:
            self._strike()
            return ask(connection, request)

        return strike_and_ask

    @contextmanager
    def before(self, *calls: int) -> Iterator[None]:
        """Kill a node before each of these calls within the block, which must make so many."""
        with self._lock:
            self._calls, self._moments = 0, {*calls}
        yield
        assert not self._moments, f"{self._calls} calls were made"

    def kill(self, *, returns: bool = True) -> int:
        """Kill the next node once all are there; returns its number."""
        self.await_return()
        number = self.victims % NODES
        self.victims += 1
        self.cluster.kill(number)
        if returns:
            self._return = number, Timer(AWAY_S, self.cluster.start, (number,))
            self._return[1].start()
        return number

    def await_return(self) -> None:
        """Wait until no node is away."""
        if self._return is not None:
            number, timer = self._return
            timer.join()
            self.cluster.await_recovery(number)
            self._return = None

    def _strike(self) -> None:
        with self._lock:
            self._calls += 1
            if self._calls in self._moments:
                self._moments.remove(self._calls)
                self.kill()

"""Mining by several processes: the embedded engine answers on one core and holds Python's lock meanwhile."""

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError
from index import open_catalog
from index.version import IndexVersion

Answer = tuple[NDArray[np.uint64], NDArray[np.float32]]
"""Positives [n, K] and distances [n, K] of a batch of n hands."""
Ask = Callable[[IndexVersion, NDArray[np.uint64]], Answer]
"""What each process asks its version about a batch of hands; it must be picklable."""

_AHEAD: Final = 2
"""Batches a process holds: the one at hand, and one more so that it never waits."""


def ask_in_turn(
    address: str, name: str, batches: Sequence[NDArray[np.uint64]], ask: Ask, workers: int
) -> Iterator[Answer]:
    """What a version answers about each batch, in their order, by processes that open it each for itself.

    Batches go round by turns, so that the order needs no bookkeeping. Raises what a process met.
    """
    crew = [_Miner(address, name, ask) for _ in range(min(workers, len(batches)))]
    try:
        for number, batch in enumerate(batches[: _AHEAD * len(crew)]):
            crew[number % len(crew)].give(batch)
        for number in range(len(batches)):
            miner = crew[number % len(crew)]
            answer = miner.take()
            following = number + _AHEAD * len(crew)
            if following < len(batches):
                miner.give(batches[following])
            yield answer
    finally:
        for miner in crew:
            miner.stop()


class _Miner:
    """One process with the version open."""

    def __init__(self, address: str, name: str, ask: Ask) -> None:
        context = multiprocessing.get_context("spawn")  # neither engine survives a fork
        self._connection, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(
            target=_work, args=(theirs, address, name, ask), daemon=True
        )
        self._process.start()
        theirs.close()

    def give(self, batch: NDArray[np.uint64]) -> None:
        self._connection.send(batch)

    def take(self) -> Answer:
        try:
            message = self._connection.recv()
        except (EOFError, ConnectionError) as error:
            raise HandsimError(
                "a mining process died; what it said is above, or memory ran out: take fewer --workers"
            ) from error
        if isinstance(message, Exception):
            raise message
        answer: Answer = message
        return answer

    def stop(self) -> None:
        self._connection.close()
        self._process.terminate()
        self._process.join()


def _work(connection: Connection, address: str, name: str, ask: Ask) -> None:
    """A process's whole life: until the pipe is closed, or it is told to end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the main process, which ends this one
    try:
        with open_catalog(address) as catalog, catalog.open(name) as version:
            while True:
                connection.send(ask(version, connection.recv()))
    except (EOFError, ConnectionError):
        return
    except HandsimError as error:
        connection.send(error)

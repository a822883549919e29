"""Asking the index in a process of its own.

The embedded engine holds Python's lock while it answers, and a server's answers are unpacked under it: on a
thread of the trainer, both would stop it from sending work to the GPU. The process holds one version open
and needs no torch.
"""

import multiprocessing
import signal
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from threading import Lock
from typing import Final

import numpy as np
from numpy.typing import NDArray

from handsim.errors import HandsimError
from index import LiveIndex, open_catalog
from training.pairs.drawn import DrawnPairs
from training.pairs.hand_set import HandSet
from training.pairs.live import LiveNeighbors, PinnedVersion
from training.pairs.settings import PairSettings

_GOODBYE_S: Final = 1.0


class QueryProcess:
    """A `PairSource`: `LiveNeighbors` elsewhere, with the same answers."""

    def __init__(self, address: str, pinned: str | None, settings: PairSettings, pictured: HandSet) -> None:
        """Start it, on the index at an address, to stay in the version ``pinned`` if one is named.

        It takes a second to be ready; what goes wrong meanwhile is raised by the first `draw`.
        """
        context = multiprocessing.get_context("spawn")  # neither engine survives a fork
        self._connection, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(
            target=_work,
            args=(theirs, address, pinned, settings, pictured),
            daemon=True,
            name="handsim-pairs",
        )
        self._process.start()
        theirs.close()
        self._asking, self._sending = Lock(), Lock()

    def draw(self, anchors: NDArray[np.uint64], rng: np.random.Generator) -> DrawnPairs:
        """The pairs of anchors [B]; raises as `LiveNeighbors.draw`, and HandsimError if the process died."""
        try:
            with self._asking:
                with self._sending:
                    self._connection.send((anchors, rng))
                answer = self._connection.recv()
        except (EOFError, OSError) as error:
            raise HandsimError(
                "the process that asks the index died; what it said is above, or memory ran out: "
                "take fewer trainer.workers, or a smaller prefetch"
            ) from error
        if isinstance(answer, Exception):
            raise answer
        drawn: DrawnPairs = answer
        return drawn

    def close(self) -> None:
        """Have it say goodbye to the index, or else end it; a draw that another thread waits for fails."""
        try:
            with self._sending:
                self._connection.send(None)
        except OSError:
            pass  # it has ended already
        self._process.join(_GOODBYE_S)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()


def _work(
    connection: Connection, address: str, pinned: str | None, settings: PairSettings, pictured: HandSet
) -> None:
    """The process's whole life: until it is told to end, or the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the main process, which ends this one
    source: LiveNeighbors | None = None
    try:
        while (request := connection.recv()) is not None:
            try:
                # Opened here, where a server that is away can be told of, and come back.
                source = source or _open(address, pinned, settings, pictured)
                connection.send(source.draw(*request))
            except HandsimError as error:
                connection.send(error)
    except (EOFError, ConnectionError):
        pass
    finally:
        if source is not None:
            source.close()


def _open(address: str, pinned: str | None, settings: PairSettings, pictured: HandSet) -> LiveNeighbors:
    catalog = open_catalog(address)
    index = LiveIndex(catalog) if pinned is None else PinnedVersion(catalog.open(pinned))
    return LiveNeighbors(index, settings, pictured)

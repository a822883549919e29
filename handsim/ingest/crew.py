"""Worker processes that take items and give back results, and survive a file that kills one of them."""

import multiprocessing
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Final

from handsim.errors import HandsimError
from handsim.ingest.items import AnnotationItem, Item, ItemResult
from handsim.ingest.work import ItemWorker
from handsim.keypoints.detector import HandDetector
from handsim.pool import Skip

DetectorFactory = Callable[[], HandDetector]
"""Makes a worker's detector in the worker's own process; it must be picklable."""

QUEUE_DEPTH: Final = 2
"""Items a worker holds: the one at hand, and one more so that it never waits for the main process.
Items are small (a few kilobytes), so that handing one over never blocks."""


class Crew:
    """A fixed number of worker processes; a context manager.

    multiprocessing's own pools lose everything in flight when a worker dies; here only the item
    it died of is lost, and named.
    """

    def __init__(self, workers: int, make_detector: DetectorFactory) -> None:
        """Start the workers; each makes its own detector."""
        if workers < 1:
            raise HandsimError(f"--workers is {workers}; at least 1 is needed")
        self._make_detector = make_detector
        self._workers = [_Worker(make_detector) for _ in range(workers)]

    def run(self, items: Iterator[Item]) -> Iterator[ItemResult]:
        """Results in the order they are ready. Raises HandsimError when a detector cannot be made."""
        for worker in self._workers:
            worker.fill(items)
        while busy := [worker for worker in self._workers if worker.pending]:
            ready = wait([worker.connection for worker in busy])
            for worker in busy:
                if worker.connection not in ready:
                    continue
                try:
                    yield worker.receive()
                except (EOFError, ConnectionError):
                    yield self._replace(worker, items)
                    continue
                worker.fill(items)

    def _replace(self, dead: "_Worker", items: Iterator[Item]) -> ItemResult:
        """Start a worker in a dead one's place, with what the dead one had not begun."""
        dead.stop()
        if not dead.ready:
            raise HandsimError("a worker process died while starting; what it said is above")
        culprit, *rest = dead.pending
        worker = _Worker(self._make_detector)
        self._workers[self._workers.index(dead)] = worker
        worker.fill(chain(rest, items))
        return _crashed(culprit)

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.stop()


class _Worker:
    """One process and the items it holds, oldest first."""

    def __init__(self, make_detector: DetectorFactory) -> None:
        context = multiprocessing.get_context("spawn")  # MediaPipe's threads do not survive a fork
        self.connection, theirs = context.Pipe()
        self.pending: deque[Item] = deque()
        self.ready = False
        process = context.Process(target=_work, args=(theirs, make_detector), daemon=True)
        with _deaf_to_interrupts():
            process.start()
        theirs.close()
        self.process: BaseProcess = process

    def fill(self, items: Iterator[Item]) -> None:
        while len(self.pending) < QUEUE_DEPTH:
            item = next(items, None)
            if item is None:
                return
            self.pending.append(item)
            try:
                self.connection.send(item)
            except ConnectionError:
                return  # it just died; the next `receive` tells

    def receive(self) -> ItemResult:
        message = self.connection.recv()
        self.ready = True
        if isinstance(message, HandsimError):
            raise message
        self.pending.popleft()
        result: ItemResult = message
        return result

    def stop(self) -> None:
        self.connection.close()
        self.process.join(timeout=5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Ctrl-C is for the main process, which lets the workers finish; they inherit deafness from birth."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is ever interrupted
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _work(connection: Connection, make_detector: DetectorFactory) -> None:
    """A worker's whole life: until the main process closes the pipe, or is gone."""
    try:
        detector = make_detector()
    except HandsimError as error:
        connection.send(error)
        return
    worker = ItemWorker(detector)
    try:
        while True:
            connection.send(worker.process(connection.recv()))
    except (EOFError, ConnectionError):
        detector.close()


def _crashed(item: Item) -> ItemResult:
    if isinstance(item, AnnotationItem):
        files = [naming.file for _, _, naming in item.annotations]
    else:
        files = [item.naming.file]
    detail = "the process reading it died (a decoder crashed, or memory ran out)"
    skipped = [Skip(file, "crashed a worker", detail) for file in files]
    return ItemResult(item.key, pictures=item.pictures, skipped=skipped)

"""The worker processes of an ingest, which may die or hang of one item without losing another."""

import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain
from multiprocessing.connection import Connection, wait
from typing import Final

from handsim.detection.detector import HandDetector
from handsim.errors import HandsimError
from handsim.geometry import CROP_ENLARGEMENT
from handsim.ingest.items import AnnotationItem, Item, ItemResult, VideoItem
from handsim.ingest.report import TOOK_TOO_LONG
from handsim.ingest.worker import process_item
from handsim.pool.writer import CRASHED, Skip
from handsim.processes import PipeWorker, stop_workers

DetectorFactory = Callable[[], HandDetector]
"""Makes a worker's detector in the worker's own process; it must be picklable."""

PATIENCE_S: Final = 50.0
"""So long a worker may be silent over one picture or frame before it is ended."""
_SLOWEST_DECODING: Final = 5.0
"""Seconds that a second of video may take to decode."""
_QUEUE_DEPTH: Final = 2
"""Items a worker has: the one it works on, and one more so that it never waits for the main process.
Items are small (a few kilobytes), so that sending one never blocks."""
_WAKE_S: Final = 0.5
"""How often the main process looks for a stop and for workers that hang."""


class WorkerPool:
    """A fixed number of worker processes; a context manager.

    multiprocessing's own pools lose everything they work on when a process dies; here only the item that it
    died of is lost, and the result names it.
    """

    def __init__(
        self,
        workers: int,
        make_detector: DetectorFactory | None,
        patience_s: float = PATIENCE_S,
        enlargement: float = CROP_ENLARGEMENT,
    ) -> None:
        """Start the workers; each makes its own detector (None: no item needs one).

        Pictures of hands are ``enlargement`` times as long as the hand's box.
        """
        if workers < 1:
            raise HandsimError(f"--workers is {workers}; at least 1 is needed")
        self._make_detector, self._patience_s, self._enlargement = make_detector, patience_s, enlargement
        self._workers = [_Worker(make_detector, enlargement) for _ in range(workers)]

    def run(
        self, items: Iterator[Item | None], is_stopped: Callable[[], bool] = lambda: False
    ) -> Iterator[tuple[Item, ItemResult]]:
        """Items and results in the order they are ready, until all are or it ``is_stopped``.

        A None among the items: just now there is none; they are asked again when some result is there.
        Raises HandsimError when a detector cannot be made.
        """
        while not is_stopped():
            for worker in self._workers:
                worker.fill(items)
            busy = [worker for worker in self._workers if worker.pending]
            if not busy:
                return
            ready = wait([worker.connection for worker in busy], _WAKE_S)
            for worker in busy:
                if worker.connection not in ready:
                    if worker.is_hung(self._patience_s):
                        worker.process.kill()
                        yield self._replace(worker, items, TOOK_TOO_LONG)
                    continue
                try:
                    result = worker.receive()
                except (EOFError, ConnectionError):
                    if not is_stopped():  # a signal to the whole group ended it
                        yield self._replace(worker, items, CRASHED)
                    continue
                if result is not None:
                    yield result
                worker.fill(items)

    def _replace(self, dead: "_Worker", items: Iterator[Item | None], reason: str) -> tuple[Item, ItemResult]:
        """Start a worker in a dead one's place, with what the dead one had not begun."""
        dead.stop()
        if not dead.is_ready:
            raise HandsimError("a worker process died while starting; its own messages are above")
        culprit, *rest = dead.pending
        worker = _Worker(self._make_detector, self._enlargement)
        self._workers[self._workers.index(dead)] = worker
        worker.fill(chain(rest, items))
        return culprit, lost_result(culprit, reason)

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, *_: object) -> None:
        stop_workers(self._workers)


def silence_allowed_s(item: Item, has_begun: bool, patience_s: float) -> float:
    """How long nothing may come of an item: between two samples of a video there may be much to decode.

    ``has_begun`` says whether a sample of it came already.
    """
    if isinstance(item, VideoItem):
        # Without an index, a decoder begins at the beginning.
        samples = 1 if has_begun else 1 + item.start
        return patience_s + _SLOWEST_DECODING * samples / item.samples_per_s
    return patience_s


def lost_result(item: Item, reason: str) -> ItemResult:
    """What there is to say of an item that ended its worker; the reason is CRASHED or TOOK_TOO_LONG."""
    origins = item.origins if isinstance(item, AnnotationItem) else [item.origin]
    detail = "the process that read it ended before it was through"
    if reason == TOOK_TOO_LONG:
        detail = "no picture or frame came for so long that the process that read it was ended"
    skipped = [Skip(origin.file, reason, detail) for origin in origins]
    return ItemResult(item.keys.key, pictures=item.pictures, skipped=skipped)


class _Worker(PipeWorker):
    """One process and the items it was sent, oldest first."""

    def __init__(self, make_detector: DetectorFactory | None, enlargement: float) -> None:
        super().__init__(_process_items, make_detector, enlargement)
        self.pending: deque[Item] = deque()
        self.is_ready = False
        self.has_begun = False
        """Whether it has told of progress with its first pending item."""
        self._last_heard = time.monotonic()

    def is_hung(self, patience_s: float) -> bool:
        """Whether it has sent nothing for longer than its first pending item may take."""
        if not self.is_ready:
            return False  # it loads libraries and a model
        silent_s = time.monotonic() - self._last_heard
        return silent_s > silence_allowed_s(self.pending[0], self.has_begun, patience_s)

    def fill(self, items: Iterator[Item | None]) -> None:
        """Send it as many items as it may have."""
        if not self.pending:
            self._last_heard = time.monotonic()
        while len(self.pending) < _QUEUE_DEPTH:
            item = next(items, None)
            if item is None:
                return
            self.pending.append(item)
            try:
                self.connection.send(item)
            except ConnectionError:
                return  # it just died; the next `receive` raises

    def receive(self) -> tuple[Item, ItemResult] | None:
        """The next result; None for a sign of life: the detector is made, a frame is done."""
        message: ItemResult | HandsimError | None = self.connection.recv()
        self._last_heard = time.monotonic()
        if isinstance(message, HandsimError):
            raise message
        self.has_begun, self.is_ready = message is None and self.is_ready, True
        return None if message is None else (self.pending.popleft(), message)


def _process_items(connection: Connection, make_detector: DetectorFactory | None, enlargement: float) -> None:
    """In a worker process: receive items and send results; or send an error where no detector can be made."""
    signal.signal(
        signal.SIGTERM, signal.SIG_IGN
    )  # as Ctrl-C, it is for the main process, which then ends this
    try:
        detector = make_detector() if make_detector is not None else None
    except HandsimError as error:
        connection.send(error)
        return
    try:
        connection.send(None)
        while True:
            item = connection.recv()
            connection.send(process_item(item, detector, lambda: connection.send(None), enlargement))
    finally:
        if detector is not None:
            detector.close()

"""Run an ingest: plan, share out, collect, publish, report.

Worker processes that take items and give back results, and survive a file that kills one of them.

What an ingest found, and what it could not use.
"""

import json
import multiprocessing
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any, Final

from handsim.detection.detector import HandDetector
from handsim.errors import HandsimError, UnusableError
from handsim.files import write_text_atomically
from handsim.ingest.plan import (
    AnnotationItem,
    IngestOptions,
    Item,
    ItemResult,
    Plan,
    annotation_items,
    plan_ingest,
)
from handsim.ingest.worker import ItemWorker
from handsim.pool import ItemRecord, PoolWriter, Skip, read_items
from handsim.processes import available_cores

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


@dataclass(eq=False)
class IngestReport:
    """One ingest, over everything below the paths that were named, whenever it was looked at."""

    paths: list[str]
    """What the user named."""
    pictures: int = 0
    """Pictures, expected frames and annotations in all."""
    done_before: int = 0
    """Of these, looked at by an earlier run."""
    done_now: int = 0
    """Of these, looked at by this run."""
    hands_found: int = 0
    """Hands this run found."""
    hands_new: int = 0
    """Of these, hands the pool did not have yet."""
    hands_in_pool: int = 0
    """All hands of the pool, after this run."""
    seconds: float = 0.0
    """How long this run took."""
    interrupted: bool = False
    """Whether it was stopped before the end; running it again goes on from there."""
    rungs: dict[str, int] = field(default_factory=dict)
    """How many hands each try of the detector's ladder found in this run."""
    skipped: list[Skip] = field(default_factory=list)
    """What could not be used and why, a line per file and reason."""

    def reasons(self) -> dict[str, int]:
        """How many pictures (or files) each reason cost, most first."""
        counts: Counter[str] = Counter()
        for skip in self.skipped:
            counts[skip.reason] += skip.count
        return dict(counts.most_common())

    def merged_skips(self) -> list[Skip]:
        """One line per file and reason: stretches of one video are told together."""
        merged: dict[tuple[str, str], Skip] = {}
        for skip in self.skipped:
            known = merged.get((skip.file, skip.reason))
            count = skip.count + (known.count if known else 0)
            detail = known.detail if known else skip.detail
            merged[skip.file, skip.reason] = Skip(skip.file, skip.reason, detail, count)
        return sorted(merged.values(), key=lambda skip: (skip.reason, skip.file))

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        facts = {name: value for name, value in asdict(self).items() if name != "skipped"}
        return {
            **facts,
            "reasons": self.reasons(),
            "skipped": [asdict(skip) for skip in self.merged_skips()],
        }

    def save(self, path: Path) -> None:
        """Write it as JSON, atomically."""
        write_text_atomically(path, json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n")


Progress = Callable[[IngestReport], None]
"""Called after every item with the report so far."""


def ingest(
    paths: Sequence[str | Path],
    pool: str | Path,
    make_detector: DetectorFactory,
    options: IngestOptions | None = None,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> IngestReport:
    """Put the hands of pictures, videos and Hand100M annotations into a pool, and say what could not be used.

    What an earlier run has done is not done again. Ctrl-C ends it cleanly: what was
    found is kept, and ``interrupted`` is set. ``workers`` is the number of detecting processes (default: one
    per core). Raises NotThereError at once for a path that does not exist, HandsimError when the pool is
    being written by another process or a detector cannot be made. Nothing about a file is raised.
    """
    options = options or IngestOptions()
    started = time.monotonic()
    plan = plan_ingest([Path(path) for path in paths], options)
    report = IngestReport([str(path) for path in paths], pictures=plan.pictures, skipped=list(plan.unusable))
    with PoolWriter(pool) as writer, _interruptible() as interrupted:
        done_before: set[int] = set()
        items = _open_items(plan, options, writer.known_items, done_before, report)
        first = list(islice(items, 1))
        if first:
            with Crew(available_cores() if workers is None else workers, make_detector) as crew:
                for result in crew.run(chain(first, items)):
                    _take(writer, report, result)
                    report.seconds = time.monotonic() - started
                    if progress is not None:
                        progress(report)
                    if interrupted():
                        report.interrupted = True
                        break
        report.hands_in_pool = writer.hand_count
    for record in read_items(Path(pool)):
        if record.key in done_before:
            report.done_before += record.pictures
            report.skipped.extend(record.skipped)
    report.seconds = time.monotonic() - started
    return report


def _open_items(
    plan: Plan, options: IngestOptions, known: set[int], done_before: set[int], report: IngestReport
) -> Iterator[Item]:
    """The items still to do; keys of those done by an earlier run go to ``done_before``."""
    known = set(known)  # as of now: the writer adds to its own while this runs
    for item in chain(plan.files, _annotations(plan, options, report)):
        if item.key in known:
            done_before.add(item.key)
        else:
            yield item


def _annotations(plan: Plan, options: IngestOptions, report: IngestReport) -> Iterator[Item]:
    for json_file in plan.annotation_files:
        try:
            yield from annotation_items(json_file, options)
        except UnusableError as error:
            report.skipped.append(Skip(json_file.file, error.reason, error.detail))


def _take(writer: PoolWriter, report: IngestReport, result: ItemResult) -> None:
    """Put one result into the pool and into the report."""
    record = ItemRecord(result.key, result.pictures, len(result.hands), tuple(result.skipped))
    report.hands_new += writer.add_item(record, result.hands)
    report.hands_found += len(result.hands)
    report.done_now += result.pictures
    report.skipped.extend(result.skipped)
    report.rungs = dict(Counter(report.rungs) + Counter(result.rungs))


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Let the first Ctrl-C finish the item at hand, so that it never strikes in the middle of a write.

    Yields a function that says whether it was pressed. A second one interrupts as usual.
    """
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed.is_set
        return

    def on_interrupt(_signal: int, _frame: FrameType | None) -> None:
        pressed.set()
        signal.signal(signal.SIGINT, previous)

    previous = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, previous)

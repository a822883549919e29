"""Run an ingest: plan, share the items out to worker processes, put their hands into the pool, report."""

import json
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import chain
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType
from typing import Any, Final

from handsim.annotations.pictures import PictureFinder
from handsim.detection.detector import HandDetector
from handsim.errors import HandsimError, UnusableError
from handsim.files import write_text_atomically
from handsim.ingest.annotation_items import annotation_items
from handsim.ingest.items import AnnotationItem, Item, ItemResult
from handsim.ingest.origins import IngestOptions
from handsim.ingest.plan import Plan, plan_ingest
from handsim.ingest.worker import process_item
from handsim.pool.writer import CRASHED, ItemRecord, PoolWriter, Skip, read_items
from handsim.processes import PipeWorker, available_cores

DetectorFactory = Callable[[], HandDetector]
"""Makes a worker's detector in the worker's own process; it must be picklable."""

_QUEUE_DEPTH: Final = 2
"""Items a worker has: the one it works on, and one more so that it never waits for the main process.
Items are small (a few kilobytes), so that sending one never blocks."""


@dataclass(eq=False)
class IngestReport:
    """One ingest, over everything below the paths that were named, whenever it was looked at."""

    paths: list[str]
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
    interrupted: bool = False
    """Whether it was stopped before the end; running it again goes on from there."""
    stages: Counter[str] = field(default_factory=Counter)
    """How many hands each try of the detector found in this run."""
    skipped: list[Skip] = field(default_factory=list)
    """What could not be used and why, a line per file and reason."""

    def reasons(self) -> dict[str, int]:
        """How many pictures (or files) each reason cost, most first."""
        counts: Counter[str] = Counter()
        for skip in self.skipped:
            counts[skip.reason] += skip.count
        return dict(counts.most_common())

    def merged_skips(self) -> list[Skip]:
        """One line per file and reason, also for a video of several stretches."""
        merged: dict[tuple[str, str], Skip] = {}
        for skip in self.skipped:
            first = merged.setdefault((skip.file, skip.reason), skip)
            if first is not skip:
                count = first.count + skip.count
                merged[skip.file, skip.reason] = Skip(skip.file, skip.reason, first.detail, count)
        return sorted(merged.values(), key=lambda skip: (skip.reason, skip.file))

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        values = dict(vars(self))
        values["rungs"] = dict(values.pop("stages"))  # as reports on disk call it
        values["reasons"] = self.reasons()
        values["skipped"] = [asdict(skip) for skip in self.merged_skips()]
        return values

    def save(self, path: Path) -> None:
        """Write it as JSON, atomically."""
        write_text_atomically(path, json.dumps(self.to_json(), indent=1, ensure_ascii=False) + "\n")


def ingest(
    paths: Sequence[str | Path],
    pool: str | Path,
    make_detector: DetectorFactory,
    options: IngestOptions | None = None,
    *,
    workers: int | None = None,
    progress: Callable[[IngestReport], None] | None = None,
) -> IngestReport:
    """Put the hands of pictures, videos and annotations into a pool, and say what could not be used.

    What an earlier run has done is not done again; what failed then is tried again. Ctrl-C ends it cleanly:
    the pool has what was found, and ``interrupted`` is set. ``workers`` is the number of detecting processes
    (default: one per core); ``progress`` is called after every item with the report so far. Raises
    NotThereError at once for a path that does not exist, HandsimError when the pool is being written by
    another process or a detector cannot be made. Nothing about a file is raised.
    """
    options = options or IngestOptions()
    started = time.monotonic()
    plan = plan_ingest([Path(path) for path in paths], options)
    report = IngestReport([str(path) for path in paths], pictures=plan.pictures, skipped=list(plan.unusable))
    with PoolWriter(pool) as writer, _interruptible() as is_interrupted:
        done_before: set[int] = set()
        items = _open_items(plan, options, writer.known_items, done_before, report)
        needs_detector = bool(plan.files) or options.annotations.boxes
        for result in _process(items, workers, make_detector if needs_detector else None):
            _store(result, writer, report)
            report.seconds = time.monotonic() - started
            if progress is not None:
                progress(report)
            if is_interrupted():
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
        if recorded := known.intersection(item.keys):
            done_before |= recorded
        else:
            yield item


def _process(
    items: Iterator[Item], workers: int | None, make_detector: DetectorFactory | None
) -> Iterator[ItemResult]:
    """Results of all items. Keypoints without pictures take less time to put together than to share out."""
    for item in items:
        if isinstance(item, AnnotationItem) and not item.has_pictures:
            yield process_item(item, None)
            continue
        with WorkerPool(available_cores() if workers is None else workers, make_detector) as worker_pool:
            yield from worker_pool.run(chain([item], items))


def _annotations(plan: Plan, options: IngestOptions, report: IngestReport) -> Iterator[Item]:
    """The items of all files of annotations; how many hands a file has is estimated while it is read."""
    finders: dict[Path, PictureFinder] = {}
    for file in plan.annotation_files:
        folder = options.images or file.path.parent
        finder = finders.setdefault(folder, PictureFinder(folder))
        before, hands = report.pictures, 0
        try:
            for item in annotation_items(file, finder, options):
                hands += item.pictures
                report.pictures = before + round(hands / file.share_read)
                yield item
        except UnusableError as error:
            report.skipped.append(Skip(str(file.file), error.reason, error.detail))
        report.pictures = before + hands


def _store(result: ItemResult, writer: PoolWriter, report: IngestReport) -> None:
    """Put one result into the pool and into the report."""
    if result.has_failed:  # without a record of it, the next run tries it again
        report.hands_new += sum(writer.add(hand, crop_jpeg) for hand, crop_jpeg in result.hands)
    else:
        record = ItemRecord(result.key, result.pictures, len(result.hands), tuple(result.skipped))
        report.hands_new += writer.add_item(record, result.hands)
    report.hands_found += len(result.hands)
    report.done_now += result.pictures
    report.skipped.extend(result.skipped)
    report.stages.update(result.stages)


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


class WorkerPool:
    """A fixed number of worker processes; a context manager.

    multiprocessing's own pools lose everything they work on when a process dies; here only the item that it
    died of is lost, and the result names it.
    """

    def __init__(self, workers: int, make_detector: DetectorFactory | None) -> None:
        """Start the workers; each makes its own detector (None: no item needs one)."""
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
                    result = worker.receive()
                except (EOFError, ConnectionError):
                    yield self._replace(worker, items)
                    continue
                if result is not None:
                    yield result
                worker.fill(items)

    def _replace(self, dead: "_Worker", items: Iterator[Item]) -> ItemResult:
        """Start a worker in a dead one's place, with what the dead one had not begun."""
        dead.stop()
        if not dead.is_ready:
            raise HandsimError("a worker process died while starting; its own messages are above")
        culprit, *rest = dead.pending
        worker = _Worker(self._make_detector)
        self._workers[self._workers.index(dead)] = worker
        worker.fill(chain(rest, items))
        return _crash_result(culprit)

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.stop()


class _Worker(PipeWorker):
    """One process and the items it was sent, oldest first."""

    def __init__(self, make_detector: DetectorFactory | None) -> None:
        super().__init__(_process_items, make_detector)
        self.pending: deque[Item] = deque()
        self.is_ready = False

    def fill(self, items: Iterator[Item]) -> None:
        while len(self.pending) < _QUEUE_DEPTH:
            item = next(items, None)
            if item is None:
                return
            self.pending.append(item)
            try:
                self.connection.send(item)
            except ConnectionError:
                return  # it just died; the next `receive` raises

    def receive(self) -> ItemResult | None:
        """The next result; None for the first message, which says that the detector is made."""
        message: ItemResult | HandsimError | None = self.connection.recv()
        if isinstance(message, HandsimError):
            raise message
        self.is_ready = True
        if message is not None:
            self.pending.popleft()
        return message


def _process_items(connection: Connection, make_detector: DetectorFactory | None) -> None:
    """In a worker process: receive items and send results; or send an error where no detector can be made."""
    try:
        detector = make_detector() if make_detector is not None else None
    except HandsimError as error:
        connection.send(error)
        return
    try:
        connection.send(None)
        while True:
            connection.send(process_item(connection.recv(), detector))
    finally:
        if detector is not None:
            detector.close()


def _crash_result(item: Item) -> ItemResult:
    origins = [row.origin for row in item.rows] if isinstance(item, AnnotationItem) else [item.origin]
    detail = "the process that read it ended before it was through; the next run tries it again"
    skipped = [Skip(origin.file, CRASHED, detail) for origin in origins]
    return ItemResult(item.keys.key, pictures=item.pictures, skipped=skipped)

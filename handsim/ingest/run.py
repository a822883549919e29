"""Run an ingest: plan, share out, collect, publish, report."""

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from types import FrameType

from handsim.cores import available_cores
from handsim.ingest.crew import Crew, DetectorFactory
from handsim.ingest.items import Item, ItemResult
from handsim.ingest.options import IngestOptions
from handsim.ingest.plan import Plan, annotation_items, plan_ingest
from handsim.ingest.report import IngestReport
from handsim.media.unusable import UnusableError
from handsim.pool import ItemRecord, PoolWriter, Skip, read_items

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

"""Run an ingest: plan, share the items out to worker processes, put their hands into the pool, report."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import chain, starmap
from pathlib import Path
from typing import Final

import pyarrow as pa

from handsim.annotations.pictures import PictureFinder
from handsim.cluster import ClusterOptions
from handsim.english import pluralize
from handsim.errors import UnusableError
from handsim.geometry import POOL_ENLARGEMENT
from handsim.ingest.again import EarlierWork
from handsim.ingest.annotation_items import annotation_items
from handsim.ingest.clashes import note_clashes
from handsim.ingest.items import AnnotationItem, Item, ItemResult, PictureItem, VideoItem, record_file
from handsim.ingest.known import KnownItems
from handsim.ingest.naming import Renaming
from handsim.ingest.origins import IngestOptions
from handsim.ingest.plan import plan_ingest
from handsim.ingest.ray_workers import RayWorkerPool
from handsim.ingest.report import NO_SIDE_REMEDY, UNLABELLED_REMEDY, IngestReport
from handsim.ingest.tar_items import tar_items
from handsim.ingest.tracks import TrackJoiner
from handsim.ingest.worker import process_item
from handsim.ingest.workers import PATIENCE_S, DetectorFactory, WorkerPool
from handsim.pool.relabel import relabel
from handsim.pool.writer import ItemRecord, PoolWriter, Skip
from handsim.processes import StopRequest, available_cores

_KINDS: Final = {PictureItem: "pictures", VideoItem: "frames of videos", AnnotationItem: "annotations"}

_MOST_PATHS_FOR_NODES: Final = 1000
"""Paths that the nodes of a cluster are asked about."""


def ingest(
    paths: Sequence[str | Path],
    pool: str | Path,
    make_detector: DetectorFactory,
    options: IngestOptions | None = None,
    *,
    workers: int | None = None,
    cluster: ClusterOptions | None = None,
    patience_s: float = PATIENCE_S,
    dry_run: bool = False,
    progress: Callable[[IngestReport], None] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> IngestReport:
    """Put the hands of pictures, videos and annotations into a pool, and say what could not be used.

    What an earlier run has done is not done again, but renamed where ``video_from`` or ``label_from`` ask for
    it, which ``say`` is told before; what failed then is tried again. Ctrl-C and SIGTERM end it cleanly: the
    pool has what was found, and ``interrupted`` is set. ``workers`` is the number of detecting processes
    (default: one for each core of this machine, or of the Ray ``cluster``); one that is silent over a picture
    for ``patience_s`` is ended. ``progress`` is called after every item with the report so far; with
    ``dry_run`` nothing is written and no detector made. Raises NotThereError at once for a path that does not
    exist, HandsimError when the pool is being written by another process, a detector cannot be made, or the
    cluster is away, unfit or lost. Nothing about a file is raised.
    """
    run = _Run([Path(path) for path in paths], Path(pool), options or IngestOptions(), dry_run, say)
    stop = StopRequest()
    # Only the main thread may handle signals, and only it is ever interrupted.
    is_main = threading.current_thread() is threading.main_thread()
    with stop if is_main else nullcontext():
        run.rename()
        if dry_run:
            run.count_work()
        else:
            run.detect(make_detector, workers, cluster, patience_s, progress, stop)
            run.rename()
    run.finish()
    return run.report


class _Run:
    """One ingest, step by step."""

    def __init__(
        self,
        paths: Sequence[Path],
        pool: Path,
        options: IngestOptions,
        dry_run: bool,
        say: Callable[[str], None],
    ) -> None:
        """Make the plan, and leave out of it what is done."""
        self._started = time.monotonic()
        self._paths, self._pool, self._options, self._say = paths, pool, options, say
        known = self._known = KnownItems(pool)
        self._plan = plan_ingest(paths, options, known)
        self.report = IngestReport(
            [str(path) for path in paths],
            pictures=self._plan.pictures,
            shard=None if options.shard is None else str(options.shard),
            dry_run=dry_run,
            findings=self._plan.findings,
        )
        self._earlier = EarlierWork(known, options, self.report)
        self._open_files = [item for item in self._plan.files if not self._earlier.covers(item)]
        self._joiner = TrackJoiner(self._plan.files, self._open_files, known, options.min_motion, self.report)
        self._annotated: set[Path | None] = set()
        """Pictures that annotations name, where pictures are to be looked at as well."""
        self._digests: dict[str, str] = {}
        """Of the pictures that this run looked at: their digest, and the name of the first such file."""
        self._first_known = ""
        """The first file with hands that the pool had already."""
        self._known_hands = 0

    def rename(self) -> None:
        """Rename hands that are in the pool already, after saying how many."""
        renaming = self._earlier.renaming
        count = renaming.find(self._pool)
        if count:
            videos = len(set(renaming.videos.values()))
            named, labelled = (
                f"{pluralize(len(names), 'gets', 'get')} another"
                for names in (renaming.videos, renaming.labels)
            )
            what = [f"{named} video name (of {videos:,})"] * bool(videos)
            what += [f"{labelled} label"] * bool(renaming.labels)
            hands = pluralize(count, "hand is", "hands are")
            if self.report.dry_run:
                hands = f"{pluralize(count, 'hand')} would be"
            self._say(f"{hands} renamed: {', '.join(what)}")
            self.report.hands_renamed += count
        if not self.report.dry_run:
            if count:
                relabel(self._pool, renaming.videos, renaming.labels)
            records = list(self._earlier.renamed_records())
            if records:
                with PoolWriter(self._pool, crop_enlargement=POOL_ENLARGEMENT) as writer:
                    for record in records:
                        writer.add_item(record, [])
        self._earlier.renaming = Renaming()

    def count_work(self) -> None:
        """Count what would be looked at."""
        for item in self._open_items():
            if not isinstance(item, ItemRecord):
                self.report.to_do[_KINDS[type(item)]] += item.pictures

    def detect(
        self,
        make_detector: DetectorFactory | None,
        workers: int | None,
        cluster: ClusterOptions | None,
        patience_s: float,
        progress: Callable[[IngestReport], None] | None,
        stop: StopRequest,
    ) -> None:
        """Look at what is still to do, and put into the pool what comes of it."""
        with PoolWriter(self._pool, crop_enlargement=POOL_ENLARGEMENT) as writer:
            enlargement = writer.crop_enlargement
            items = self._record_known(self._open_items(), writer)
            has_pictures = bool(self._open_files or self._plan.tars)
            needs_detector = has_pictures or self._options.annotations.boxes
            make = make_detector if needs_detector else None
            open_workers: Callable[[], WorkerPool | RayWorkerPool]
            if cluster is None:
                count = available_cores() if workers is None else workers
                open_workers = partial(WorkerPool, count, make, patience_s, enlargement)
            else:
                paths = self._paths_for_nodes()
                open_workers = partial(
                    RayWorkerPool, cluster, workers, make, paths, patience_s, self._say, enlargement
                )
            results = _process(self._joiner.throttle(items), open_workers, enlargement, stop)
            for item, result in chain.from_iterable(starmap(self._joiner.add, results)):
                self._store(item, result, writer)
                self.report.seconds = time.monotonic() - self._started
                if progress is not None:
                    progress(self.report)
            if writer.removed_found:
                remedy = "nothing; or handsim pool restore"
                self.report.findings.note("hands that were removed", "", remedy, writer.removed_found)
            self.report.interrupted = stop.requested
            self.report.hands_in_pool = writer.hand_count

    def finish(self) -> None:
        """Tell what is only to be seen in the end."""
        if self._known_hands:
            remedy = "nothing: found before in the same content"
            self.report.findings.note(
                "hands in the pool already", self._first_known, remedy, self._known_hands
            )
        if not self.report.dry_run:
            note_clashes(self._pool, self.report.findings)
        self.report.seconds = time.monotonic() - self._started

    def _open_items(self) -> Iterator[Item | ItemRecord]:
        """What is still to do, or only to record."""
        for item in chain(self._open_annotations(), self._open_files, self._open_tars()):
            if isinstance(item, PictureItem) and item.path in self._annotated:
                remedy = "nothing: its hands are those of the annotations"
                self.report.findings.note("annotated picture", item.origin.file, remedy)
                self.report.pictures -= item.pictures
            else:
                yield self._earlier.settle(item)

    def _open_annotations(self) -> Iterator[Item]:
        """The items of all files of annotations; how many hands a file has is estimated while it is read."""
        finders: dict[Path, PictureFinder] = {}
        for file in self._plan.annotation_files:
            folder = (self._options.images or file.root).resolve()
            finder = finders.setdefault(folder, PictureFinder(folder))
            before, hands = self.report.pictures, 0
            try:
                for number, item in enumerate(annotation_items(file, finder, self._options)):
                    if self._open_files:
                        self._annotated.update(row.picture for row in item.rows)
                    if self._options.shard and not self._options.shard.has(file.path.name, number):
                        continue
                    hands += item.pictures
                    self.report.pictures = before + round(hands / file.share_read)
                    if not self._earlier.covers(item):
                        yield item
            except UnusableError as error:
                self.report.skipped.append(Skip(str(file.file), error.reason, error.detail))
            self.report.pictures = before + hands

    def _open_tars(self) -> Iterator[Item]:
        """The pictures in tars; how many a tar has is estimated while it is looked through."""
        for tar in self._plan.tars:
            before, pictures = self.report.pictures, 0
            for item in tar_items(tar, self._options, self._known, self._plan.findings):
                pictures += 1
                self.report.pictures = before + round(pictures / tar.share_read)
                if not self._earlier.covers(item):
                    yield item
            self.report.pictures = before + pictures

    def _record_known(self, items: Iterator[Item | ItemRecord], writer: PoolWriter) -> Iterator[Item]:
        """The items to look at; the others are recorded."""
        for item in items:
            if isinstance(item, ItemRecord):
                writer.add_item(item, [])
                self._joiner.pass_over(item.key, item.tracks)
            else:
                yield item

    def _paths_for_nodes(self) -> list[Path]:
        """What every node of a cluster must see: the input, and of each folder a file, which tells a shared
        folder from an empty one that nothing is mounted on."""
        files = [item.path for item in self._open_files if not isinstance(item, AnnotationItem)]
        files += [tar.path for tar in self._plan.tars]
        folders = {path.parent: path for path in files}
        images = [] if self._options.images is None else [self._options.images]
        return [*self._paths, *images, *folders.values()][:_MOST_PATHS_FOR_NODES]

    def _store(self, item: Item, result: ItemResult, writer: PoolWriter) -> None:
        """Put one result into the pool and into the report."""
        report = self.report
        if result.has_failed:  # without a record of it, the next run tries it again
            new = sum(writer.add(hand, crop_jpeg) for hand, crop_jpeg in result.hands)
        else:
            new = writer.add_item(_record(item, result), result.hands)
        is_repeated = isinstance(item, AnnotationItem) and (new > 0 or result.has_failed)
        if new < len(result.hands) and not is_repeated:  # a batch is done again for one late picture
            self._first_known = self._first_known or result.hands[0][0].file
            self._known_hands += len(result.hands) - new
        for hand, _ in result.hands:
            if not hand.joint_mask.all():
                self.report.findings.note("hands with unlabelled joints", hand.file, UNLABELLED_REMEDY)
            if hand.side == "unknown":
                self.report.findings.note("hands of unknown side", hand.file, NO_SIDE_REMEDY)
        report.hands_new += new
        report.hands_found += len(result.hands)
        report.done_now += result.pictures
        report.skipped.extend(result.skipped)
        report.remarks.extend(result.remarks)
        report.stages.update(result.stages)
        report.detectors.update(result.detectors)
        if result.digest and isinstance(item, PictureItem):
            self._note_copy(item, result.digest)

    def _note_copy(self, item: PictureItem, digest: str) -> None:
        first = self._digests.setdefault(digest, item.origin.file)
        if first == item.origin.file:
            first = self._earlier.find_copy(item, digest)
        if first:
            remedy = "nothing: mining does not pair copies"
            self.report.findings.note("copy of a picture", f"{item.origin.file} is {first}", remedy)


def _process(
    items: Iterator[Item | None],
    open_workers: Callable[[], WorkerPool | RayWorkerPool],
    enlargement: float,
    stop: StopRequest,
) -> Iterator[tuple[Item, ItemResult]]:
    """Items and results. Keypoints without pictures take less time to put together than to share out."""
    for item in items:
        if isinstance(item, AnnotationItem) and not item.has_pictures:
            yield item, process_item(item, None, enlargement=enlargement)
        elif item is not None:
            with open_workers() as worker_pool:
                # pyarrow loads pandas, if that is installed, for its first array: now nobody waits for it.
                pa.array([])
                yield from worker_pool.run(chain([item], items), lambda: stop.requested)
        if stop.requested:
            return


def _record(item: Item, result: ItemResult) -> ItemRecord:
    file = None
    if isinstance(item, VideoItem) or (isinstance(item, PictureItem) and result.digest):
        file = record_file(item, result.digest)
    return ItemRecord(
        result.key,
        result.pictures,
        len(result.hands),
        tuple(result.skipped),
        tuple(result.remarks),
        tuple(hand.hand_id for hand, _ in result.hands),
        file,
        result.tracks,
    )

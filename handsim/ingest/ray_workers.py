"""The workers of an ingest on a Ray cluster: as `handsim.ingest.workers.WorkerPool`, on many machines."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from socket import gethostname
from typing import Final

from handsim.cluster import TRIES, ClusterOptions, ClusterWorkers, Lost
from handsim.detection.detector import HandDetector
from handsim.geometry import CROP_ENLARGEMENT
from handsim.ingest.items import Item, ItemResult, PictureItem
from handsim.ingest.report import TOOK_TOO_LONG
from handsim.ingest.worker import process_item
from handsim.ingest.workers import PATIENCE_S, DetectorFactory, lost_result, silence_allowed_s
from handsim.pool.writer import CRASHED, UNREADABLE

_QUESTIONS_IN_PATIENCE: Final = 10
"""So often a worker is asked, within the time that it may be silent, whether it hangs."""
_GROUP_S: Final = 0.3
"""Pictures for so long are sent together: more would be lost with a worker, or be late at a stop."""
_MOST_IN_GROUP: Final = 16

_Group = tuple[Item, ...]


@dataclass(frozen=True, eq=False)
class _GroupResult:
    """What came of each item of a group."""

    results: list[ItemResult]
    seconds: float


class RayWorkerPool:
    """Workers on all nodes of a Ray cluster; a context manager.

    Pictures are sent some at a time: Ray takes 2 ms to pass on a task, a tenth of what a small picture takes.
    Those whose worker died or hung are tried again one by one, so that it is known which of them did it.
    """

    def __init__(
        self,
        cluster: ClusterOptions,
        workers: int | None,
        make_detector: DetectorFactory | None,
        paths: Sequence[Path],
        patience_s: float = PATIENCE_S,
        say: Callable[[str], None] = lambda line: None,
        enlargement: float = CROP_ENLARGEMENT,
    ) -> None:
        """Begin to start the workers, each with its own detector (None: no item needs one).

        Pictures of hands are ``enlargement`` times as long as the hand's box. The other arguments are those
        of `ClusterWorkers`, and it raises as that does.
        """
        self._workers: ClusterWorkers[_Group, _GroupResult] = ClusterWorkers(
            cluster,
            _WorkerFactory(make_detector, patience_s, enlargement),
            most_workers=workers,
            tries=1,
            paths=paths,
            ask_every_s=patience_s / _QUESTIONS_IN_PATIENCE,
            say=say,
        )
        self._group_size = 1
        self._again: deque[Item] = deque()
        """Items that are tried alone, because they were in a group or a worker that was lost."""
        self._losses: Counter[int] = Counter()
        """How often an item was lost, by its key. Once may be a neighbour's doing, twice that of a node."""

    def run(
        self, items: Iterator[Item | None], is_stopped: Callable[[], bool] = lambda: False
    ) -> Iterator[tuple[Item, ItemResult]]:
        """Items and results in the order they are ready, until all are or it ``is_stopped``.

        A None among the items: just now there is none; they are asked again when some result is there.
        Raises as `ClusterWorkers.run`; an error of a worker is that it cannot make its detector.
        """
        for group, done in self._workers.run(self._groups(items), is_stopped):
            if not isinstance(done, Lost):
                fitting = _GROUP_S * len(group) / max(done.seconds, 1e-3)
                self._group_size = max(1, min(_MOST_IN_GROUP, int(fitting)))
                yield from zip(group, done.results, strict=True)
                continue
            for item in group:
                self._losses[item.keys.key] += 1
                if len(group) == 1 and (done.is_hung or self._losses[item.keys.key] == TRIES):
                    yield item, lost_result(item, TOOK_TOO_LONG if done.is_hung else CRASHED)
                else:
                    self._again.append(item)

    def _groups(self, items: Iterator[Item | None]) -> Iterator["_Group | None"]:
        """What to send next; None: nothing just now."""
        left_over: Item | None = None
        while True:
            if self._again:
                yield (self._again.popleft(),)
                continue
            item, left_over = left_over or next(items, None), None
            if item is None:
                yield None
                continue
            group = [item]
            while isinstance(group[-1], PictureItem) and len(group) < self._group_size:
                following = next(items, None)
                if not isinstance(following, PictureItem):
                    left_over = following
                    break
                group.append(following)
            yield tuple(group)

    def __enter__(self) -> "RayWorkerPool":
        return self

    def __exit__(self, *_: object) -> None:
        self._workers.__exit__()


@dataclass(frozen=True)
class _WorkerFactory:
    """Makes a worker, in its own process."""

    make_detector: DetectorFactory | None
    patience_s: float
    enlargement: float

    def __call__(self) -> "_ItemWorker":
        return _ItemWorker(self.make_detector and self.make_detector(), self.patience_s, self.enlargement)


class _ItemWorker:
    """Processes items, one after the other."""

    def __init__(self, detector: HandDetector | None, patience_s: float, enlargement: float) -> None:
        self._detector, self._patience_s, self._enlargement = detector, patience_s, enlargement
        self._item: Item | None = None
        self._has_begun = False
        self._last_sign_s = 0.0

    def process(self, group: _Group) -> _GroupResult:
        """What comes of each item."""
        started_s = time.monotonic()
        results = [self._process(item) for item in group]
        return _GroupResult(results, time.monotonic() - started_s)

    def _process(self, item: Item) -> ItemResult:
        self._has_begun, self._last_sign_s = False, time.monotonic()
        self._item = item
        try:
            result = process_item(item, self._detector, self._note_progress, self._enlargement)
        finally:
            self._item = None
        # What one node cannot read others may: the report says which one it was.
        result.skipped = [
            replace(skip, detail=f"{skip.detail} (on {gethostname()})") if skip.reason == UNREADABLE else skip
            for skip in result.skipped
        ]
        return result

    def is_hung(self) -> bool:
        """Whether no picture or frame came of the item for longer than it may take."""
        item = self._item
        if item is None:
            return False
        silent_s = time.monotonic() - self._last_sign_s
        return silent_s > silence_allowed_s(item, self._has_begun, self._patience_s)

    def _note_progress(self) -> None:
        self._has_begun, self._last_sign_s = True, time.monotonic()

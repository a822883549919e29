"""The workers of an ingest on a Ray cluster: as `handsim.ingest.workers.WorkerPool`, on many machines."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from socket import gethostname
from typing import Final

from handsim.cluster import ClusterOptions, ClusterWorkers, Lost
from handsim.detection.detector import HandDetector
from handsim.ingest.items import Item, ItemResult
from handsim.ingest.report import TOOK_TOO_LONG
from handsim.ingest.worker import process_item
from handsim.ingest.workers import PATIENCE_S, DetectorFactory, lost_result, silence_allowed_s
from handsim.pool.writer import CRASHED, UNREADABLE

_QUESTIONS_IN_PATIENCE: Final = 10
"""So often a worker is asked, within the time that it may be silent, whether it hangs."""


class RayWorkerPool:
    """Workers on all nodes of a Ray cluster; a context manager."""

    def __init__(
        self,
        cluster: ClusterOptions,
        workers: int | None,
        make_detector: DetectorFactory | None,
        paths: Sequence[Path],
        patience_s: float = PATIENCE_S,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Connect and start the workers, each with its own detector (None: no item needs one).

        The other arguments are those of `ClusterWorkers`, and it raises as that does.
        """
        self._workers: ClusterWorkers[Item, ItemResult] = ClusterWorkers(
            cluster,
            _WorkerFactory(make_detector, patience_s),
            most_workers=workers,
            paths=paths,
            ask_every_s=patience_s / _QUESTIONS_IN_PATIENCE,
            say=say,
        )

    def run(
        self, items: Iterator[Item | None], is_stopped: Callable[[], bool] = lambda: False
    ) -> Iterator[tuple[Item, ItemResult]]:
        """Items and results in the order they are ready, until all are or it ``is_stopped``.

        A None among the items: just now there is none; they are asked again when some result is there.
        Raises HandsimError when a detector cannot be made, UnavailableError when the cluster is lost.
        """
        for item, result in self._workers.run(items, is_stopped):
            if isinstance(result, Lost):
                result = lost_result(item, TOOK_TOO_LONG if result.is_hung else CRASHED)
            yield item, result

    def __enter__(self) -> "RayWorkerPool":
        return self

    def __exit__(self, *_: object) -> None:
        self._workers.__exit__()


@dataclass(frozen=True)
class _WorkerFactory:
    """Makes a worker, in its own process."""

    make_detector: DetectorFactory | None
    patience_s: float

    def __call__(self) -> "_ItemWorker":
        return _ItemWorker(self.make_detector and self.make_detector(), self.patience_s)


class _ItemWorker:
    """Processes items, one after the other."""

    def __init__(self, detector: HandDetector | None, patience_s: float) -> None:
        self._detector, self._patience_s = detector, patience_s
        self._item: Item | None = None
        self._has_begun = False
        self._last_sign_s = 0.0

    def process(self, item: Item) -> ItemResult:
        """What comes of one item."""
        self._has_begun, self._last_sign_s = False, time.monotonic()
        self._item = item
        try:
            result = process_item(item, self._detector, self._note_progress)
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

"""The runs of a home, kept in mind for all who look."""

import time
from collections import OrderedDict
from collections.abc import Collection
from pathlib import Path
from threading import Lock
from typing import Final

from apps.browser.file_memory import FileMemory, read_object
from apps.browser.runs.metrics import Metrics, read_latest
from apps.browser.runs.places import RunPlace, by_tail, read_title, run_places
from apps.browser.runs.record import FACTS, METRICS, RunRecord, is_training, make_record
from handsim.home import Home

_KEPT: Final = 32


class RunShelf:
    """What the runs of a home wrote; nothing is read twice that did not change. Threads may share it."""

    def __init__(self, home: Home, kept: int = _KEPT) -> None:
        """``kept`` is of how many runs the curves are remembered."""
        self._home, self._kept = home, kept
        self._lock = Lock()
        self._titles = FileMemory(read_title)
        self._latest = FileMemory(read_latest)
        self.objects = FileMemory(read_object)
        """JSON files of runs."""
        self._metrics: OrderedDict[Path, Metrics] = OrderedDict()

    def places(self) -> list[RunPlace]:
        """All runs, of trainings and evaluations."""
        return run_places(self._home, self._titles)

    def records(self, now: float | None = None, titles: Collection[str] | None = None) -> list[RunRecord]:
        """All trainings, or those of ``titles``, those that wrote last first."""
        at, places = time.time() if now is None else now, self.places()
        tails = by_tail(places)
        records = [
            make_record(
                place,
                self.objects(place.path / FACTS) or {},
                self._latest(place.path / METRICS) or {},
                tails,
                at,
            )
            for place in places
            if (titles is None or place.title in titles) and is_training(place.path)
        ]
        return sorted(records, key=lambda record: record.age_s)

    def metrics(self, place: RunPlace) -> Metrics:
        """The curves of a run, as far as they were read."""
        with self._lock:
            found = self._metrics.setdefault(place.path, Metrics(place.path / METRICS))
            self._metrics.move_to_end(place.path)
            while len(self._metrics) > self._kept:
                self._metrics.popitem(last=False)
            return found

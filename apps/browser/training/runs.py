"""The training runs of a home: where they lie, how far they are, and their curves.

A run is a folder ``runs/NAME`` of the home, or of a step of an experiment. Everything is read from its files,
``config.yaml``, ``facts.json``, ``metrics.jsonl`` and ``figures/``. Anybody may have written them, so each
value is checked. `RunStore` reads a file again only where it changed.
"""

import json
import math
import re
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from threading import Lock
from typing import Any, Final, Generic, Literal, TypeVar

from apps.browser.training.curves import MOST_POINTS, Curve, Points
from handsim.home import Home
from training.runs.settings import Schedule, TrainerSettings

Content = TypeVar("Content")

_MOST_FILES: Final = 4000


class FileCache(Generic[Content]):
    """The contents of the files that were read last; a file is read again where it changed. Thread-safe."""

    def __init__(self, read: Callable[[Path], Content], most: int = _MOST_FILES) -> None:
        """``read`` makes the content of a file; of ``most`` files it stays in memory."""
        self._read, self._most = read, most
        self._lock = Lock()
        self._entries: OrderedDict[Path, tuple[tuple[int, int, int], Content | None]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def __call__(self, path: Path) -> Content | None:
        """The content; None for a file that is missing, or that ``read`` fails on."""
        try:
            stat = path.stat()
        except OSError:
            with self._lock:
                self._entries.pop(path, None)
            return None
        state = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        with self._lock:
            entry = self._entries.get(path)
            if entry is not None and entry[0] == state:
                self._entries.move_to_end(path)
                return entry[1]
        try:
            content = self._read(path)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            content = None
        with self._lock:
            self._entries[path] = (state, content)
            self._entries.move_to_end(path)
            while len(self._entries) > self._most:
                self._entries.popitem(last=False)
        return content


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object of a file; raises ValueError for one that holds something else."""
    content = json.loads(path.read_text("utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no JSON object")
    return content


_LARGEST_COUNT: Final = 2**63 - 1
"""A column of a table holds no larger integer."""


def as_text(value: object) -> str | None:
    """The value of a JSON file if it is a string, else None."""
    return value if isinstance(value, str) else None


def as_number(value: object) -> float | None:
    """The value if it is a finite number that a float can hold, else None."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def as_count(value: object) -> int | None:
    """The value if it is an integer from 0 on of at most 63 bits, else None."""
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value <= _LARGEST_COUNT else None


Tail = tuple[str, ...]
"""How a run's path ends, wherever its home is moved to."""

_STEPS: Final = "steps"


@dataclass(frozen=True)
class RunPlace:
    title: str
    """Unlike that of every other run of the home."""
    path: Path
    """The directory."""
    tail: Tail
    """``runs, NAME``, or of an experiment's step ``steps, STEP, runs, NAME``."""


def read_title(path: Path) -> str:
    """The title in a step's ``step.json``."""
    return str(read_object(path)["title"])


def find_runs(home: Home, step_titles: FileCache[str]) -> list[RunPlace]:
    """The home's own runs by name, then those of its experiments by title; ``step_titles`` reads theirs."""
    own = [RunPlace(path.name, path, (path.parent.name, path.name)) for path in _folders(home.runs, "*")]
    steps = home.path / "experiments" / _STEPS
    of_steps = []
    for path in _folders(steps, "*/runs/*"):
        tail = path.parts[-3:]
        title = step_titles(path.parent.parent / "step.json") or tail[0]
        of_steps.append(RunPlace(title, path, (_STEPS, *tail)))
    places = [*own, *sorted(of_steps, key=lambda place: place.title)]
    titles = make_unique([place.title for place in places], [place.tail[1] for place in places])
    return [replace(place, title=title) for place, title in zip(places, titles, strict=True)]


def _folders(folder: Path, pattern: str) -> list[Path]:
    return sorted(path for path in folder.glob(pattern) if path.is_dir())


def make_unique(titles: Sequence[str], folders: Sequence[str]) -> list[str]:
    """Add the folder's name to a title that occurs several times."""
    counts = Counter(titles)
    return [
        title if counts[title] == 1 else f"{title} ({folder})"
        for title, folder in zip(titles, folders, strict=True)
    ]


def by_tail(places: Iterable[RunPlace]) -> dict[Tail, RunPlace]:
    """The index that `owner_of` looks runs up in."""
    return {place.tail: place for place in places}


def owner_of(checkpoint: str, places: Mapping[Tail, RunPlace]) -> RunPlace | None:
    """The run that a checkpoint belongs to, by the end of its path; None where the home has no such run.

    The end alone counts, so that a home that was moved is still understood.
    """
    parts = PurePath(checkpoint).parts[:-2]  # the run's folder
    return places.get(parts[-4:] if parts[-4:-3] == (_STEPS,) else parts[-2:])


BUDGET_BYTES: Final = 16 * 2**20
"""Read at a time: a fraction of a second."""
_CHUNK_BYTES: Final = 2**20
_MARK_BYTES: Final = 64
_MOST_NAMES: Final = 64


class Metrics:
    """The curves of a run out of its ``metrics.jsonl``, of which each byte is read once. Thread-safe.

    A resumed run replaces its file by a shorter one: then all of it is read again. Lines that are no metrics,
    as the last one of a run that was killed while writing it, are left out.
    """

    def __init__(self, path: Path, most: int = MOST_POINTS) -> None:
        """``path`` need not exist yet; a curve has at most ``most`` points."""
        self._path, self._most = path, most
        self._lock = Lock()
        self._forget()

    def _forget(self) -> None:
        self._offset = 0
        self._mark = b""  # the bytes before the offset: they change when the file is replaced
        self._curves: dict[str, Curve] = {}

    @property
    def behind_bytes(self) -> int:
        """How much of the file is not read yet."""
        try:
            return max(0, self._path.stat().st_size - self._offset)
        except OSError:
            return 0

    def advance(self, budget_bytes: int = BUDGET_BYTES) -> None:
        """Read at most about ``budget_bytes`` more; if the file is gone, the curves stay."""
        with self._lock:
            try:
                self._advance(budget_bytes)
            except OSError:
                return

    def points(self) -> dict[str, Points]:
        """The curves as far as they were read, by the metric's name."""
        with self._lock:
            return {name: curve.points() for name, curve in self._curves.items()}

    def _advance(self, budget_bytes: int) -> None:
        with self._path.open("rb") as file:
            file.seek(self._offset - len(self._mark))
            if file.read(len(self._mark)) != self._mark:
                self._forget()
                file.seek(0)
            end = self._offset + budget_bytes
            while self._offset < end:
                chunk = file.read(_CHUNK_BYTES)
                complete = chunk.rfind(b"\n") + 1
                if not complete and len(chunk) < _CHUNK_BYTES:
                    return  # the rest of a line is still to come
                taken = chunk[: complete or len(chunk)]
                for line in taken.split(b"\n"):
                    self._add(line)
                self._offset += len(taken)
                self._mark = (self._mark + taken)[-_MARK_BYTES:]
                file.seek(self._offset)

    def _add(self, line: bytes) -> None:
        numbers = parse_line(line)
        if numbers is None:
            return
        step = numbers.pop("step")
        for name, value in numbers.items():
            if name not in self._curves and len(self._curves) < _MOST_NAMES:
                self._curves[name] = Curve(self._most)
            if name in self._curves:
                self._curves[name].add(step, value)


def parse_line(line: bytes) -> dict[str, float] | None:
    """The finite numbers of a line of metrics; None for a line without ``step``."""
    try:
        content: Any = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict):
        return None
    values = ((str(name), as_number(value)) for name, value in content.items())
    numbers = {name: value for name, value in values if value is not None}
    return numbers if "step" in numbers else None


def read_latest(path: Path) -> dict[str, float]:
    """The latest value of each metric, out of the last lines of the file."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        start = max(0, size - 2**14)
        file.seek(start)
        lines = file.read().split(b"\n")
    latest: dict[str, float] = {}
    for line in lines[1 if start else 0 :]:
        latest |= parse_line(line) or {}
    return latest


State = Literal["running", "done", "stopped", "diverged"]

_CONFIG_FILE: Final = "config.yaml"
FACTS_FILE: Final = "facts.json"
METRICS_FILE: Final = "metrics.jsonl"
_FILES_OF_PROGRESS: Final = (METRICS_FILE, "log.txt", FACTS_FILE, _CONFIG_FILE)
_SILENCE_S: Final = 120.0
"""A run that writes nothing for so long has stopped."""
_SILENCE_AT_START_S: Final = 600.0
"""The same before its first metrics: data is opened, crops are cut, a network is compiled."""
_SILENT_LINES: Final = 3
"""At least so many lines of metrics must be missing."""


@dataclass(frozen=True)
class RunRecord:
    """A training run as its files describe it; None where they do not."""

    place: RunPlace
    kind: str
    """``pre-training`` or ``fine-tuning``."""
    architecture: str | None
    """Of the encoder."""
    init: str
    """What the encoder started from, for people."""
    index: str | None
    """The index version of its pairs."""
    seed: int | None
    steps_done: int
    """Optimizer steps up to its last line of metrics."""
    steps: int | None
    """In the whole run."""
    images_a_step: int | None
    """Of pre-training, views."""
    latest: Mapping[str, float]
    """The latest numbers by name."""
    age_s: float
    """Since it last wrote anything."""
    state: State
    """Judged by the age; the process is not asked."""

    @property
    def share_done(self) -> float | None:
        """Of its steps, 0 to 1."""
        return None if not self.steps else min(1.0, self.steps_done / self.steps)

    @property
    def left_s(self) -> float | None:
        """Remaining time at the latest rate; None where that is unknown."""
        rate = self.latest.get("images_per_s")
        if self.steps is None or not rate or not self.images_a_step:
            return None
        return (self.steps - self.steps_done) * self.images_a_step / rate


def is_training(path: Path) -> bool:
    """Whether a run's folder is of a training, not of an evaluation."""
    return (path / _CONFIG_FILE).exists() or (path / METRICS_FILE).exists()


def make_record(
    place: RunPlace,
    facts: Mapping[str, Any],
    latest: Mapping[str, float],
    places: Mapping[Tail, RunPlace],
    now: float,
) -> RunRecord:
    """The record of a run from its files; ``now`` is in seconds since the epoch."""
    config = _mapping(facts.get("config"))
    steps, steps_done = _steps(facts, config), int(latest.get("step", 0))
    images = _images_a_step(facts)
    age_s = max(0.0, now - _last_change(place.path))
    return RunRecord(
        place=place,
        kind=str(facts.get("kind", "pre-training")),
        architecture=as_text(facts.get("architecture")),
        init=init_title(_mapping(config.get("encoder")).get("init"), places),
        index=as_text(facts.get("index")),
        seed=as_count(facts.get("seed")),
        steps_done=steps_done,
        steps=steps,
        images_a_step=images,
        latest=latest,
        age_s=age_s,
        state=_state(place.path, steps_done, steps, age_s, _longest_silence_s(config, images, latest)),
    )


def _state(path: Path, steps_done: int, steps: int | None, age_s: float, longest_silence_s: float) -> State:
    if steps is not None and steps_done >= steps:
        return "done"
    if (path / "diverged.json").exists():
        return "diverged"
    return "running" if age_s < longest_silence_s else "stopped"


def _longest_silence_s(config: Mapping[str, Any], images: int | None, latest: Mapping[str, float]) -> float:
    """A run that wrote nothing for longer is shown as stopped."""
    if "step" not in latest:
        return _SILENCE_AT_START_S
    every = as_count(_mapping(config.get("log")).get("metrics_every_steps"))
    rate = latest.get("images_per_s")
    if not (every and images and rate):
        return _SILENCE_S
    return max(_SILENCE_S, _SILENT_LINES * every * images / rate)


def _steps(facts: Mapping[str, Any], config: Mapping[str, Any]) -> int | None:
    trainer, batches = _mapping(config.get("trainer")), as_count(facts.get("batches_an_epoch"))
    epochs, accumulate = as_count(trainer.get("epochs")), as_count(trainer.get("accumulate"))
    if not (batches and epochs and accumulate):
        return None
    length, most = (as_count(trainer.get(name)) or None for name in ("steps", "max_steps"))
    settings = TrainerSettings(epochs=epochs, accumulate=accumulate, steps=length, max_steps=most)
    return Schedule.of(settings, batches, processes=1).steps


def _images_a_step(facts: Mapping[str, Any]) -> int | None:
    pairs, hands = as_count(facts.get("pairs_a_step")), as_count(facts.get("hands_a_step"))
    return hands if pairs is None else 2 * pairs


def init_title(init: object, places: Mapping[Tail, RunPlace]) -> str:
    """What a trunk started from: a run's title, a file's name, or an architecture with ImageNet's weights."""
    if init is None:
        return "random weights"
    owner = owner_of(str(init), places)
    if owner is not None:
        return owner.title
    path = Path(str(init))
    return path.name if path.suffix else f"{init} (ImageNet)"


def _last_change(path: Path) -> float:
    changes = []
    for name in _FILES_OF_PROGRESS:
        try:
            changes.append((path / name).stat().st_mtime)
        except OSError:
            continue
    return max(changes, default=0.0)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


_FIGURE_NAME: Final = re.compile(r"(?:pairs|hands)-([0-9]{1,15})\.png")


def run_figures(path: Path) -> dict[int, Path]:
    """Step -> figure of a run's folder, by step: what the network is trained on."""
    figures = {}
    for file in (path / "figures").glob("*.png"):
        if match := _FIGURE_NAME.fullmatch(file.name):
            figures[int(match[1])] = file
    return dict(sorted(figures.items()))


_MOST_CURVES: Final = 32


class RunStore:
    """The runs of a home; a file is read again only where it changed. Thread-safe."""

    def __init__(self, home: Home, most: int = _MOST_CURVES) -> None:
        """The curves of ``most`` runs stay in memory."""
        self._home, self._most = home, most
        self._lock = Lock()
        self._titles = FileCache(read_title)
        self._latest = FileCache(read_latest)
        self.objects = FileCache(read_object)
        """JSON files of runs."""
        self._metrics: OrderedDict[Path, Metrics] = OrderedDict()

    def places(self) -> list[RunPlace]:
        """All runs: trainings and evaluations."""
        return find_runs(self._home, self._titles)

    def records(self, now: float | None = None, titles: Collection[str] | None = None) -> list[RunRecord]:
        """All trainings, or those with ``titles``; the one that wrote last comes first."""
        places, now = self.places(), time.time() if now is None else now
        tails = by_tail(places)
        records = [
            make_record(
                place,
                self.objects(place.path / FACTS_FILE) or {},
                self._latest(place.path / METRICS_FILE) or {},
                tails,
                now,
            )
            for place in places
            if (titles is None or place.title in titles) and is_training(place.path)
        ]
        return sorted(records, key=lambda record: record.age_s)

    def metrics(self, place: RunPlace) -> Metrics:
        """The curves of a run, as far as they have been read."""
        with self._lock:
            metrics = self._metrics.setdefault(place.path, Metrics(place.path / METRICS_FILE))
            self._metrics.move_to_end(place.path)
            while len(self._metrics) > self._most:
                self._metrics.popitem(last=False)
            return metrics

"""What a run is, how far it is, and whether it goes on.

The pictures that a run drew of what it trains on.

Small files, read again only where they changed.

Where a home's runs lie: its own ones, and those that the steps of experiments made.

Values out of JSON files that anybody may have written: what they should be, or None.

A run's ``metrics.jsonl``, read on from where it was read before.

The runs of a home, kept in mind for all who look.
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

from apps.browser.training.curves import MOST, Curve, Points
from handsim.home import Home
from training.runs.optimizer import Schedule, TrainerSettings

_NAME: Final = re.compile(r"(?:pairs|hands)-([0-9]{1,15})\.png")


def run_figures(path: Path) -> dict[int, Path]:
    """Step -> picture, of a run's folder, by step."""
    found = {}
    for file in (path / "figures").glob("*.png"):
        if named := _NAME.fullmatch(file.name):
            found[int(named[1])] = file
    return dict(sorted(found.items()))


Content = TypeVar("Content")

_KEPT_FILE_MEMORY: Final = 4000


class FileMemory(Generic[Content]):
    """What the last files that were asked for hold; threads may share it."""

    def __init__(self, read: Callable[[Path], Content], kept: int = _KEPT_FILE_MEMORY) -> None:
        """``read`` makes something of a file; ``kept`` is how many are remembered."""
        self._read, self._kept = read, kept
        self._lock = Lock()
        self._known: OrderedDict[Path, tuple[tuple[int, int, int], Content | None]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def __call__(self, path: Path) -> Content | None:
        """None for a file that is not there, or cannot be read as what it should be."""
        try:
            stat = path.stat()
        except OSError:
            with self._lock:
                self._known.pop(path, None)
            return None
        state = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        with self._lock:
            known = self._known.get(path)
            if known is not None and known[0] == state:
                self._known.move_to_end(path)
                return known[1]
        try:
            content = self._read(path)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            content = None
        with self._lock:
            self._known[path] = (state, content)
            self._known.move_to_end(path)
            while len(self._known) > self._kept:
                self._known.popitem(last=False)
        return content


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object of a file; raises ValueError for one that holds something else."""
    content = json.loads(path.read_text("utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no JSON object")
    return content


Tail = tuple[str, ...]
"""How a run's path ends, wherever its home is moved to."""

_STEPS: Final = "steps"


@dataclass(frozen=True)
class RunPlace:
    """The folder of one run."""

    title: str
    """What it is called, unlike every other of its home."""
    path: Path
    """The directory."""
    tail: Tail
    """``runs, NAME``, or of an experiment's step ``steps, STEP, runs, NAME``."""

    @property
    def is_step(self) -> bool:
        """Whether an experiment made it."""
        return self.tail[0] == _STEPS

    @property
    def step_file(self) -> Path:
        """What a step of an experiment says of itself; beside runs of a home there is none."""
        return self.path.parent.parent / "step.json"


def read_title(path: Path) -> str:
    """What ``step.json`` calls a step."""
    return str(read_object(path)["title"])


def run_places(home: Home, titles: FileMemory[str]) -> list[RunPlace]:
    """The home's own runs by name, then those of its experiments by title; ``titles`` reads theirs."""
    own = [RunPlace(path.name, path, (path.parent.name, path.name)) for path in _folders(home.runs, "*")]
    steps = home.path / "experiments" / _STEPS
    made = []
    for path in _folders(steps, "*/runs/*"):
        tail = path.parts[-3:]
        title = titles(path.parent.parent / "step.json") or tail[0]
        made.append(RunPlace(title, path, (_STEPS, *tail)))
    return _told_apart([*own, *sorted(made, key=lambda place: place.title)])


def _folders(folder: Path, pattern: str) -> list[Path]:
    return sorted(path for path in folder.glob(pattern) if path.is_dir())


def _told_apart(places: Sequence[RunPlace]) -> list[RunPlace]:
    """Titles that several have get the folder's name."""
    counts = Counter(place.title for place in places)
    return [
        place if counts[place.title] == 1 else replace(place, title=f"{place.title} ({place.tail[1]})")
        for place in places
    ]


def by_tail(places: Iterable[RunPlace]) -> dict[Tail, RunPlace]:
    """What `owner_of` looks runs up in."""
    return {place.tail: place for place in places}


def owner_of(checkpoint: str, places: Mapping[Tail, RunPlace]) -> RunPlace | None:
    """The run that a checkpoint is of, by the end of its path; None for one of another home, or of none.

    So nothing is read but what the home lists, and a home that was moved is still understood.
    """
    parts = PurePath(checkpoint).parts[:-2]  # the run's folder
    return places.get(parts[-4:] if parts[-4:-3] == (_STEPS,) else parts[-2:])


_MOST: Final = 2**63 - 1
"""What a column of a table holds."""


def text(value: object) -> str | None:
    """A string."""
    return value if isinstance(value, str) else None


def number(value: object) -> float | None:
    """A finite number; None for an integer too that no float is as large as."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        told = float(value)
    except OverflowError:
        return None
    return told if math.isfinite(told) else None


def whole(value: object) -> int | None:
    """An integer from 0 on, of no more than 63 bits."""
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value <= _MOST else None


State = Literal["going", "done", "stopped", "diverged"]

CONFIG: Final = "config.yaml"
FACTS: Final = "facts.json"
METRICS: Final = "metrics.jsonl"
_SIGNS_OF_LIFE: Final = (METRICS, "log.txt", FACTS, CONFIG)
_PATIENCE_S: Final = 120.0
_PATIENCE_AT_START_S: Final = 600.0
"""Until the first line: data is opened, crops are cut, a network is compiled."""
_LINES_OF_PATIENCE: Final = 3


@dataclass(frozen=True)
class RunRecord:
    """A training run as its files tell it; None where they do not."""

    place: RunPlace
    """Where it lies."""
    kind: str
    """``pre-training`` or ``fine-tuning``."""
    architecture: str | None
    """Of the encoder."""
    init: str
    """What the encoder began with, for people."""
    index: str | None
    """The index version that its pairs come from."""
    seed: int | None
    """Of the run."""
    steps_done: int
    """Optimizer steps up to its last line."""
    steps: int | None
    """In the whole run."""
    images_a_step: int | None
    """Of pre-training, views."""
    latest: Mapping[str, float]
    """The latest numbers by name."""
    age_s: float
    """Since it last wrote anything."""
    state: State
    """Told by the age: nobody asks the process."""

    @property
    def share_done(self) -> float | None:
        """Of its steps, 0 to 1."""
        return None if not self.steps else min(1.0, self.steps_done / self.steps)

    @property
    def left_s(self) -> float | None:
        """How long it will take at the latest rate; None where that is not known."""
        rate = self.latest.get("images_per_s")
        if self.steps is None or not rate or not self.images_a_step:
            return None
        return (self.steps - self.steps_done) * self.images_a_step / rate


def is_training(path: Path) -> bool:
    """Whether a run's folder is one of a training, and not of an evaluation."""
    return (path / CONFIG).exists() or (path / METRICS).exists()


def make_record(
    place: RunPlace,
    facts: Mapping[str, Any],
    latest: Mapping[str, float],
    places: Mapping[Tail, RunPlace],
    now: float,
) -> RunRecord:
    """Put together what a run's files say; ``now`` is seconds since the epoch."""
    config = _mapping(facts.get("config"))
    steps, steps_done = _steps(facts, config), int(latest.get("step", 0))
    images = _images_a_step(facts)
    age_s = max(0.0, now - _last_change(place.path))
    return RunRecord(
        place=place,
        kind=str(facts.get("kind", "pre-training")),
        architecture=text(facts.get("architecture")),
        init=init_title(_mapping(config.get("encoder")).get("init"), places),
        index=text(facts.get("index")),
        seed=whole(facts.get("seed")),
        steps_done=steps_done,
        steps=steps,
        images_a_step=images,
        latest=latest,
        age_s=age_s,
        state=_state(place.path, steps_done, steps, age_s, _patience_s(config, images, latest)),
    )


def _state(path: Path, steps_done: int, steps: int | None, age_s: float, patience_s: float) -> State:
    if steps is not None and steps_done >= steps:
        return "done"
    if (path / "diverged.json").exists():
        return "diverged"
    return "going" if age_s < patience_s else "stopped"


def _patience_s(config: Mapping[str, Any], images: int | None, latest: Mapping[str, float]) -> float:
    """A run that wrote nothing for so long is taken for one that stopped."""
    if "step" not in latest:
        return _PATIENCE_AT_START_S
    every = whole(_mapping(config.get("log")).get("metrics_every_steps"))
    rate = latest.get("images_per_s")
    if not (every and images and rate):
        return _PATIENCE_S
    return max(_PATIENCE_S, _LINES_OF_PATIENCE * every * images / rate)


def _steps(facts: Mapping[str, Any], config: Mapping[str, Any]) -> int | None:
    trainer, batches = _mapping(config.get("trainer")), whole(facts.get("batches_an_epoch"))
    epochs, accumulate = whole(trainer.get("epochs")), whole(trainer.get("accumulate"))
    if not (batches and epochs and accumulate):
        return None
    most = whole(trainer.get("max_steps")) or None
    settings = TrainerSettings(epochs=epochs, accumulate=accumulate, max_steps=most)
    return Schedule.of(settings, batches, processes=1).steps


def _images_a_step(facts: Mapping[str, Any]) -> int | None:
    pairs, hands = whole(facts.get("pairs_a_step")), whole(facts.get("hands_a_step"))
    return hands if pairs is None else 2 * pairs


def init_title(init: object, places: Mapping[Tail, RunPlace]) -> str:
    """A trunk's beginning for people: a run, a file, or an architecture for ImageNet's weights."""
    if init is None:
        return "random weights"
    owner = owner_of(str(init), places)
    if owner is not None:
        return owner.title
    path = Path(str(init))
    return path.name if path.suffix else f"{init} (ImageNet)"


def _last_change(path: Path) -> float:
    changes = []
    for name in _SIGNS_OF_LIFE:
        try:
            changes.append((path / name).stat().st_mtime)
        except OSError:
            continue
    return max(changes, default=0.0)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


BUDGET_BYTES: Final = 16 * 2**20
"""Read at a time: a fraction of a second."""
_CHUNK_BYTES: Final = 2**20
_MARK_BYTES: Final = 64
_MOST_NAMES: Final = 64


class Metrics:
    """The curves of a run; each byte of the file is read once, unless what was read is changed.

    A resumed run replaces its file by a shorter one: then all is read anew. Lines that are no metrics, as the
    last one of a run that was killed while writing it, are left out. Threads may share it.
    """

    def __init__(self, path: Path, most: int = MOST) -> None:
        """``path`` need not be there yet; ``most`` points of each curve are kept."""
        self._path, self._most = path, most
        self._lock = Lock()
        self._forget()

    def _forget(self) -> None:
        self._offset = 0
        self._mark = b""  # what stands before the offset
        self._curves: dict[str, Curve] = {}

    @property
    def behind_bytes(self) -> int:
        """How much of the file is not read yet."""
        try:
            return max(0, self._path.stat().st_size - self._offset)
        except OSError:
            return 0

    def advance(self, budget_bytes: int = BUDGET_BYTES) -> None:
        """Read on, no more than about ``budget_bytes``; what was read of a file that is gone stays."""
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
                whole = chunk.rfind(b"\n") + 1
                if not whole and len(chunk) < _CHUNK_BYTES:
                    return  # the rest of a line is still to come
                taken = chunk[: whole or len(chunk)]
                for line in taken.split(b"\n"):
                    self._add(line)
                self._offset += len(taken)
                self._mark = (self._mark + taken)[-_MARK_BYTES:]
                file.seek(self._offset)

    def _add(self, line: bytes) -> None:
        told = parse_line(line)
        if told is None:
            return
        step = told.pop("step")
        for name, value in told.items():
            if name not in self._curves and len(self._curves) < _MOST_NAMES:
                self._curves[name] = Curve(self._most)
            if name in self._curves:
                self._curves[name].add(step, value)


def parse_line(line: bytes) -> dict[str, float] | None:
    """The numbers of a line, ``step`` among them; those that are none are left out. None for another line."""
    try:
        told: Any = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, dict):
        return None
    found = ((str(name), number(value)) for name, value in told.items())
    numbers = {name: value for name, value in found if value is not None}
    return numbers if "step" in numbers else None


def read_latest(path: Path) -> dict[str, float]:
    """The latest number of each name, out of the last lines of the file."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        start = max(0, size - 2**14)
        file.seek(start)
        lines = file.read().split(b"\n")
    latest: dict[str, float] = {}
    for line in lines[1 if start else 0 :]:
        latest |= parse_line(line) or {}
    return latest


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

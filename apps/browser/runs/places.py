"""Where a home's runs lie: its own ones, and those that the steps of experiments made."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Final

from apps.browser.file_memory import FileMemory, read_object
from handsim.home import Home

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

"""What a run is, how far it is, and whether it goes on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from apps.browser.json_values import text, whole
from apps.browser.runs.places import RunPlace, Tail, owner_of
from training.runs.schedule import Schedule
from training.runs.settings import TrainerSettings

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

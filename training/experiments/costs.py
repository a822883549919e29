"""What the trainings of an experiment cost: time, speed, and what they waited for, from their metrics."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any, Final

from training.experiments.steps import Step, StepStore

_TRAININGS: Final = ("pretrain", "finetune")
_TITLES: Final[Mapping[str, str]] = {"pretrain": "pre-training", "finetune": "fine-tuning"}


@dataclass(frozen=True)
class TrainingCost:
    """One training, over the seeds that are done."""

    kind: str
    description: str
    """As of the step, without the seed."""
    n: int
    """How many seeds."""
    seconds: float | None
    """Of a whole training, its start and its validations included; None where all were interrupted."""
    images_per_s: float | None
    """Views that were trained on, validations excluded: the median over the run, as its start is slow."""
    data_wait: float | None
    """The share of the time in which the trainer waited for pictures."""
    index_wait: float | None
    """That in which it waited for the index; None for what asks none."""


def read_costs(steps: Iterable[Step], store: StepStore) -> list[TrainingCost]:
    """Of the trainings among ``steps`` that are done, in their order."""
    groups: dict[tuple[str, str], list[Step]] = {}
    for step in steps:
        if step.kind in _TRAININGS and store.folder(step).is_done:
            groups.setdefault((step.kind, step.description), []).append(step)
    return [_cost(kind, description, group, store) for (kind, description), group in groups.items()]


def _cost(kind: str, description: str, steps: Sequence[Step], store: StepStore) -> TrainingCost:
    folders = [store.folder(step) for step in steps]
    known = [seconds for folder in folders if (seconds := folder.seconds()) is not None]
    lines = [line for folder in folders for line in _read_metrics(folder.metrics)]

    def typical(name: str) -> float | None:
        values = [float(line[name]) for line in lines if line.get(name) is not None]
        return median(values) if values else None

    return TrainingCost(
        kind,
        description,
        len(steps),
        fmean(known) if known else None,
        typical("images_per_s"),
        typical("data_wait"),
        typical("index_wait"),
    )


def _read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of ``metrics.jsonl`` that are whole."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return []
    contents = []
    for line in lines:
        try:
            contents.append(json.loads(line))
        except ValueError:
            continue  # a run that was killed while it wrote
    return [content for content in contents if isinstance(content, dict)]


def _format(number: float | None, text: Callable[[float], str]) -> str:
    return "" if number is None else text(number)


def costs_to_markdown(costs: Sequence[TrainingCost]) -> str:
    """A table; empty without trainings."""
    if not costs:
        return ""
    header = ["training", "seeds", "minutes", "images/s", "waiting for pictures", "for the index"]
    lines = [f"| {' | '.join(header)} |", "|---|---:|---:|---:|---:|---:|"]
    for cost in costs:
        cells = [
            f"{_TITLES[cost.kind]} {cost.description}",
            str(cost.n),
            _format(cost.seconds, lambda seconds: f"{seconds / 60:.1f}"),
            _format(cost.images_per_s, lambda rate: f"{rate:,.0f}"),
            _format(cost.data_wait, lambda share: f"{share:.1%}"),
            _format(cost.index_wait, lambda share: f"{share:.1%}"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)

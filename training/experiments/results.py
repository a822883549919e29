"""What came of the runs: the numbers that are there, and which are missing."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from handsim.errors import HandsimError
from training.experiments.axes import Point
from training.experiments.commands import report_file
from training.experiments.expansion import Run
from training.experiments.steps import Step, in_order
from training.experiments.store import StepStore

State = Literal["done", "failed", "missing"]


@dataclass(frozen=True, eq=False)
class Result:
    """Of one point with one seed."""

    point: Point
    """What was run."""
    seed: int
    """And with which seed."""
    step: str
    """Name of the folder of its evaluation."""
    state: State
    """``failed`` also where what it needs failed."""
    metrics: Mapping[str, float]
    """By flat name; empty unless it is done."""
    mean_pose: Mapping[str, float]
    """The same of the mean pose of the training split; empty where there is none."""


def read_results(runs: Sequence[Run], store: StepStore) -> list[Result]:
    """Of all runs, done or not; raises HandsimError for a report that is damaged."""
    return [_result(run, store) for run in runs]


def _result(run: Run, store: StepStore) -> Result:
    state = state_of(run.evaluation, store)
    metrics, mean_pose = _numbers(run.evaluation, store) if state == "done" else ({}, {})
    return Result(run.point, run.seed, run.evaluation.name, state, metrics, mean_pose)


def state_of(step: Step, store: StepStore) -> State:
    """What became of a step so far."""
    if store.folder(step).is_done:
        return "done"
    failed = any(store.folder(before).failed.exists() for before in in_order([step]))
    return "failed" if failed else "missing"


def _numbers(step: Step, store: StepStore) -> tuple[dict[str, float], dict[str, float]]:
    path = report_file(step, store)
    try:
        report = json.loads(path.read_text())
        metrics, mean_pose = (_finite(report[part]) for part in ("metrics", "mean_pose"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise HandsimError(
            f"{path} cannot be read ({' '.join(str(error).split())}); remove {store.folder(step).path} and "
            "run the experiment again"
        ) from error
    return metrics, mean_pose


def _finite(numbers: Mapping[str, Any]) -> dict[str, float]:
    """Those that are numbers: what could not be measured is not there."""
    told = {name: float(value) for name, value in numbers.items()}
    return {name: value for name, value in told.items() if math.isfinite(value)}

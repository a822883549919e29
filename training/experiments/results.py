"""The results of an experiment: the numbers of its runs, and the tables that are made of them.

`collect_results` reads the reports of all runs that are done and makes the tables. `ExperimentResults` is
what ``results.json`` holds (`to_json`, `from_json`); all that shows results, the Markdown, the figures and
the browser, takes it from there.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Final, Literal

from handsim.errors import HandsimError
from handsim.metrics.bootstrap import LEVEL, PersonSums, bootstrap_interval
from training.evaluation.hand_errors import HAND_ERRORS_FILE, HandErrors, read_hand_errors
from training.evaluation.report import Metric, find_metric
from training.experiments.config import AXES, Axis, Experiment, PrimarySettings, TableSettings, as_label
from training.experiments.costs import TrainingCost, costs_to_markdown, read_costs
from training.experiments.steps import Step, StepStore, in_order
from training.experiments.tables import FEWEST_PEOPLE, MEAN_POSE, PRIMARY_MARK, Cell, Column, Interval, Table

if TYPE_CHECKING:
    from training.experiments.plan import Run

State = Literal["done", "failed", "missing"]

LEGEND: Final = (
    f"Means over the seeds, in brackets their {LEVEL:.0%} intervals over people and seeds; where there are "
    "none, ± the standard deviation over seeds. **Bold** is the best of those with all seeds, and of "
    f"differences each whose interval leaves out 0 (over {FEWEST_PEOPLE} people at least)."
)
FORMAT: Final = 1
"""Of ``results.json``."""


@dataclass(frozen=True, eq=False)
class RunResult:
    """The numbers of one point with one seed."""

    labels: Mapping[Axis, str]
    """The point: its value on each axis."""
    seed: int
    step: str
    """Name of the folder of its evaluation."""
    state: State
    """``failed`` also where a step before the evaluation failed."""
    metrics: Mapping[str, float]
    """By the names in `METRICS`; empty unless it is done."""
    mean_pose: Mapping[str, float]
    """The same of the mean pose of the training split; empty where that is unknown."""

    def to_json(self) -> dict[str, Any]:
        return {
            **{str(axis): label for axis, label in self.labels.items()},
            "seed": self.seed,
            "state": self.state,
            "step": self.step,
            "metrics": dict(self.metrics),
            "mean_pose": dict(self.mean_pose),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "RunResult":
        labels: dict[Axis, str] = {axis: str(content[axis]) for axis in AXES}
        metrics, mean_pose = (_finite(content[part]) for part in ("metrics", "mean_pose"))
        return cls(labels, int(content["seed"]), str(content["step"]), content["state"], metrics, mean_pose)


@dataclass(frozen=True)
class ExperimentResults:
    """All runs of an experiment, done or not, and its tables: ``results.json``."""

    title: str
    seeds: list[int]
    """Over which means are taken."""
    axes: dict[Axis, list[str]]
    runs: list[RunResult]
    """Every point with every seed."""
    tables: list[Table]
    """Those of differences follow the tables that they are made of."""
    notes: tuple[str, ...] = ()
    """What readers of the tables have to know: the primary comparison, which labels a share of them are."""
    trainings: tuple[TrainingCost, ...] = ()
    """What the trainings that are done cost."""

    def count(self, state: State) -> int:
        return sum(run.state == state for run in self.runs)

    def to_markdown(self) -> str:
        """All tables, below a line on the seeds and on what is missing."""
        seeds, failed = ", ".join(map(str, self.seeds)), self.count("failed")
        parts = [
            f"# {self.title}",
            f"Seeds {seeds}. {LEGEND}",
            f"{self.count('done'):,} of {len(self.runs):,} runs are done"
            + (f", {failed:,} failed." if failed else "."),
        ]
        parts += self.notes
        for table in self.tables:
            parts += [f"## {table.title}", table.to_markdown()]
        if self.trainings:
            parts += ["## What the trainings cost", costs_to_markdown(self.trainings)]
        return "\n\n".join(parts) + "\n"

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "format": FORMAT,
            "title": self.title,
            "seeds": self.seeds,
            "axes": self.axes,
            "notes": list(self.notes),
            "trainings": [asdict(training) for training in self.trainings],
            "runs": [run.to_json() for run in self.runs],
            "tables": [table.to_json() for table in self.tables],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "ExperimentResults":
        """From what `to_json` gave; raises KeyError, TypeError or ValueError for anything else."""
        if content["format"] != FORMAT:
            raise HandsimError(f"results have format {content['format']}; this handsim reads {FORMAT}")
        return cls(
            str(content["title"]),
            list(map(int, content["seeds"])),
            {axis: list(map(str, content["axes"][axis])) for axis in AXES},
            list(map(RunResult.from_json, content["runs"])),
            list(map(Table.from_json, content["tables"])),
            tuple(map(str, content.get("notes", ()))),
            tuple(TrainingCost(**each) for each in content.get("trainings", ())),
        )


def collect_results(experiment: Experiment, runs: Sequence["Run"], store: StepStore) -> ExperimentResults:
    """The results of all runs, done or not; raises HandsimError for a damaged report."""
    results = [_run_result(run, store) for run in runs]
    return ExperimentResults(
        experiment.title,
        list(experiment.axes.seeds),
        {axis: experiment.labels(axis) for axis in AXES},
        results,
        make_tables(experiment, results, HandErrorsReader(store)),
        tuple(_notes(experiment, runs)),
        tuple(read_costs(in_order(run.evaluation for run in runs), store)),
    )


def _notes(experiment: Experiment, runs: Sequence["Run"]) -> Iterator[str]:
    primary = experiment.primary
    if primary.metric is not None:
        shares = ", ".join(f"{100 * fraction:g} %" for fraction in primary.label_fractions) or "all shares"
        yield (
            f"Primary comparison, named before the runs and marked{PRIMARY_MARK}: {primary.method} minus "
            f"{primary.reference} in {find_metric(primary.metric).title} at {shares} of the labels."
        )
    data = [run.evaluation.inputs["finetune"].recipe["data"] for run in runs]
    subsets = {each["label_subset"] for each in data if each["label_fraction"] < 1}
    if subsets:
        words = {"random": "drawn at random with the seed", "first": "the first ones of the training split"}
        yield f"Shares of the labels are {' or '.join(words[each] for each in sorted(subsets))}."


def step_state(step: Step, store: StepStore) -> State:
    """The state of a step: ``failed`` also where one before it failed."""
    if store.folder(step).is_done:
        return "done"
    failed = any(store.folder(before).failed_file.exists() for before in in_order([step]))
    return "failed" if failed else "missing"


def _run_result(run: "Run", store: StepStore) -> RunResult:
    state = step_state(run.evaluation, store)
    metrics, mean_pose = _read_report(store.folder(run.evaluation).report) if state == "done" else ({}, {})
    labels = {axis: run.point.label(axis) for axis in AXES}
    return RunResult(labels, run.seed, run.evaluation.name, state, metrics, mean_pose)


def _read_report(path: Path) -> tuple[dict[str, float], dict[str, float]]:
    try:
        report = json.loads(path.read_text())
        return _finite(report["metrics"]), _finite(report["mean_pose"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise HandsimError(
            f"{path} cannot be read ({' '.join(str(error).split())}); remove {path.parents[2]} and "
            "run the experiment again"
        ) from error


def _finite(numbers: Mapping[str, Any]) -> dict[str, float]:
    """The finite ones; NaN stands for what could not be measured."""
    values = {name: float(value) for name, value in numbers.items()}
    return {name: value for name, value in values.items() if math.isfinite(value)}


@dataclass(frozen=True)
class HandErrorsReader:
    """What each evaluation measured of every hand, read once for all cells that need it."""

    store: StepStore | None
    """None: nothing was stored, as by evaluations of earlier versions."""
    _sums: dict[tuple[str, str, bool], PersonSums | None] = field(default_factory=dict)
    _hands: dict[str, HandErrors | None] = field(default_factory=dict)

    def sums(self, step: str, metric: Metric, *, of_mean_pose: bool = False) -> PersonSums | None:
        """What a metric of a step is made of; None where the errors of its hands do not say it."""
        key = (step, metric.name, of_mean_pose)
        if key not in self._sums:
            hands = self._read(step)
            self._sums[key] = None if hands is None else hands.sums(metric.name, of_mean_pose=of_mean_pose)
        return self._sums[key]

    def _read(self, step: str) -> HandErrors | None:
        if step not in self._hands and self.store is not None:
            path = self.store.folder_named(step).report.with_name(HAND_ERRORS_FILE)
            self._hands[step] = read_hand_errors(path) if path.is_file() else None
        return self._hands.get(step)


def make_tables(
    experiment: Experiment, results: Sequence[RunResult], errors: HandErrorsReader
) -> list[Table]:
    """Each table of the experiment, and after it that of the differences to its reference."""
    tables = []
    for name, settings in experiment.tables.items():
        maker = _TableMaker(name, settings, experiment, errors)
        selected = list(results)
        for axis, value in settings.where.items():
            selected = _select(selected, axis, as_label(value))
        tables.append(maker.values(selected))
        if maker.reference is not None:
            tables.append(maker.differences(selected, maker.reference))
    return tables


class _TableMaker:
    """Makes the tables of one entry of ``tables``; ``results`` are those of its ``where``."""

    def __init__(
        self, name: str, settings: TableSettings, experiment: Experiment, errors: HandErrorsReader
    ) -> None:
        self._name, self._settings, self._errors = name, settings, errors
        self._seeds = len(experiment.axes.seeds)
        self._rows = experiment.labels(settings.rows)
        primary = experiment.primary if settings.rows == "method" else PrimarySettings()
        self._primary_rows = () if primary.metric is None else (str(primary.method), str(primary.reference))
        self.reference = settings.reference or primary.reference
        labels = [None] if settings.columns is None else experiment.labels(settings.columns)
        shares = [as_label(fraction) for fraction in primary.label_fractions]
        shown = as_label(settings.where.get("label_fraction", experiment.labels("label_fraction")[0]))
        self._columns = [
            Column(
                label,
                find_metric(metric),
                metric == primary.metric
                and (not shares or (label if settings.columns == "label_fraction" else shown) in shares),
            )
            for label in labels
            for metric in settings.metrics
        ]

    def values(self, results: Sequence[RunResult]) -> Table:
        """The numbers themselves, the mean pose below them."""
        cells = [
            [self._value(self._of(results, row, column), column.metric) for column in self._columns]
            for row in self._rows
        ]
        cells = _mark_best(cells, self._columns)
        rows = self._rows
        floor = [self._mean_pose(self._of(results, None, column), column.metric) for column in self._columns]
        if self._settings.rows != "dataset" and any(cell.n for cell in floor):  # each dataset has its own
            rows, cells = [*rows, MEAN_POSE], [*cells, floor]
        return self._table(self._name, self._settings.title or self._name, rows, cells, None)

    def differences(self, results: Sequence[RunResult], reference: str) -> Table:
        """All rows but the reference minus that one, seed by seed."""
        rows = [row for row in self._rows if row != reference]
        cells = [
            [
                self._difference(
                    self._of(results, row, column), self._of(results, reference, column), column.metric
                )
                for column in self._columns
            ]
            for row in rows
        ]
        title = f"{self._settings.title or self._name}: minus {reference}"
        return self._table(f"{self._name}-minus-{reference}", title, rows, cells, reference)

    def _table(
        self, name: str, title: str, rows: list[str], cells: list[list[Cell]], reference: str | None
    ) -> Table:
        settings = self._settings
        return Table(
            name,
            title,
            settings.rows,
            settings.columns,
            settings.where,
            rows,
            self._columns,
            cells,
            reference,
            self._primary_rows,
        )

    def _of(self, results: Sequence[RunResult], row: str | None, column: Column) -> list[RunResult]:
        """The results of one cell, one for each seed; with None, of the whole column."""
        in_column = _select(results, self._settings.columns, column.label)
        return in_column if row is None else _select(in_column, self._settings.rows, row)

    def _value(self, results: Sequence[RunResult], metric: Metric) -> Cell:
        done = {each.seed: each for each in results if metric.name in each.metrics}
        values = {seed: each.metrics[metric.name] for seed, each in done.items()}
        failed = sum(each.state == "failed" for each in results)
        return Cell(values, self._seeds, failed, interval=self._interval([*done.values()], None, metric))

    def _difference(
        self, results: Sequence[RunResult], reference: Sequence[RunResult], metric: Metric
    ) -> Cell:
        others = {each.seed: each for each in reference if metric.name in each.metrics}
        done = [each for each in results if metric.name in each.metrics and each.seed in others]
        pairs = [others[each.seed] for each in done]
        values = {
            each.seed: each.metrics[metric.name] - other.metrics[metric.name]
            for each, other in zip(done, pairs, strict=True)
        }
        failed = sum(each.state == "failed" for each in (*results, *reference))
        mean = fmean(other.metrics[metric.name] for other in pairs) if pairs else None
        interval = self._interval(done, pairs, metric)
        return Cell(values, self._seeds, failed, interval=interval, reference_mean=mean)

    def _mean_pose(self, results: Sequence[RunResult], metric: Metric) -> Cell:
        """That of the first result that has it: it depends on no seed and no method."""
        known = [result for result in results if metric.name in result.mean_pose]
        if not known:
            return Cell({}, 1)
        sums = self._errors.sums(known[0].step, metric, of_mean_pose=True)
        interval = None if sums is None else _bootstrap([sums], None)
        return Cell({0: known[0].mean_pose[metric.name]}, 1, interval=interval)

    def _interval(
        self, results: Sequence[RunResult], reference: Sequence[RunResult] | None, metric: Metric
    ) -> Interval | None:
        runs, others = (
            [self._errors.sums(each.step, metric) for each in group] for group in (results, reference or ())
        )
        known, known_others = ([each for each in group if each is not None] for group in (runs, others))
        if not runs or len(known) + len(known_others) < len(runs) + len(others):
            return None
        return _bootstrap(known, None if reference is None else known_others)


def _bootstrap(runs: Sequence[PersonSums], reference: Sequence[PersonSums] | None) -> Interval | None:
    if any(each.people != runs[0].people for each in (*runs, *(reference or ()))):
        return None  # two datasets: their people cannot be drawn together
    bounds = bootstrap_interval(runs, reference)
    return None if bounds is None else Interval(*bounds, people=len(runs[0].people))


def _select(results: Iterable[RunResult], axis: Axis | None, label: str | None) -> list[RunResult]:
    return [result for result in results if axis is None or result.labels[axis] == label]


def _mark_best(cells: list[list[Cell]], columns: Sequence[Column]) -> list[list[Cell]]:
    """Mark the best cell of each column among those with all seeds: the missing ones may be the hard ones."""
    best: list[float | None] = []
    for number, column in enumerate(columns):
        means = [row[number].mean for row in cells if row[number].is_complete]
        known = [mean for mean in means if mean is not None]
        choose = max if column.metric.higher_is_better else min
        best.append(choose(known) if len(known) > 1 else None)
    return [
        [
            replace(cell, best=cell.is_complete and top is not None and cell.mean == top)
            for cell, top in zip(row, best, strict=True)
        ]
        for row in cells
    ]

"""The results of an experiment: the numbers of its runs, and tables of means over the seeds.

`collect_results` reads the reports of all runs that are done and makes the tables. `ExperimentResults` is
what ``results.json`` holds (`to_json`, `from_json`); all that shows results, the Markdown, the figures and
the browser, takes it from there. What is missing or failed is counted in each cell, and never filled in.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, Final, Literal

from handsim.errors import HandsimError
from training.evaluation.report import Metric, find_metric
from training.experiments.config import AXES, Axis, Experiment, TableSettings, as_label
from training.experiments.steps import Step, StepStore, in_order

if TYPE_CHECKING:
    from training.experiments.plan import Run

State = Literal["done", "failed", "missing"]

FORMAT: Final = 1
"""Of ``results.json``."""
MEAN_POSE: Final = "mean pose"
"""The row of the scores of the mean pose of the training split, an estimator that ignores the image."""
AXIS_TITLES: Final[Mapping[Axis, str]] = {
    "method": "method",
    "dataset": "dataset",
    "pool": "pre-trained on",
    "top_k": "top K",
    "weighting": "weights",
    "components": "components",
    "label_fraction": "share of the labels",
}
"""What each axis is called above a row or a column."""


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
class Cell:
    """One number over the seeds."""

    values: dict[int, float]
    """By seed, those that are done."""
    seeds: int
    """How many there should be."""
    failed: int = 0
    """How many of the others failed."""
    best: bool = False
    """Whether it has all seeds, and no other such cell of its column is better."""

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def is_complete(self) -> bool:
        return self.n == self.seeds

    @property
    def mean(self) -> float | None:
        return fmean(self.values.values()) if self.values else None

    @property
    def spread(self) -> float | None:
        """The standard deviation over the seeds (of a sample: n - 1); None for fewer than two."""
        return stdev(self.values.values()) if self.n > 1 else None

    def text(self, digits: int) -> str:
        """``12.30 ± 0.40``, with how many seeds are done where some are not; else ``missing`` or
        ``failed``."""
        if self.mean is None:
            return "failed" if self.failed else "missing"
        number = f"{self.mean:.{digits}f}"
        if self.spread is not None:
            number += f" ± {self.spread:.{digits}f}"
        return number if self.is_complete else f"{number} ({self.n} of {self.seeds} seeds)"

    def to_json(self) -> dict[str, Any]:
        return {
            "mean": self.mean,
            "spread": self.spread,
            "n": self.n,
            "seeds": self.seeds,
            "failed": self.failed,
            "best": self.best,
            "values": {str(seed): value for seed, value in self.values.items()},
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Cell":
        values = {int(seed): float(value) for seed, value in content["values"].items()}
        return cls(values, int(content["seeds"]), int(content["failed"]), bool(content["best"]))


@dataclass(frozen=True)
class Column:
    """One number, for one value on the axis of columns."""

    label: str | None
    """The value; None for a table without an axis of columns."""
    metric: Metric


@dataclass(frozen=True)
class Table:
    name: str
    title: str
    """Above the table; the name, where the file has no title."""
    rows_axis: Axis
    columns_axis: Axis | None
    """What the columns are values of, if of anything."""
    where: Mapping[Axis, str | float]
    """The values on other axes that all cells share."""
    rows: list[str]
    """Labels; `MEAN_POSE` comes last, unless rows are datasets or it is unknown."""
    columns: list[Column]
    """Each label with all metrics, then the next label."""
    cells: list[list[Cell]]
    """[rows][columns]."""

    @property
    def metrics(self) -> list[Metric]:
        return list(dict.fromkeys(column.metric for column in self.columns))

    def heading(self, column: Column) -> str:
        if self.columns_axis is None:
            return column.metric.title
        return f"{AXIS_TITLES[self.columns_axis]} {column.label}: {column.metric.title}"

    @property
    def condition(self) -> str:
        """``where`` in words; empty where it is."""
        return ", ".join(f"{AXIS_TITLES[axis]} {as_label(value)}" for axis, value in self.where.items())

    def to_markdown(self) -> str:
        """The best cell of each column is bold."""
        header = [AXIS_TITLES[self.rows_axis], *map(self.heading, self.columns)]
        lines = [f"| {' | '.join(header)} |", "|---" + "|---:" * len(self.columns) + "|"]
        for label, cells in zip(self.rows, self.cells, strict=True):
            row = [f"*{label}*" if label == MEAN_POSE else label]
            for cell, column in zip(cells, self.columns, strict=True):
                text = cell.text(column.metric.digits)
                row.append(f"**{text}**" if cell.best else text)
            lines.append(f"| {' | '.join(row)} |")
        if self.where:
            lines += ["", f"({self.condition})"]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "title": self.title,
            "rows_axis": self.rows_axis,
            "columns_axis": self.columns_axis,
            "where": dict(self.where),
            "rows": self.rows,
            "columns": [
                {
                    "label": column.label,
                    "metric": column.metric.name,
                    "title": column.metric.title,
                    "higher_is_better": column.metric.higher_is_better,
                }
                for column in self.columns
            ],
            "cells": [[cell.to_json() for cell in row] for row in self.cells],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Table":
        columns = [
            Column(
                each["label"], Metric(str(each["metric"]), str(each["title"]), bool(each["higher_is_better"]))
            )
            for each in content["columns"]
        ]
        axes = {content["rows_axis"], content["columns_axis"], *content["where"]} - {None}
        if not axes <= {*AXES}:
            raise ValueError(f"{', '.join(map(str, axes))} are not all axes")
        return cls(
            str(content["name"]),
            str(content["title"] or content["name"]),
            content["rows_axis"],
            content["columns_axis"],
            dict(content["where"]),
            list(map(str, content["rows"])),
            columns,
            [list(map(Cell.from_json, row)) for row in content["cells"]],
        )


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

    def count(self, state: State) -> int:
        return sum(run.state == state for run in self.runs)

    def to_markdown(self) -> str:
        """All tables, below a line on the seeds and on what is missing."""
        seeds, failed = ", ".join(map(str, self.seeds)), self.count("failed")
        parts = [
            f"# {self.title}",
            f"Mean ± standard deviation over seeds {seeds}; **best** of those with all seeds. "
            f"{self.count('done'):,} of {len(self.runs):,} runs are done"
            + (f", {failed:,} failed." if failed else "."),
        ]
        for table in self.tables:
            parts += [f"## {table.title}", table.to_markdown()]
        return "\n\n".join(parts) + "\n"

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "format": FORMAT,
            "title": self.title,
            "seeds": self.seeds,
            "axes": self.axes,
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
        )


def collect_results(experiment: Experiment, runs: Sequence["Run"], store: StepStore) -> ExperimentResults:
    """The results of all runs, done or not; raises HandsimError for a damaged report."""
    results = [_run_result(run, store) for run in runs]
    return ExperimentResults(
        experiment.title,
        list(experiment.axes.seeds),
        {axis: experiment.labels(axis) for axis in AXES},
        results,
        make_tables(experiment, results),
    )


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


def make_tables(experiment: Experiment, results: Sequence[RunResult]) -> list[Table]:
    return [_table(name, settings, experiment, results) for name, settings in experiment.tables.items()]


def _table(name: str, settings: TableSettings, experiment: Experiment, results: Sequence[RunResult]) -> Table:
    for axis, value in settings.where.items():
        results = _select(results, axis, as_label(value))
    labels: list[str | None] = [None] if settings.columns is None else [*experiment.labels(settings.columns)]
    columns = [Column(label, find_metric(each)) for label in labels for each in settings.metrics]
    rows = experiment.labels(settings.rows)
    seeds = len(experiment.axes.seeds)

    def row_of(
        selected: Sequence[RunResult], cell: Callable[[Sequence[RunResult], Metric], Cell]
    ) -> list[Cell]:
        return [cell(_select(selected, settings.columns, each.label), each.metric) for each in columns]

    def over_seeds(selected: Sequence[RunResult], metric: Metric) -> Cell:
        values = {each.seed: each.metrics[metric.name] for each in selected if metric.name in each.metrics}
        return Cell(values, seeds, failed=sum(each.state == "failed" for each in selected))

    cells = [row_of(_select(results, settings.rows, row), over_seeds) for row in rows]
    cells = _mark_best(cells, columns)
    mean_pose = row_of(results, _mean_pose_cell)
    if settings.rows != "dataset" and any(cell.n for cell in mean_pose):  # each dataset has its own
        rows, cells = [*rows, MEAN_POSE], [*cells, mean_pose]
    title = settings.title or name
    return Table(name, title, settings.rows, settings.columns, settings.where, rows, columns, cells)


def _select(results: Iterable[RunResult], axis: Axis | None, label: str | None) -> list[RunResult]:
    return [result for result in results if axis is None or result.labels[axis] == label]


def _mean_pose_cell(results: Sequence[RunResult], metric: Metric) -> Cell:
    """That of the first result that has it: it depends on no seed and no method."""
    values = [result.mean_pose[metric.name] for result in results if metric.name in result.mean_pose]
    return Cell({0: values[0]} if values else {}, 1)


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

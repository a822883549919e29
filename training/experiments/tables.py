"""Tables of means and spreads over seeds; what is missing is missing in them.

What came of the runs: the numbers that are there, and which are missing.

An experiment's tables in words: Markdown, and plain values for JSON.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Any, Final, Literal

from handsim.errors import HandsimError
from training.experiments.config import AXES, Axis, Experiment, Metric, Point, TableSettings, as_label, metric
from training.experiments.plan import Run, Step, in_order
from training.experiments.run import report_file
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


MEAN_POSE: Final = "mean pose"
"""The row of what an estimator scores that never looks at the picture."""


@dataclass(frozen=True)
class Cell:
    """One number over the seeds."""

    values: dict[int, float]
    """By seed, those that are there."""
    seeds: int
    """How many there should be."""
    failed: int = 0
    """How many of the others failed."""
    best: bool = False
    """Whether no other whole cell of its column is better."""

    @property
    def n(self) -> int:
        """How many seeds it is over."""
        return len(self.values)

    @property
    def is_whole(self) -> bool:
        """Whether no seed is missing."""
        return self.n == self.seeds

    @property
    def mean(self) -> float | None:
        """Over the seeds that are there."""
        return fmean(self.values.values()) if self.values else None

    @property
    def spread(self) -> float | None:
        """The standard deviation over the seeds (of a sample: n - 1); None for fewer than two."""
        return stdev(self.values.values()) if self.n > 1 else None


@dataclass(frozen=True)
class Column:
    """What stands in one."""

    label: str | None
    """The value on the table's axis of columns; None where it has none."""
    metric: Metric
    """The number."""


@dataclass(frozen=True)
class Table:
    """Rows and columns of cells."""

    name: str
    """In the experiment's file."""
    settings: TableSettings
    """What it shows."""
    rows: list[str]
    """The values on the axis of rows; `MEAN_POSE` comes last, unless rows are datasets or it is not known."""
    columns: list[Column]
    """Each value with all metrics, then the next one."""
    cells: list[list[Cell]]
    """[rows][columns]."""


def make_tables(experiment: Experiment, results: Sequence[Result]) -> list[Table]:
    """The tables that an experiment's file asks for."""
    return [_table(name, settings, experiment, results) for name, settings in experiment.tables.items()]


def _table(name: str, settings: TableSettings, experiment: Experiment, results: Sequence[Result]) -> Table:
    where = {axis: as_label(value) for axis, value in settings.where.items()}
    shown = [
        result
        for result in results
        if all(result.point.label(axis) == value for axis, value in where.items())
    ]
    labels: list[str | None] = [None] if settings.columns is None else [*experiment.labels(settings.columns)]
    columns = [Column(label, metric(each)) for label in labels for each in settings.metrics]
    rows = experiment.labels(settings.rows)
    seeds = len(experiment.axes.seeds)
    cells = [
        [
            _cell(_at(_at(shown, settings.rows, row), settings.columns, column.label), column.metric, seeds)
            for column in columns
        ]
        for row in rows
    ]
    marked = _mark_best(cells, columns)
    floor = [_mean_pose(_at(shown, settings.columns, column.label), column.metric) for column in columns]
    if settings.rows != "dataset" and any(cell.n for cell in floor):  # each dataset has its own
        rows, marked = [*rows, MEAN_POSE], [*marked, floor]
    return Table(name, settings, rows, columns, marked)


def _at(results: Iterable[Result], axis: Axis | None, label: str | None) -> list[Result]:
    return [result for result in results if axis is None or result.point.label(axis) == label]


def _cell(results: Sequence[Result], shown: Metric, seeds: int) -> Cell:
    values = {result.seed: result.metrics[shown.name] for result in results if shown.name in result.metrics}
    return Cell(values, seeds, failed=sum(result.state == "failed" for result in results))


def _mean_pose(results: Sequence[Result], shown: Metric) -> Cell:
    """That of the first result that has it: it knows no seed and no method."""
    found = [result.mean_pose[shown.name] for result in results if shown.name in result.mean_pose]
    return Cell({0: found[0]} if found else {}, 1)


def _mark_best(cells: list[list[Cell]], columns: Sequence[Column]) -> list[list[Cell]]:
    """Among cells over all seeds: fewer may be the easy ones."""
    best: list[float | None] = []
    for number, column in enumerate(columns):
        means = [row[number].mean for row in cells if row[number].is_whole]
        known = [mean for mean in means if mean is not None]
        choose = max if column.metric.higher_is_better else min
        best.append(choose(known) if len(known) > 1 else None)
    return [
        [
            replace(cell, best=cell.is_whole and top is not None and cell.mean == top)
            for cell, top in zip(row, best, strict=True)
        ]
        for row in cells
    ]


AXIS_TITLES: Final[Mapping[Axis, str]] = {
    "method": "method",
    "dataset": "dataset",
    "pool": "pre-trained on",
    "top_k": "top K",
    "weighting": "weights",
    "components": "components",
    "label_fraction": "share of the labels",
}
"""What each is called above a column."""


def as_markdown(experiment: Experiment, tables: Sequence[Table], results: Sequence[Result]) -> str:
    """All tables, with a line on what their numbers are over and what is missing."""
    seeds = ", ".join(map(str, experiment.axes.seeds))
    done = sum(result.state == "done" for result in results)
    failed = sum(result.state == "failed" for result in results)
    lines = [
        f"# {experiment.title}",
        "",
        f"Mean ± standard deviation over seeds {seeds}; **best** of what is there for all seeds. "
        f"{done:,} of {len(results):,} runs are done" + (f", {failed:,} failed." if failed else "."),
    ]
    for table in tables:
        lines += ["", f"## {table.settings.title or table.name}", "", *_markdown_table(table)]
    return "\n".join(lines) + "\n"


def _markdown_table(table: Table) -> list[str]:
    header = [AXIS_TITLES[table.settings.rows], *(_heading(table, column) for column in table.columns)]
    lines = [f"| {' | '.join(header)} |", "|---" + "|---:" * len(table.columns) + "|"]
    for name, cells in zip(table.rows, table.cells, strict=True):
        shown = [_cell_text(cell, column.metric) for cell, column in zip(cells, table.columns, strict=True)]
        label = f"*{name}*" if name == MEAN_POSE else name
        lines.append(f"| {' | '.join([label, *shown])} |")
    if where := table.settings.where:
        told = ", ".join(f"{AXIS_TITLES[axis]} {as_label(value)}" for axis, value in where.items())
        lines += ["", f"({told})"]
    return lines


def _heading(table: Table, column: Column) -> str:
    if table.settings.columns is None:
        return column.metric.title
    return f"{AXIS_TITLES[table.settings.columns]} {column.label}: {column.metric.title}"


def _cell_text(cell: Cell, shown: Metric) -> str:
    if cell.mean is None:
        return "failed" if cell.failed else "missing"
    number = f"{cell.mean:.{shown.digits}f}"
    if cell.spread is not None:
        number += f" ± {cell.spread:.{shown.digits}f}"
    if not cell.is_whole:
        return f"{number} ({cell.n} of {cell.seeds} seeds)"
    return f"**{number}**" if cell.best else number


def as_json(experiment: Experiment, tables: Sequence[Table], results: Sequence[Result]) -> dict[str, Any]:
    """All that the tables say, and every run by its point, as plain values."""
    return {
        "format": 1,
        "title": experiment.title,
        "seeds": list(experiment.axes.seeds),
        "axes": {axis: experiment.labels(axis) for axis in AXES},
        "runs": [
            {
                **{axis: result.point.label(axis) for axis in AXES},
                "seed": result.seed,
                "state": result.state,
                "step": result.step,
                "metrics": dict(result.metrics),
                "mean_pose": dict(result.mean_pose),
            }
            for result in results
        ],
        "tables": [_json_table(table) for table in tables],
    }


def _json_table(table: Table) -> dict[str, Any]:
    settings = table.settings
    return {
        "name": table.name,
        "title": settings.title,
        "rows_axis": settings.rows,
        "columns_axis": settings.columns,
        "where": dict(settings.where),
        "rows": table.rows,
        "columns": [
            {
                "label": column.label,
                "metric": column.metric.name,
                "title": column.metric.title,
                "higher_is_better": column.metric.higher_is_better,
            }
            for column in table.columns
        ],
        "cells": [[_json_cell(cell) for cell in row] for row in table.cells],
    }


def _json_cell(cell: Cell) -> dict[str, Any]:
    return {
        "mean": cell.mean,
        "spread": cell.spread,
        "n": cell.n,
        "seeds": cell.seeds,
        "failed": cell.failed,
        "best": cell.best,
        "values": {str(seed): value for seed, value in cell.values.items()},
    }

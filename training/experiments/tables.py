"""Tables of means and spreads over seeds; what is missing is missing in them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Final

from training.experiments.axes import Axis, as_label
from training.experiments.config import Experiment
from training.experiments.metrics import Metric, metric
from training.experiments.results import Result
from training.experiments.table_settings import TableSettings

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

"""Experiments of a home: the tables of papers, as `handsim experiment` wrote them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from apps.browser.file_memory import read_object
from handsim.errors import HandsimError
from handsim.home import Home

FORMAT: Final = 1
_FOLDER: Final = "experiments"
_STEPS: Final = "steps"


@dataclass(frozen=True)
class Cell:
    """One number over the seeds."""

    mean: float | None
    """None where no seed is done."""
    spread: float | None
    """The standard deviation; None for fewer than two seeds."""
    n: int
    """Seeds that are done."""
    seeds: int
    """Seeds that there should be."""
    failed: int
    """Seeds that failed."""
    best: bool
    """Whether no other whole cell of its column is better."""
    values: tuple[float, ...]
    """One for each seed that is done."""


@dataclass(frozen=True)
class Column:
    """What stands in one."""

    label: str | None
    """The value on the axis of columns; None where there is none."""
    metric: str
    """The number's name."""
    title: str
    """The number's name for people."""

    @property
    def digits(self) -> int:
        """After the point."""
        return 3 if "_auc_" in self.metric else 2


@dataclass(frozen=True)
class Table:
    """Rows and columns of cells."""

    title: str
    """Above it."""
    rows_axis: str
    """What the rows are values of."""
    columns_axis: str | None
    """What the columns are values of, if of anything."""
    where: Mapping[str, Any]
    """What holds for the whole table."""
    rows: tuple[str, ...]
    """The first column."""
    columns: tuple[Column, ...]
    """The others."""
    cells: tuple[tuple[Cell, ...], ...]
    """[rows][columns]."""

    def heading(self, column: Column) -> str:
        """What stands above a column."""
        if self.columns_axis is None or column.label is None:
            return column.title
        return f"{spaced(self.columns_axis)} {column.label}: {column.title}"

    @property
    def metrics(self) -> dict[str, str]:
        """Metric -> its title, each once."""
        return {column.metric: column.title for column in self.columns}


@dataclass(frozen=True)
class ExperimentResults:
    """What ``results.json`` says."""

    title: str
    """Of the experiment."""
    states: tuple[str, ...]
    """``done``, ``failed`` or ``missing`` for each run."""
    tables: tuple[Table, ...]
    """In the order of the experiment's file."""


def experiment_files(home: Home) -> dict[str, Path]:
    """Name -> ``results.json``, of the experiments of a home that have tables."""
    found = sorted((home.path / _FOLDER).glob("*/results.json"))
    return {path.parent.name: path for path in found if path.parent.name != _STEPS}


def step_counts(home: Home) -> dict[str, int]:
    """How many steps of experiments are done, failed, and neither: under way or stopped."""
    counts = {"done": 0, "failed": 0, "begun": 0}
    for step in (home.path / _FOLDER / _STEPS).glob("*/step.json"):
        state = next((name for name in ("done", "failed") if (step.parent / name).exists()), "begun")
        counts[state] += 1
    return counts


def read_results(path: Path) -> ExperimentResults:
    """Read ``results.json``; raises ValueError, KeyError, TypeError or OverflowError for what is none."""
    told = read_object(path)
    if told["format"] != FORMAT:
        raise HandsimError(f"{path} has format {told['format']}; this handsim reads {FORMAT}")
    return ExperimentResults(
        title=str(told["title"]),
        states=tuple(str(run["state"]) for run in told["runs"]),
        tables=tuple(_table(table) for table in told["tables"]),
    )


def _table(told: Mapping[str, Any]) -> Table:
    return Table(
        title=str(told["title"] or told["name"]),
        rows_axis=str(told["rows_axis"]),
        columns_axis=told["columns_axis"],
        where=told["where"],
        rows=tuple(map(str, told["rows"])),
        columns=tuple(
            Column(column["label"], str(column["metric"]), str(column["title"])) for column in told["columns"]
        ),
        cells=tuple(tuple(map(_cell, row)) for row in told["cells"]),
    )


def _cell(told: Mapping[str, Any]) -> Cell:
    return Cell(
        mean=_number(told["mean"]),
        spread=_number(told["spread"]),
        n=int(told["n"]),
        seeds=int(told["seeds"]),
        failed=int(told["failed"]),
        best=bool(told["best"]),
        values=tuple(map(float, told["values"].values())),
    )


def _number(told: Any) -> float | None:
    return None if told is None else float(told)


def spaced(axis: str) -> str:
    """An axis for people."""
    return axis.replace("_", " ")


def as_texts(table: Table, plain: Callable[[str], str]) -> Any:
    """An Arrow table of Markdown, the best in bold with a star; ``plain`` makes texts of files harmless."""
    names = [plain(spaced(table.rows_axis)), *(plain(table.heading(column)) for column in table.columns)]
    columns: list[list[str]] = [[plain(row) for row in table.rows]]
    for place, column in enumerate(table.columns):
        columns.append([_shown(cells[place], column.digits) for cells in table.cells])
    return pa.table([pa.array(column, pa.string()) for column in columns], names)


def _shown(cell: Cell, digits: int) -> str:
    if cell.mean is None:
        return "failed" if cell.failed else "missing"
    number = f"{cell.mean:.{digits}f}" + ("" if cell.spread is None else f" ± {cell.spread:.{digits}f}")
    if cell.n < cell.seeds:
        return f"{number} ({cell.n} of {cell.seeds} seeds)"
    return f"★ **{number}**" if cell.best else number

"""An experiment's tables in words: Markdown, and plain values for JSON."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from training.experiments.axes import AXES, Axis, as_label
from training.experiments.config import Experiment
from training.experiments.metrics import Metric
from training.experiments.results import Result
from training.experiments.tables import MEAN_POSE, Cell, Column, Table

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
        shown = [_cell(cell, column.metric) for cell, column in zip(cells, table.columns, strict=True)]
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


def _cell(cell: Cell, shown: Metric) -> str:
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

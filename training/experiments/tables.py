"""A table of an experiment: cells over the seeds in rows and columns, as Markdown, as JSON, and read back.

Intervals are those of `handsim.metrics.bootstrap`. A table has the numbers themselves or, with a
``reference``, their differences to one row. What is missing or failed is counted in each cell, and never
filled in.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any, Final

from training.evaluation.report import Metric
from training.experiments.config import AXES, Axis, as_label

PRIMARY_MARK: Final = " †"
"""Behind the heads of the primary comparison's columns and rows."""
MEAN_POSE: Final = "mean pose"
"""The row of the scores of the mean pose of the training split, an estimator that ignores the image."""
FEWEST_PEOPLE: Final = 10
"""Intervals over fewer are too narrow to call a difference clear."""
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


@dataclass(frozen=True)
class Interval:
    """Where the true number lies with a probability of `LEVEL`, as far as people and seeds tell."""

    low: float
    high: float
    people: int
    """How many people it was drawn from."""


@dataclass(frozen=True)
class Cell:
    """One number over the seeds, or its difference to that of the table's reference."""

    values: dict[int, float]
    """By seed, those that are done."""
    seeds: int
    """How many there should be."""
    failed: int = 0
    """How many of the others failed."""
    best: bool = False
    """Whether it has all seeds, and no other such cell of its column is better."""
    interval: Interval | None = None
    """None where the evaluations did not store the errors of their hands, and for what is no mean of them."""
    reference_mean: float | None = None
    """Of a difference: what it is a difference to."""

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

    @property
    def is_difference(self) -> bool:
        return self.reference_mean is not None

    @property
    def is_clear(self) -> bool:
        """Whether it is a difference that has all seeds, and 0 is not in its interval over enough people."""
        interval = self.interval
        if interval is None or interval.people < FEWEST_PEOPLE:
            return False
        return self.is_difference and self.is_complete and (interval.low > 0 or interval.high < 0)

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The interval, else the mean minus and plus the spread; None where neither is known."""
        if self.interval is not None:
            return self.interval.low, self.interval.high
        if self.mean is None or self.spread is None:
            return None
        return self.mean - self.spread, self.mean + self.spread

    def text(self, digits: int) -> str:
        """``12.30 [11.80, 12.90]``, without an interval ``12.30 ± 0.40``; ``missing`` or ``failed``.

        Differences have signs and are in percent, too. Where seeds are missing, it is said how many are done.
        """
        if self.mean is None:
            return "failed" if self.failed else "missing"
        number = f"{'+' if self.is_difference else ''}.{digits}f"
        text = f"{self.mean:{number}}"
        if self.interval is not None:
            text += f" [{self.interval.low:{number}}, {self.interval.high:{number}}]"
        elif self.spread is not None:
            text += f" ± {self.spread:.{digits}f}"
        if self.reference_mean:
            text += f", {100 * self.mean / self.reference_mean:+.1f} %"
        return text if self.is_complete else f"{text} ({self.n} of {self.seeds} seeds)"

    def to_json(self) -> dict[str, Any]:
        return {
            "mean": self.mean,
            "spread": self.spread,
            "n": self.n,
            "seeds": self.seeds,
            "failed": self.failed,
            "best": self.best,
            "interval": None if self.interval is None else asdict(self.interval),
            "reference_mean": self.reference_mean,
            "values": {str(seed): value for seed, value in self.values.items()},
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Cell":
        values = {int(seed): float(value) for seed, value in content["values"].items()}
        interval, mean = content.get("interval"), content.get("reference_mean")  # earlier ones have none
        return cls(
            values,
            int(content["seeds"]),
            int(content["failed"]),
            bool(content["best"]),
            None if interval is None else Interval(**interval),
            None if mean is None else float(mean),
        )


@dataclass(frozen=True)
class Column:
    """One number, for one value on the axis of columns."""

    label: str | None
    """The value; None for a table without an axis of columns."""
    metric: Metric
    is_primary: bool = False
    """Whether the primary comparison is made in it."""


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
    """``cells[row][column]``."""
    reference: str | None = None
    """The row of another table that all cells are differences to; None: they are the numbers themselves."""
    primary_rows: tuple[str, ...] = ()
    """The rows of the primary comparison."""

    @property
    def metrics(self) -> list[Metric]:
        return list(dict.fromkeys(column.metric for column in self.columns))

    def heading(self, column: Column) -> str:
        mark = PRIMARY_MARK if column.is_primary else ""
        if self.columns_axis is None:
            return column.metric.title + mark
        return f"{AXIS_TITLES[self.columns_axis]} {column.label}: {column.metric.title}{mark}"

    def level_title(self, metric: Metric) -> str:
        """What a figure of the table shows."""
        return metric.title if self.reference is None else f"{metric.title}, minus {self.reference}"

    def row_heading(self, row: str) -> str:
        return row + (PRIMARY_MARK if row in self.primary_rows else "")

    @property
    def people(self) -> list[int]:
        """How many people the intervals were drawn from: one number, if all columns are of one dataset."""
        intervals = [cell.interval for row in self.cells for cell in row]
        return sorted({interval.people for interval in intervals if interval is not None})

    @property
    def condition(self) -> str:
        """``where`` and the number of people in words; empty where there is nothing to say."""
        parts = [f"{AXIS_TITLES[axis]} {as_label(value)}" for axis, value in self.where.items()]
        if self.people:
            parts.append(f"{' or '.join(map(str, self.people))} people")
        return ", ".join(parts)

    def to_markdown(self) -> str:
        """The best cell of each column is bold, of differences all those that are clear."""
        header = [AXIS_TITLES[self.rows_axis], *map(self.heading, self.columns)]
        lines = [f"| {' | '.join(header)} |", "|---" + "|---:" * len(self.columns) + "|"]
        for label, cells in zip(self.rows, self.cells, strict=True):
            row = [f"*{label}*" if label == MEAN_POSE else self.row_heading(label)]
            for cell, column in zip(cells, self.columns, strict=True):
                text = cell.text(column.metric.digits)
                row.append(f"**{text}**" if cell.best or cell.is_clear else text)
            lines.append(f"| {' | '.join(row)} |")
        if self.condition:
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
                    "is_primary": column.is_primary,
                }
                for column in self.columns
            ],
            "cells": [[cell.to_json() for cell in row] for row in self.cells],
            "reference": self.reference,
            "primary_rows": list(self.primary_rows),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Table":
        columns = [
            Column(
                each["label"],
                Metric(str(each["metric"]), str(each["title"]), bool(each["higher_is_better"])),
                bool(each.get("is_primary")),
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
            content.get("reference"),
            tuple(map(str, content.get("primary_rows", ()))),
        )

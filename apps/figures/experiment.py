"""Figures of an experiment's tables: means over seeds, their spread, and each seed as a dot."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from apps.experiment_words import AXIS_TITLES
from apps.figures.style import FAINT, SERIES, figure
from training.experiments.axes import ORDERED
from training.experiments.metrics import Metric
from training.experiments.tables import MEAN_POSE, Cell, Table

_WIDTH: Final = 0.8
"""Of all bars of one value together."""


def table_figure(table: Table, shown: Metric) -> Figure:
    """One number of a table: lines where its columns have an order, bars where they have none.

    A row is a colour; without columns, a bar. What is missing is not drawn.
    """
    places = [place for place, column in enumerate(table.columns) if column.metric == shown]
    rows = [
        (name, [row[place] for place in places])
        for name, row in zip(table.rows, table.cells, strict=True)
        if name != MEAN_POSE
    ]
    columns = table.settings.columns
    across = [str(table.columns[place].label) for place in places]
    with figure(max(5.6, 1.6 + 0.9 * max(len(across), len(rows))), 3.8) as drawn:
        axes = drawn.subplots()
        if columns is None:
            _bars(axes, [(None, [row[0] for _, row in rows])], [name for name, _ in rows])
            axes.set_xlabel(AXIS_TITLES[table.settings.rows])
        else:
            (_lines if columns in ORDERED else _bars)(axes, rows, across)
            axes.set_xlabel(AXIS_TITLES[columns])
        _mean_pose(axes, table, places)
        axes.set(title=table.settings.title or table.name, ylabel=shown.title)
        axes.grid(visible=False, axis="x")
        if axes.get_legend_handles_labels()[1]:
            drawn.legend(loc="outside lower left", fontsize=9, ncols=3)
    return drawn


def _lines(axes: Axes, rows: Sequence[tuple[str, list[Cell]]], across: list[str]) -> None:
    for number, (name, cells) in enumerate(rows):
        colour = SERIES[number % len(SERIES)]
        means, spreads = _means(cells)
        aside = np.arange(len(cells)) + 0.06 * (number - (len(rows) - 1) / 2)
        axes.errorbar(aside, means, spreads, color=colour, marker="o", markersize=4, capsize=3, label=name)
    axes.set_xticks(range(len(across)), across)


def _bars(axes: Axes, rows: Sequence[tuple[str | None, list[Cell]]], across: list[str]) -> None:
    width = _WIDTH / len(rows)
    for number, (name, cells) in enumerate(rows):
        colours = [SERIES[(place if name is None else number) % len(SERIES)] for place in range(len(cells))]
        means, spreads = _means(cells)
        places = np.arange(len(cells)) + (number - (len(rows) - 1) / 2) * width
        axes.bar(places, means, width * 0.92, color=colours, alpha=0.75, label=name)
        axes.errorbar(places, means, spreads, fmt="none", color="#3a3f4a", capsize=3, linewidth=1.2)
        for place, cell in zip(places, cells, strict=True):
            axes.plot(np.full(cell.n, place), [*cell.values.values()], ".", color="#3a3f4a", markersize=4)
    axes.set_xticks(range(len(across)), across)
    _leave_zero(axes, [cell for _, cells in rows for cell in cells])


def _leave_zero(axes: Axes, cells: list[Cell]) -> None:
    """Room for the differences: bars need not begin at 0 where all are far from it."""
    values = [value for cell in cells for value in cell.values.values()]
    if values and min(values) > 0.5 * max(values):
        axes.set_ylim(bottom=min(values) - 0.4 * (max(values) - min(values)) - 0.02 * max(values))


def _mean_pose(axes: Axes, table: Table, places: list[int]) -> None:
    """A dashed line, where it is the same in all columns."""
    if MEAN_POSE not in table.rows:
        return
    floor = table.cells[table.rows.index(MEAN_POSE)]
    levels = {floor[place].mean for place in places}
    level = levels.pop()
    if not levels and level is not None:
        axes.axhline(level, color=FAINT, linewidth=1.2, linestyle=(0, (4, 2)), label=MEAN_POSE)


def _means(cells: list[Cell]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means and spreads, NaN where there are none."""
    means = [np.nan if cell.mean is None else cell.mean for cell in cells]
    return np.array(means), np.array([np.nan if cell.spread is None else cell.spread for cell in cells])

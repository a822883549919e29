"""Figures of an experiment's tables: means over seeds, their spread, and each seed as a dot."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from apps.experiment_words import AXIS_TITLES
from apps.figures.style import FAINT, SERIES, figure
from training.experiments.axes import ORDERED
from training.experiments.metrics import Metric
from training.experiments.tables import MEAN_POSE, Cell, Table

_DOT: Final = "#3a3f4a"
_APART: Final = 0.09
"""Between two rows' points of one column, in columns."""
_LETTER_IN: Final = 0.09
"""Width of a letter below the axis, in inches: names must not run into each other."""


def table_figure(table: Table, shown: Metric) -> Figure:
    """One number of a table: a point for each mean, joined where its columns have an order.

    A row is a colour, a small dot a seed; what is missing is not drawn. Points and not bars, as differences
    are small beside the numbers.
    """
    places = [place for place, column in enumerate(table.columns) if column.metric == shown]
    rows = [
        (name, [row[place] for place in places])
        for name, row in zip(table.rows, table.cells, strict=True)
        if name != MEAN_POSE
    ]
    columns = table.settings.columns
    across = [str(table.columns[place].label) for place in places]
    if columns is None:  # then the rows stand side by side
        across = [name for name, _ in rows]
    apart = max(0.9, _LETTER_IN * max(map(len, across)))
    with figure(max(5.6, 1.6 + apart * len(across)), 3.8) as drawn:
        axes = drawn.subplots()
        for number, (name, cells) in enumerate(rows):
            aside = 0.0 if columns is None else (number - (len(rows) - 1) / 2) * _APART
            first = number if columns is None else 0
            where = [first + place + aside for place in range(len(cells))]
            _points(axes, where, cells, name, number, joined=columns in ORDERED)
        axes.set_xticks(range(len(across)), across)
        axes.set_xlim(-0.5, len(across) - 0.5)
        _mean_pose(axes, table, places)
        axes.set_xlabel(AXIS_TITLES[table.settings.rows if columns is None else columns])
        axes.set(title=table.settings.title or table.name, ylabel=shown.title)
        axes.grid(visible=False, axis="x")
        if columns is not None:
            drawn.legend(loc="outside lower left", fontsize=9, ncols=4)
    return drawn


def _points(
    axes: Axes, where: Sequence[float], cells: Sequence[Cell], name: str, number: int, *, joined: bool
) -> None:
    colour = SERIES[number % len(SERIES)]
    means = np.array([np.nan if cell.mean is None else cell.mean for cell in cells])
    spreads = np.array([np.nan if cell.spread is None else cell.spread for cell in cells])
    axes.errorbar(
        where, means, spreads, color=colour, fmt="o-" if joined else "o", markersize=6, capsize=3, label=name
    )
    for place, cell in zip(where, cells, strict=True):
        values = [*cell.values.values()]
        axes.plot([place] * cell.n, values, ".", color=_DOT, markersize=3, zorder=3)


def _mean_pose(axes: Axes, table: Table, places: Sequence[int]) -> None:
    """A dashed line, where it is the same in all columns."""
    if MEAN_POSE not in table.rows:
        return
    floor = table.cells[table.rows.index(MEAN_POSE)]
    levels = {floor[place].mean for place in places}
    level = levels.pop()
    if not levels and level is not None:
        axes.axhline(level, color=FAINT, linewidth=1.2, linestyle=(0, (4, 2)))
        axes.annotate(MEAN_POSE, (axes.get_xlim()[1], level), ha="right", va="bottom", color=FAINT)

"""An experiment's table as a chart: means over the seeds, their spread, and each seed as a dot."""

from typing import Any, Final

import altair as alt
import pyarrow as pa

from apps.browser.results.experiments import Table, spaced
from apps.browser.results.pck_chart import GREY, SHAPES
from apps.browser.results.pose_table import MEAN_POSE

_PLOT_PX: Final = 320
_LEGEND_ROW_PX: Final = 14
"""Two stand beside each other."""
_AXIS_PX: Final = 80
_ROW_PX: Final = 38
"""Of rows that lie below each other."""
_TICKS: Final = 8
_MEANS: Final = pa.schema(
    [
        *(("row", pa.string()), ("column", pa.string())),
        *((name, pa.float64()) for name in ("mean", "low", "high")),
    ]
)
_SEEDS: Final = pa.schema([("row", pa.string()), ("column", pa.string()), ("value", pa.float64())])


def cell_tables(table: Table, metric: str) -> tuple[Any, Any, list[float]]:
    """Arrow tables of the means (``row``, ``column``, ``mean``, ``low``, ``high``) and of single seeds.

    Beside them the levels of the mean pose, each once. What is missing is not there.
    """
    means: list[dict[str, Any]] = []
    seeds: list[dict[str, Any]] = []
    floors: dict[float, None] = {}
    for name, cells in zip(table.rows, table.cells, strict=True):
        for cell, column in zip(cells, table.columns, strict=True):
            if cell.mean is None or column.metric != metric:
                continue
            if name == MEAN_POSE:
                floors[cell.mean] = None
                continue
            place = {"row": name, "column": name if column.label is None else column.label}
            spread = cell.spread or 0.0
            means.append({**place, "mean": cell.mean, "low": cell.mean - spread, "high": cell.mean + spread})
            seeds += [{**place, "value": value} for value in cell.values]
    return pa.Table.from_pylist(means, _MEANS), pa.Table.from_pylist(seeds, _SEEDS), list(floors)


def experiment_chart(table: Table, metric: str) -> alt.LayerChart | alt.FacetChart:
    """One number of a table; a row is told by colour and sign. Points and not bars: differences are small.

    Where no axis goes along the columns, rows lie below each other: there is room for their whole names.
    """
    means, seeds, floors = cell_tables(table, metric)
    rows = [row for row in table.rows if row != MEAN_POSE]
    labels = list(dict.fromkeys(column.label for column in table.columns if column.label is not None))
    aside = table.columns_axis is not None
    legend = alt.Legend(
        orient="bottom", title=None, columns=2, labelLimit=160, symbolSize=90, symbolOpacity=1
    )
    places: list[alt.X | alt.Y | alt.XOffset]
    if aside:
        title = spaced(str(table.columns_axis))
        axis, scale = alt.Axis(labelAngle=0), alt.Scale(domain=labels)
        across = alt.X("column:N", sort=labels, scale=scale, title=title, axis=axis)
        places = [across, alt.XOffset("row:N", scale=alt.Scale(domain=rows))]
    else:
        axis, scale = alt.Axis(labelLimit=0, labelFlush=False), alt.Scale(domain=rows)
        places = [alt.Y("column:N", sort=rows, scale=scale, title=None, axis=axis)]
    colour = alt.Color("row:N", scale=alt.Scale(domain=rows), legend=legend if aside else None)
    repeated = [SHAPES[number % len(SHAPES)] for number in range(len(rows))]
    shape = alt.Shape("row:N", scale=alt.Scale(domain=rows, range=repeated), legend=legend if aside else None)

    def level(column: str) -> alt.X | alt.Y:
        title, scale = table.metrics[metric], alt.Scale(zero=False)
        return (alt.Y if aside else alt.X)(column, title=title, scale=scale, axis=alt.Axis(tickCount=_TICKS))

    end = alt.Y2("high:Q") if aside else alt.X2("high:Q")
    base = alt.Chart(means).encode(*places, colour)
    layers = [
        alt.Chart(seeds).mark_circle(size=18, opacity=0.6).encode(*places, colour, level("value:Q")),
        base.mark_rule(strokeWidth=2).encode(level("low:Q"), end),
        base.mark_point(filled=True, size=90, opacity=1).encode(
            level("mean:Q"), shape, tooltip=["row:N", "column:N", alt.Tooltip("mean:Q", format=".3f")]
        ),
    ]
    if floors:
        floor = alt.Chart(pa.table({"mean": floors, "name": [MEAN_POSE] * len(floors)}))
        layers.append(floor.mark_rule(color=GREY, strokeDash=[5, 4]).encode(level("mean:Q")))
        named = floor.mark_text(align="left", dx=4, dy=-7, x=0) if aside else floor.mark_text(dy=-8, y=0)
        layers.append(named.encode(level("mean:Q"), text="name:N"))
    height = _PLOT_PX + _LEGEND_ROW_PX * len(rows) if aside else _AXIS_PX + _ROW_PX * len(rows)
    return alt.layer(*layers).properties(height=height)

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
    """One number of a table; a row is told by colour and sign. Points and not bars: differences are small."""
    means, seeds, floors = cell_tables(table, metric)
    rows = [row for row in table.rows if row != MEAN_POSE]
    labels = list(dict.fromkeys(column.label for column in table.columns if column.label is not None))
    aside = table.columns_axis is not None
    legend = alt.Legend(
        orient="bottom", title=None, columns=2, labelLimit=160, symbolSize=90, symbolOpacity=1
    )
    across = alt.X(
        "column:N",
        sort=labels or rows,
        scale=alt.Scale(domain=labels or rows),
        title=spaced(table.columns_axis or table.rows_axis),
        axis=alt.Axis(labelAngle=0 if aside else -30),
    )
    colour = alt.Color("row:N", scale=alt.Scale(domain=rows), legend=legend if aside else None)
    repeated = [SHAPES[number % len(SHAPES)] for number in range(len(rows))]
    shape = alt.Shape("row:N", scale=alt.Scale(domain=rows, range=repeated), legend=legend if aside else None)
    beside = alt.XOffset("row:N", scale=alt.Scale(domain=rows)) if aside else alt.Undefined
    title = table.metrics[metric]
    scale = alt.Scale(zero=False)
    base = alt.Chart(means).encode(x=across, xOffset=beside, color=colour)
    layers = [
        alt.Chart(seeds)
        .mark_circle(size=18, opacity=0.6)
        .encode(x=across, xOffset=beside, color=colour, y=alt.Y("value:Q", title=title, scale=scale)),
        base.mark_rule(strokeWidth=2).encode(y=alt.Y("low:Q", title=title, scale=scale), y2="high:Q"),
        base.mark_point(filled=True, size=90, opacity=1).encode(
            y=alt.Y("mean:Q", title=title, scale=scale),
            shape=shape,
            tooltip=["row:N", "column:N", alt.Tooltip("mean:Q", format=".3f")],
        ),
    ]
    if floors:
        level = alt.Chart(pa.table({"mean": floors, "name": [MEAN_POSE] * len(floors)}))
        y = alt.Y("mean:Q", title=title)
        layers.append(level.mark_rule(color=GREY, strokeDash=[5, 4]).encode(y=y))
        named = level.mark_text(color=GREY, align="left", dx=4, dy=-7, x=0)
        layers.append(named.encode(y=y, text="name:N"))
    return alt.layer(*layers).properties(height=_PLOT_PX + (_LEGEND_ROW_PX * len(rows) if aside else 0))

"""Charts of results: PCK curves, errors of single joints on a hand, retrieval, and tables of experiments."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import altair as alt
import numpy as np
from numpy.typing import NDArray

from apps.browser.results.evaluations import PoseGroup
from apps.browser.search.question import make_preset
from handsim.skeleton import BONES, JOINT_COUNT, JOINT_NAMES
from training.evaluation.report import Metric
from training.experiments.tables import AXIS_TITLES, MEAN_POSE, Table

SHAPES: Final = (
    *("circle", "square", "triangle-up", "diamond"),
    *("cross", "triangle-down", "triangle-right", "triangle-left"),
)
"""Enough to be distinguished."""
GREY: Final = "#858e99"
_EVERY_MM: Final = 10.0
"""Between the signs on a curve."""
_CURVES_PX: Final = 390
_CURVES_LEGEND_ROW_PX: Final = 27
AnyChart = alt.Chart | alt.LayerChart | alt.FacetChart
Rows = list[dict[str, Any]]
"""Of a chart's data, by column."""


def pck_rows(groups: Sequence[PoseGroup], alignment: str) -> Rows:
    """Rows of ``group``, ``mm``, ``share``, its ``low`` and ``high`` over the seeds, and ``sign``.

    ``sign`` says which points carry the group's sign.
    """
    rows: Rows = []
    for group in groups:
        curves, thresholds = group.curves(alignment), group.report.thresholds_mm
        if curves is None or curves.shape[1] != len(thresholds):
            continue
        signs = np.searchsorted(thresholds, np.arange(_EVERY_MM, thresholds[-1] + 1e-9, _EVERY_MM))
        columns = zip(
            thresholds.tolist(),
            curves.mean(axis=0).tolist(),
            curves.min(axis=0).tolist(),
            curves.max(axis=0).tolist(),
            strict=True,
        )
        rows += [
            {"group": group.title, "mm": mm, "share": share, "low": low, "high": high, "sign": place in signs}
            for place, (mm, share, low, high) in enumerate(columns)
        ]
    return rows


def mean_pose_rows(groups: Sequence[PoseGroup], alignment: str) -> Rows:
    """Rows of ``which``, ``number``, ``mm`` and ``share`` of the mean poses, each once."""
    rows: Rows = []
    curves: set[tuple[float, ...]] = set()
    for group in groups:
        curve, thresholds = group.report.mean_pose_curves.get(alignment), group.report.thresholds_mm
        if curve is None or len(curve) != len(thresholds) or tuple(curve) in curves:
            continue
        curves.add(tuple(curve))
        rows += [
            {"which": MEAN_POSE, "number": len(curves), "mm": mm, "share": share}
            for mm, share in zip(thresholds.tolist(), curve.tolist(), strict=True)
        ]
    return rows


def _chart(rows: Rows) -> alt.Chart:
    return alt.Chart({"values": rows})


def pck_chart(groups: Sequence[PoseGroup], alignment: str) -> alt.LayerChart | alt.FacetChart:
    """A curve for each group, with a colour and a sign; a band over its seeds; the mean pose dashed."""
    legend = alt.Legend(
        orient="bottom", title=None, columns=1, labelLimit=300, symbolSize=90, symbolOpacity=1, rowPadding=2
    )
    titles = [group.title for group in groups]
    colour = alt.Color("group:N", scale=alt.Scale(domain=titles), legend=legend)
    shape = alt.Shape(
        "group:N", scale=alt.Scale(domain=titles, range=list(SHAPES[: len(titles)])), legend=legend
    )
    across = alt.X("mm:Q", title="distance from the truth (mm)", scale=alt.Scale(nice=False))
    percent, whole = alt.Axis(format=".0%"), alt.Scale(domain=[0, 1])
    up = alt.Y("share:Q", title="share of joints", axis=percent, scale=whole)
    tooltip = [
        alt.Tooltip("group:N", title="evaluation"),
        alt.Tooltip("mm:Q", title="within (mm)", format=".1f"),
        alt.Tooltip("share:Q", title="share of joints", format=".1%"),
    ]
    base = _chart(pck_rows(groups, alignment)).encode(x=across, color=colour)
    band = base.mark_area(opacity=0.16).encode(
        y=alt.Y("low:Q", title="share of joints", axis=percent, scale=whole), y2="high:Q"
    )
    floor = _chart(mean_pose_rows(groups, alignment)).mark_line(color=GREY, strokeWidth=1.6)
    dashed = alt.StrokeDash(
        "which:N",
        scale=alt.Scale(domain=[MEAN_POSE], range=[[5, 4]]),
        legend=alt.Legend(orient="top-left", title=None, symbolType="stroke", symbolSize=500),
    )
    signs = base.mark_point(filled=True, size=70, opacity=1).encode(y=up, shape=shape, tooltip=tooltip)
    return alt.layer(
        band,
        floor.encode(x=across, y=up, strokeDash=dashed, detail="number:N"),
        base.mark_line(strokeWidth=2).encode(y=up),
        signs.transform_filter("datum.sign"),
        base.mark_circle(opacity=0, size=80).encode(y=up, tooltip=tooltip),
    ).properties(height=_CURVES_PX + _CURVES_LEGEND_ROW_PX * len(groups))


_WIDTH_PX: Final = 310
_EDGE: Final = 0.07
_NUMBER_ASIDE_PX: Final = 14


def hand_places() -> NDArray[np.float64]:
    """[21, 2] joints of a flat right hand in its crop's unit square, x right, y down."""
    return np.array(make_preset("Flat"), dtype=np.float64).reshape(JOINT_COUNT, 2) / 1000


def joint_rows(errors_mm: NDArray[np.float64], floor_mm: NDArray[np.float64] | None) -> Rows:
    """A row for each joint: ``joint``, ``x``, ``y``, ``error`` and the mean pose's ``floor``; NaN is None."""
    floors = np.full(JOINT_COUNT, np.nan) if floor_mm is None else floor_mm
    numbers = np.column_stack([hand_places(), errors_mm, floors])
    return [
        {"joint": joint.replace("_", " "), "x": x, "y": y}
        | {name: None if np.isnan(value) else value for name, value in (("error", error), ("floor", floor))}
        for joint, (x, y, error, floor) in zip(JOINT_NAMES, numbers.tolist(), strict=True)
    ]


def hand_chart(
    errors_mm: NDArray[np.float64], floor_mm: NDArray[np.float64] | None, largest_mm: float
) -> alt.LayerChart | alt.FacetChart:
    """A flat hand seen from its palm; the larger a joint's error, the larger and more opaque its circle.

    ``errors_mm`` and ``floor_mm`` are [21]; ``largest_mm`` is the error of the largest circle.
    """
    places = hand_places()
    low, high = places.min(axis=0) - _EDGE, places.max(axis=0) + _EDGE
    x = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[low[0], high[0]], nice=False))
    y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[high[1], low[1]], nice=False))
    lines = places[np.array(BONES)].reshape(-1, 4)
    bones = [dict(zip(("x", "y", "x2", "y2"), line, strict=True)) for line in lines.tolist()]
    joints = _chart(joint_rows(errors_mm, floor_mm)).encode(x=x, y=y)
    errors = [0, max(largest_mm, 1.0)]
    circles = joints.mark_circle().encode(
        size=alt.Size("error:Q", legend=None, scale=alt.Scale(domain=errors, range=[20, 520], clamp=True)),
        opacity=alt.Opacity("error:Q", legend=None, scale=alt.Scale(domain=errors, range=[0.35, 0.95])),
        tooltip=[
            alt.Tooltip("joint:N"),
            alt.Tooltip("error:Q", title="mean error (mm)", format=".1f"),
            alt.Tooltip("floor:Q", title="of the mean pose (mm)", format=".1f"),
        ],
    )
    numbers = joints.mark_text(dx=_NUMBER_ASIDE_PX, align="left", fontSize=12, fontWeight=600)
    drawn = alt.layer(
        _chart(bones)
        .mark_rule(color=GREY, strokeWidth=2, opacity=0.6)
        .encode(x=x, y=y, x2="x2:Q", y2="y2:Q"),
        circles,
        numbers.encode(text=alt.Text("error:Q", format=".0f")),
    )
    height = round(_WIDTH_PX * float((high[1] - low[1]) / (high[0] - low[0])))
    return drawn.properties(width=_WIDTH_PX, height=height)


POSE_DISTANCES: Final = "Joint distances of mined and of random pairs"
VARIANCE: Final = "Variance that the embedding keeps"
PAIRS_3D: Final = "Errors of mined pairs in 3D"
_RETRIEVAL_PX: Final = 260


def retrieval_charts(report: Mapping[str, Any]) -> dict[str, AnyChart]:
    """Caption -> chart, of what ``retrieval.json`` keeps for them."""
    curves = report.get("curves") or {}
    in_3d = report.get("pairs_3d") or {}
    charts: dict[str, AnyChart] = {}
    if "pose_distances" in curves:
        title = "mean 2D joint distance (share of the picture's width)"
        charts[POSE_DISTANCES] = _histogram_chart(curves["pose_distances"], title)
    if "explained_variance" in curves:
        charts[VARIANCE] = _variance_chart(curves["explained_variance"])
    if "errors_mm" in (in_3d.get("curves") or {}):
        charts[PAIRS_3D] = _histogram_chart(in_3d["curves"]["errors_mm"], "error (mm)")
    return charts


def _histogram_chart(bins: Mapping[str, Sequence[float]], title: str) -> alt.Chart:
    """Steps over the bins of ``apps.cli.evaluate_pairs_3d.histogram``, a line for each set of numbers."""
    edges, names = bins["edges"], [name for name in bins if name != "edges"]
    rows = [
        {"pairs": name, "from": left, "to": right, "share": count / max(1, sum(bins[name]))}
        for name in names
        for left, right, count in zip(edges[:-1], edges[1:], bins[name], strict=True)
    ]
    legend = alt.Legend(title=None, orient="top", symbolType="stroke", symbolSize=500, labelLimit=0)
    dashes = alt.Scale(domain=names, range=[[1, 0], [6, 3], [2, 2]][: len(names)])
    chart: alt.Chart = (
        _chart(rows)
        .mark_line(interpolate="step-after", strokeWidth=2.2)
        .encode(
            alt.X("from:Q", title=title, scale=alt.Scale(nice=False)),
            alt.Y("share:Q", title="share of pairs", axis=alt.Axis(format="%", tickCount=4)),
            alt.Color("pairs:N", sort=names, legend=legend),
            alt.StrokeDash("pairs:N", sort=names, scale=dashes, legend=legend),
            tooltip=[
                alt.Tooltip("pairs:N"),
                alt.Tooltip("from:Q", format=".3f"),
                alt.Tooltip("to:Q", format=".3f"),
                alt.Tooltip("share:Q", format=".1%"),
            ],
        )
        .properties(height=_RETRIEVAL_PX)
    )
    return chart


def _variance_chart(shares: Sequence[float]) -> AnyChart:
    """A bar for each component, and what all up to it keep together as a line."""
    totals = np.cumsum(shares).tolist()
    rows = [
        {"component": number, "each": share, "together": total}
        for number, (share, total) in enumerate(zip(shares, totals, strict=True), start=1)
    ]
    base = _chart(rows).encode(alt.X("component:O", title="component", axis=alt.Axis(labelAngle=0)))
    up = alt.Scale(domain=[0, 1])
    tooltip = ["component:O", *(alt.Tooltip(f"{name}:Q", format=".1%") for name in ("each", "together"))]
    axis = alt.Axis(format="%", tickCount=5)
    line = alt.Y("together:Q", title="explained variance", axis=axis, scale=up)
    return alt.layer(
        base.mark_bar(opacity=0.6).encode(alt.Y("each:Q", axis=axis, scale=up), tooltip=tooltip),
        base.mark_line(point=True, strokeWidth=2).encode(line, color=alt.value(GREY), tooltip=tooltip),
    ).properties(height=_RETRIEVAL_PX)


_CELLS_PX: Final = 320
_CELLS_LEGEND_ROW_PX: Final = 14
"""Two entries stand beside each other."""
_AXIS_PX: Final = 80
_ROW_PX: Final = 38
"""Of rows that lie below each other."""
_TICKS: Final = 8


def cell_rows(table: Table, metric: Metric) -> tuple[Rows, Rows, list[float]]:
    """Rows of the means (``row``, ``column``, ``mean``, ``low``, ``high``), and of single seeds.

    The third result is the scores of the mean pose, each once. Missing cells are left out.
    """
    means: Rows = []
    seeds: Rows = []
    floors: dict[float, None] = {}
    for name, cells in zip(table.rows, table.cells, strict=True):
        for cell, column in zip(cells, table.columns, strict=True):
            if cell.mean is None or column.metric != metric:
                continue
            if name == MEAN_POSE:
                floors[cell.mean] = None
                continue
            place = {"row": name, "column": name if column.label is None else column.label}
            low, high = cell.bounds or (cell.mean, cell.mean)
            means.append({**place, "mean": cell.mean, "low": low, "high": high})
            seeds += [{**place, "value": value} for value in cell.values.values()]
    return means, seeds, list(floors)


def experiment_chart(table: Table, metric: Metric) -> alt.LayerChart | alt.FacetChart:
    """One metric of a table: means with a colour and a sign for each row, their interval, each seed a dot.

    Points and not bars: differences are small. Without an axis along the columns the rows lie below each
    other, where there is room for their whole names.
    """
    means, seeds, floors = cell_rows(table, metric)
    rows = [row for row in table.rows if row != MEAN_POSE]
    labels = list(dict.fromkeys(column.label for column in table.columns if column.label is not None))
    aside = table.columns_axis is not None
    legend = alt.Legend(
        orient="bottom", title=None, columns=2, labelLimit=160, symbolSize=90, symbolOpacity=1
    )
    places: list[alt.X | alt.Y | alt.XOffset]
    if table.columns_axis is not None:
        title = AXIS_TITLES[table.columns_axis]
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
        title, scale = table.level_title(metric), alt.Scale(zero=False)
        return (alt.Y if aside else alt.X)(column, title=title, scale=scale, axis=alt.Axis(tickCount=_TICKS))

    end = alt.Y2("high:Q") if aside else alt.X2("high:Q")
    base = _chart(means).encode(*places, colour)
    layers = [
        _chart(seeds).mark_circle(size=18, opacity=0.6).encode(*places, colour, level("value:Q")),
        base.mark_rule(strokeWidth=2).encode(level("low:Q"), end),
        base.mark_point(filled=True, size=90, opacity=1).encode(
            level("mean:Q"), shape, tooltip=["row:N", "column:N", alt.Tooltip("mean:Q", format=".3f")]
        ),
    ]
    if floors:
        floor = _chart([{"mean": mean, "name": MEAN_POSE} for mean in floors])
        layers.append(floor.mark_rule(color=GREY, strokeDash=[5, 4]).encode(level("mean:Q")))
        named = floor.mark_text(align="left", dx=4, dy=-7, x=0) if aside else floor.mark_text(dy=-8, y=0)
        layers.append(named.encode(level("mean:Q"), text="name:N"))
    height = _CELLS_PX + _CELLS_LEGEND_ROW_PX * len(rows) if aside else _AXIS_PX + _ROW_PX * len(rows)
    return alt.layer(*layers).properties(height=height)

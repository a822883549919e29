"""Shares of joints within a distance of the truth, evaluations over each other."""

from collections.abc import Sequence
from typing import Any, Final

import altair as alt
import numpy as np
import pyarrow as pa

from apps.browser.results.pose_groups import PoseGroup
from apps.browser.results.pose_table import MEAN_POSE

SHAPES: Final = (
    *("circle", "square", "triangle-up", "diamond"),
    *("cross", "triangle-down", "triangle-right", "triangle-left"),
)
"""As many as can be told apart."""
GREY: Final = "#858e99"
_EVERY_MM: Final = 10.0
"""Between the signs on a curve."""
_PLOT_PX: Final = 390
_LEGEND_ROW_PX: Final = 27
_SCHEMA: Final = pa.schema(
    [
        ("group", pa.string()),
        *((name, pa.float64()) for name in ("mm", "share", "low", "high")),
        ("sign", pa.bool_()),
    ]
)
_MEAN_POSE_SCHEMA: Final = pa.schema(
    [("which", pa.string()), ("number", pa.int64()), ("mm", pa.float64()), ("share", pa.float64())]
)


def pck_table(groups: Sequence[PoseGroup], alignment: str) -> Any:
    """An Arrow table of ``group``, ``mm``, ``share``, its ``low`` and ``high`` over the seeds, and ``sign``.

    ``sign`` says which points carry the group's sign.
    """
    rows: list[dict[str, Any]] = []
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
    return pa.Table.from_pylist(rows, _SCHEMA)


def mean_pose_table(groups: Sequence[PoseGroup], alignment: str) -> Any:
    """An Arrow table of ``which``, ``number``, ``mm`` and ``share`` of the mean poses, each once."""
    rows: list[dict[str, Any]] = []
    seen: set[tuple[float, ...]] = set()
    for group in groups:
        curve, thresholds = group.report.mean_pose_curves.get(alignment), group.report.thresholds_mm
        if curve is None or len(curve) != len(thresholds) or tuple(curve) in seen:
            continue
        seen.add(tuple(curve))
        rows += [
            {"which": MEAN_POSE, "number": len(seen), "mm": mm, "share": share}
            for mm, share in zip(thresholds.tolist(), curve.tolist(), strict=True)
        ]
    return pa.Table.from_pylist(rows, _MEAN_POSE_SCHEMA)


def pck_chart(groups: Sequence[PoseGroup], alignment: str) -> alt.LayerChart | alt.FacetChart:
    """A group is told by its colour and its sign, its seeds are a band; the mean pose is dashed."""
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
    told = [
        alt.Tooltip("group:N", title="evaluation"),
        alt.Tooltip("mm:Q", title="within (mm)", format=".1f"),
        alt.Tooltip("share:Q", title="share of joints", format=".1%"),
    ]
    base = alt.Chart(pck_table(groups, alignment)).encode(x=across, color=colour)
    band = base.mark_area(opacity=0.16).encode(
        y=alt.Y("low:Q", title="share of joints", axis=percent, scale=whole), y2="high:Q"
    )
    floor = alt.Chart(mean_pose_table(groups, alignment)).mark_line(color=GREY, strokeWidth=1.6)
    dashed = alt.StrokeDash(
        "which:N",
        scale=alt.Scale(domain=[MEAN_POSE], range=[[5, 4]]),
        legend=alt.Legend(orient="top-left", title=None, symbolType="stroke", symbolSize=500),
    )
    signs = base.mark_point(filled=True, size=70, opacity=1).encode(y=up, shape=shape, tooltip=told)
    return alt.layer(
        band,
        floor.encode(x=across, y=up, strokeDash=dashed, detail="number:N"),
        base.mark_line(strokeWidth=2).encode(y=up),
        signs.transform_filter("datum.sign"),
        base.mark_circle(opacity=0, size=80).encode(y=up, tooltip=told),
    ).properties(height=_PLOT_PX + _LEGEND_ROW_PX * len(groups))

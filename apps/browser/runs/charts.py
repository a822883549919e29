"""Curves of runs as charts; a run is told by its colour and by its dashes."""

from collections.abc import Sequence
from typing import Any, Final

import altair as alt

from apps.browser.runs.panels import Panel

DASHES: Final = ([1, 0], [7, 3], [2, 2], [9, 3, 2, 3], [4, 6], [12, 3], [1, 4], [6, 2, 1, 2, 1, 2])
"""As many as can be told apart."""
_FEW: Final = 40
"""Points that are drawn as such."""


def curve_chart(
    table: Any,
    panel: Panel,
    runs: Sequence[str],
    *,
    logarithmic: bool,
    smoothing: float,
    height: int,
    legend: bool,
) -> alt.LayerChart | alt.FacetChart:
    """A panel's curves, out of a table of `panel_table`; ``runs`` are all that are compared, in order."""
    shown = alt.Legend(orient="top", title=None, columns=1, labelLimit=340, symbolSize=400)
    colour = alt.Color("run:N", scale=alt.Scale(domain=list(runs)), legend=shown if legend else None)
    dash = alt.StrokeDash(
        "run:N",
        scale=alt.Scale(domain=list(runs), range=[list(each) for each in DASHES[: len(runs)]]),
        legend=shown if legend else None,
    )
    scale = alt.Scale(type="log") if logarithmic else alt.Scale(zero=False)
    base = alt.Chart(table).encode(x=alt.X("step:Q", title="step", axis=alt.Axis(format="~s")), color=colour)

    def y(column: str) -> alt.Y:
        return alt.Y(column, title=None, scale=scale, axis=alt.Axis(format=panel.format))

    drawn = base.mark_line(strokeWidth=2, clip=True).encode(y=y("smooth:Q"), strokeDash=dash)
    layers = [drawn]
    if smoothing:
        layers.insert(0, base.mark_line(strokeWidth=1, opacity=0.25).encode(y=y("value:Q")))
    few = table.num_rows <= _FEW * max(1, len(runs))
    pointed_at = base.mark_circle(size=36 if few else 60, opacity=1 if few else 0).encode(
        y=y("smooth:Q"),
        tooltip=[
            alt.Tooltip("run:N", title="run"),
            alt.Tooltip("step:Q", title="step", format=",.0f"),
            alt.Tooltip("value:Q", title=panel.title, format=panel.format),
        ],
    )
    return alt.layer(*layers, pointed_at).properties(height=height)

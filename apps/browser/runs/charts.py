"""Curves of runs as charts; a run is told by its colour and by its dashes."""

from collections.abc import Sequence
from math import floor, log10
from typing import Any, Final

import altair as alt
import numpy as np
from numpy.typing import NDArray

from apps.browser.runs.panels import Panel

DASHES: Final = ([1, 0], [7, 3], [2, 2], [9, 3, 2, 3], [4, 6], [12, 3], [1, 4], [6, 2, 1, 2, 1, 2])
"""As many as can be told apart."""
_FIRST_PX: Final = 300
_PANEL_PX: Final = 190
_LEGEND_PX: Final = 28
_LEGEND_ROW_PX: Final = 24
"""Both are added to the height, so that a longer legend takes nothing of the curves."""
_FEW: Final = 40
"""Points that are drawn as such."""
_STEPS: Final = (
    (1,),
    (1, 2, 5),
    (1, 1.5, 2, 3, 4, 5, 6, 8),
    (1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9),
)
"""Of a decade, where to write numbers on a logarithmic axis: from few to many."""
_LEAST_TICKS: Final = 4


def curve_chart(
    table: Any,
    panel: Panel,
    runs: Sequence[str],
    *,
    logarithmic: bool,
    smoothing: float,
    last_step: float,
    is_first: bool,
) -> alt.LayerChart | alt.FacetChart:
    """A panel's curves, out of a table of `panel_table`; ``runs`` are all that are compared, in order.

    All panels reach from step 0 to ``last_step``; the first one is larger and says what holds for all.
    """
    told = alt.Legend(
        orient="bottom",
        title=None,
        columns=1,
        labelLimit=300,
        symbolType="stroke",
        symbolSize=500,
        symbolOpacity=1,
        rowPadding=2,
    )
    shown = told if is_first and len(runs) > 1 else None
    colour = alt.Color("run:N", scale=alt.Scale(domain=list(runs)), legend=shown)
    dash = alt.StrokeDash(
        "run:N",
        scale=alt.Scale(domain=list(runs), range=[list(each) for each in DASHES[: len(runs)]]),
        legend=shown,
    )
    scale = alt.Scale(type="log", nice=False) if logarithmic else alt.Scale(zero=False)
    across = alt.X(
        "step:Q",
        title="step" if is_first else None,
        scale=alt.Scale(domain=[0, last_step], nice=False),
        axis=alt.Axis(format="~s", tickMinStep=1),
    )
    base = alt.Chart(table).encode(x=across, color=colour)

    ticks = log_ticks(table["value"].to_numpy()) if logarithmic else []
    axis = alt.Axis(format=panel.format, values=ticks) if ticks else alt.Axis(format=panel.format)

    def y(column: str) -> alt.Y:
        return alt.Y(column, title=None, scale=scale, axis=axis)

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
    height = _FIRST_PX if is_first else _PANEL_PX
    if shown is not None:
        height += _LEGEND_PX + _LEGEND_ROW_PX * len(runs)
    return alt.layer(*layers, pointed_at).properties(height=height)


def log_ticks(values: NDArray[np.float64]) -> list[float]:
    """Where a logarithmic axis over ``values``, which are above 0, is told; none where they differ little.

    Of its own numbers Vega writes too few over a wider range, such as 5, 9 and 40.
    """
    if not len(values):
        return []
    low, high = float(values.min()), float(values.max())
    decades = range(floor(log10(low)) - 1, floor(log10(high)) + 1)
    for steps in _STEPS:
        ticks = [float(f"{step}e{decade}") for decade in decades for step in steps]
        within = sorted({tick for tick in ticks if low <= tick <= high})
        if len(within) >= _LEAST_TICKS:
            return within
    return []

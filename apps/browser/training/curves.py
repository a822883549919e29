"""Curves of runs: points in bounded memory, the panels that show them, and their charts.

A `Curve` is one metric of one run over its steps; a `Panel` is one chart with a curve for each run.
"""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import floor, log10
from typing import Any, Final

import altair as alt
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

MOST_POINTS: Final = 1000
"""More points than a chart is wide."""

Points = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Steps [N] and values [N], in the order they came."""


class Curve:
    """The points of a curve; where they are too many, equal portions of them are averaged.

    A portion doubles whenever there is no room left, so that the whole curve is always there, evenly.
    """

    def __init__(self, most: int = MOST_POINTS) -> None:
        """At most ``most`` points, an even number."""
        assert most % 2 == 0
        self._most = most
        self._steps, self._values = array("d"), array("d")
        self._portion = 1
        self._count, self._step_sum, self._value_sum = 0, 0.0, 0.0

    def __len__(self) -> int:
        return len(self._steps) + bool(self._count)

    def add(self, step: float, value: float) -> None:
        self._count += 1
        self._step_sum += step
        self._value_sum += value
        if self._count < self._portion:
            return
        self._steps.append(self._step_sum / self._count)
        self._values.append(self._value_sum / self._count)
        self._count, self._step_sum, self._value_sum = 0, 0.0, 0.0
        if len(self._steps) == self._most:
            self._steps, self._values = _halve(self._steps), _halve(self._values)
            self._portion *= 2

    def points(self) -> Points:
        """All of it; what is left of a portion is a point of its own."""
        steps, values = np.array(self._steps), np.array(self._values)
        if self._count:
            steps = np.append(steps, self._step_sum / self._count)
            values = np.append(values, self._value_sum / self._count)
        return steps, values


def _halve(numbers: "array[float]") -> "array[float]":
    return array("d", np.array(numbers).reshape(-1, 2).mean(axis=1).tobytes())


def smooth(values: NDArray[np.float64], weight: float) -> NDArray[np.float64]:
    """Values [N] as exponential moving averages, of which the first ones are not drawn towards zero.

    ``weight`` in 0 to 1 (excluded) is that of what came before; 0 changes nothing.
    """
    result = np.empty_like(values)
    mean, share = 0.0, 0.0
    for place, value in enumerate(values.tolist()):
        mean = weight * mean + (1 - weight) * value
        share = weight * share + (1 - weight)
        result[place] = mean / share
    return result


PERCENT: Final = ".1%"


@dataclass(frozen=True)
class Panel:
    """One chart: a number over the steps, a curve for each run."""

    metric: str
    """Its name in the runs' files."""
    title: str
    """For people, with its unit."""
    format: str
    """Of its numbers, as D3 writes it."""
    help: str = ""
    """What it means."""

    @property
    def can_be_smoothed(self) -> bool:
        """What is no measurement of a few batches is shown as it is."""
        return self.metric not in _EXACT

    @property
    def can_be_logarithmic(self) -> bool:
        """Shares of time stay as they are."""
        return self.format != PERCENT


_EXACT: Final = ("lr", "val_mpjpe_mm", "val_scale_aligned_mpjpe_mm")
LOSS: Final = Panel("loss", "Loss", ".4~g", "Mean over the steps since the line before")
_MAIN: Final = (
    Panel(
        "val_mpjpe_mm",
        "Validation error, root-relative (mm)",
        ".2f",
        "Mean joint error on hands that were not trained on, wrists laid upon each other",
    ),
    Panel(
        "val_scale_aligned_mpjpe_mm",
        "Validation error, scale aligned (mm)",
        ".2f",
        "The same with the hand's size taken from the truth",
    ),
    Panel("images_per_s", "Images a second", ",.0f", "Trained on, over all processes; views in pre-training"),
    Panel("lr", "Learning rate", ".3~g", "Of the first group of weights"),
    Panel("data_wait", "Waiting for data", PERCENT, "Share of the time without a batch to work on"),
    Panel("index_wait", "… of it for the index", PERCENT, "Share of the time that the index's answers took"),
)
_OTHER: Final = {
    "without_positive": ("Query hands without a match", PERCENT),
    "positive_distance": ("Distance of the matches", ".3f"),
    "gpu_memory_gb": ("GPU memory (GB)", ".1f"),
    "val_images_per_s": ("Images a second in validation", ",.0f"),
}
_NEVER: Final = ("epoch", "step")


def panels(metrics: Iterable[str]) -> tuple[list[Panel], list[Panel]]:
    """The panels for the metrics of some runs: the main ones, and the others."""
    names = set(metrics).difference(_NEVER)
    main = [panel for panel in (LOSS, *_MAIN) if panel.metric in names]
    left = sorted(names.difference(panel.metric for panel in main))
    return main, [_other(metric) for metric in left]


def _other(metric: str) -> Panel:
    title, form = _OTHER.get(metric, (metric.replace("_", " ").capitalize(), ".4~g"))
    return Panel(metric, title, form)


def last_step(runs: Mapping[str, Mapping[str, Points]]) -> float:
    """The furthest step of any curve, by run and metric; at least 1."""
    return max(
        (steps[-1] for curves in runs.values() for steps, _ in curves.values() if len(steps)), default=1
    )


def panel_table(
    panel: Panel, runs: Mapping[str, Mapping[str, Points]], smoothing: float, *, logarithmic: bool
) -> Any:
    """The curves of a panel as an Arrow table of ``run``, ``step``, ``value`` and ``smooth``.

    ``runs`` are curves by run and metric. What has no logarithm is left out where it would need one.
    """
    names: list[str] = []
    columns: list[list[NDArray[np.float64]]] = [[], [], []]
    for run, curves in runs.items():
        steps, values = curves.get(panel.metric, (np.empty(0), np.empty(0)))
        if logarithmic:
            steps, values = steps[values > 0], values[values > 0]
        names += [run] * len(steps)
        for column, numbers in zip(columns, (steps, values, smooth(values, smoothing)), strict=True):
            column.append(numbers)
    step, value, smoothed = (np.concatenate([np.empty(0), *column]) for column in columns)
    return pa.table({"run": pa.array(names, pa.string()), "step": step, "value": value, "smooth": smoothed})


DASHES: Final = ([1, 0], [7, 3], [2, 2], [9, 3, 2, 3], [4, 6], [12, 3], [1, 4], [6, 2, 1, 2, 1, 2])
"""Enough to be distinguished."""
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
    legend = alt.Legend(
        orient="bottom",
        title=None,
        columns=1,
        labelLimit=300,
        symbolType="stroke",
        symbolSize=500,
        symbolOpacity=1,
        rowPadding=2,
    )
    shown = legend if is_first and len(runs) > 1 else None
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

"""Which curves of runs are shown, and as what."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from apps.browser.runs.curve import Points, smoothed

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
    "without_positive": ("Anchors without a positive", PERCENT),
    "positive_distance": ("Distance of the positives", ".3f"),
    "gpu_memory_gb": ("GPU memory (GB)", ".1f"),
    "val_images_per_s": ("Images a second in validation", ",.0f"),
}
_NEVER: Final = ("epoch", "step")


def panels(metrics: Iterable[str]) -> tuple[list[Panel], list[Panel]]:
    """The charts for the numbers that runs have: those that everybody looks at, and the others."""
    there = set(metrics).difference(_NEVER)
    main = [panel for panel in (LOSS, *_MAIN) if panel.metric in there]
    left = sorted(there.difference(panel.metric for panel in main))
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
        for column, numbers in zip(columns, (steps, values, smoothed(values, smoothing)), strict=True):
            column.append(numbers)
    step, value, smooth = (np.concatenate([np.empty(0), *column]) for column in columns)
    return pa.table({"run": pa.array(names, pa.string()), "step": step, "value": value, "smooth": smooth})

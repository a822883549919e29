"""Runs for people: a table of them, and how each stands in a line."""

from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa

from apps.browser.runs.record import RunRecord, State

STATES: Final[dict[State, str]] = {
    "going": "▶ going",
    "done": "✓ done",
    "stopped": "■ stopped",
    "diverged": "⚠ diverged",
}
"""With a sign each, as no colour tells them."""
_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR


def run_table(records: Sequence[RunRecord]) -> Any:
    """An Arrow table with a row for each run."""
    latest = [record.latest for record in records]
    return pa.table(
        {
            "Run": [record.place.title for record in records],
            "State": [STATES[record.state] for record in records],
            "Done": pa.array([record.share_done for record in records], pa.float64()),
            "Steps": [_steps(record) for record in records],
            "Loss": pa.array([each.get("loss") for each in latest], pa.float64()),
            "Error": pa.array([each.get("val_mpjpe_mm") for each in latest], pa.float64()),
            "Kind": [record.kind for record in records],
            "Encoder": pa.array([record.architecture for record in records], pa.string()),
            "Begins with": [record.init for record in records],
            "Index": pa.array([record.index for record in records], pa.string()),
            "Seed": pa.array([record.seed for record in records], pa.int64()),
            "Last change": [f"{duration(record.age_s)} ago" for record in records],
        }
    )


def progress_line(record: RunRecord) -> str:
    """State, steps, loss, rate, waiting and the time that is left, without the run's name."""
    latest = record.latest
    parts = [STATES[record.state], f"{_steps(record)} steps"]
    if "loss" in latest:
        parts.append(f"loss {latest['loss']:.4g}")
    if "val_mpjpe_mm" in latest:
        parts.append(f"error {latest['val_mpjpe_mm']:.1f} mm")
    if "images_per_s" in latest:
        rate = f"{latest['images_per_s']:,.0f}"
        parts.append(f"{rate} image{'' if rate == '1' else 's'}/s")
    if "data_wait" in latest:
        parts.append(f"waiting {latest['data_wait']:.0%}")
    if record.state == "going" and record.left_s is not None:
        parts.append(f"about {duration(record.left_s)} left")
    return " · ".join(parts)


def _steps(record: RunRecord) -> str:
    done = f"{record.steps_done:,}"
    return done if record.steps is None else f"{done} of {record.steps:,}"


def duration(seconds: float) -> str:
    """In the largest unit that it has some of."""
    if seconds < _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    if seconds < 2 * _DAY:
        return f"{seconds / _HOUR:.1f} h"
    return f"{seconds / _DAY:,.0f} days"
